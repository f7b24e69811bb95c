import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import type { Lie, SimulatedCall, SimulatedStepInput } from '@devmgr/plugin-sdk';
import { Argument, type Command } from 'commander';
import { createContext, print } from '../context.ts';
import { collect, newCommand, type Example } from '../new-command.ts';

/** The SDK's lists, known without loading it; it checks every step anyway. */
const CALLS: readonly SimulatedCall[] = ['options', 'allocate', 'preferredAllocation', 'preStart'];
const LIES: readonly Lie[] = ['allocate', 'preferredAllocation', 'health', 'ids'];

interface Options {
  readonly resource?: string;
  readonly numa?: readonly string[];
  readonly every?: string;
  readonly for?: string;
  readonly idPrefix?: string;
}

interface Control {
  readonly name: string;
  readonly does: string;
  readonly examples: readonly Example[];
  readonly arguments?: readonly Argument[];
  readonly prepare?: (command: Command) => Command;
  /** What to do, from the words and options given. */
  readonly step: (words: readonly string[], options: Options) => SimulatedStepInput;
}

const ids = new Argument('<id...>', 'ids of devices');
const call = (name: string): Argument => new Argument(name, 'which call').choices(CALLS);
const lasting = (command: Command): Command => command.option('--for <duration>', 'how long (default: until calm)');

/** One command for each thing that can be made to happen to simulated hardware; the words are those of simulation files. */
const CONTROLS: readonly Control[] = [
  {
    name: 'set',
    does: 'set the health of devices',
    examples: [{ command: 'devmgr simulate set gpu-3=Unhealthy gpu-4=Healthy', purpose: 'at once' }],
    arguments: [new Argument('<id=health...>', 'devices and their health')],
    step: (words) => ({ health: Object.fromEntries(words.map(assignment)) }),
  },
  {
    name: 'add',
    does: 'plug devices in',
    examples: [{ command: 'devmgr simulate add gpu-8 gpu-9 --numa 1', purpose: 'two more, on NUMA node 1' }],
    arguments: [ids],
    prepare: (command) => command.option('--numa <node>', 'NUMA node they are on; may be repeated', collect),
    step: (words, { numa }) => ({
      add: words.map((id) => (numa === undefined ? id : { id, numaNodes: numa.map(Number) })),
    }),
  },
  {
    name: 'remove',
    does: 'unplug devices',
    examples: [{ command: 'devmgr simulate remove gpu-3', purpose: 'while a pod has it, or not' }],
    arguments: [ids],
    step: (words) => ({ remove: [...words] }),
  },
  {
    name: 'flap',
    does: 'let the health of devices change to and fro',
    examples: [
      {
        command: 'devmgr simulate flap gpu-3 --every 500ms --for 10s',
        purpose: 'unhealthy and healthy, ten times each',
      },
    ],
    arguments: [ids],
    prepare: (command) => lasting(command.requiredOption('--every <duration>', 'how long it stays as it is')),
    step: (words, { every = '', for: lasts }) => ({
      flap: { devices: [...words], every, ...(lasts === undefined ? {} : { for: lasts }) },
    }),
  },
  {
    name: 'hang',
    does: 'leave calls unanswered until calm',
    examples: [{ command: 'devmgr simulate hang allocate', purpose: 'what a pod does when its plugin hangs' }],
    arguments: [call('<call...>')],
    step: (words) => ({ hang: words as SimulatedCall[] }),
  },
  {
    name: 'fail',
    does: 'fail a call until calm',
    examples: [{ command: "devmgr simulate fail allocate 'no power'", purpose: 'with this message' }],
    arguments: [call('<call>'), new Argument('<message>', 'what the plugin says')],
    step: ([name = '', message = '']) => ({ fail: { [name]: message } }),
  },
  {
    name: 'slow',
    does: 'answer a call late until calm',
    examples: [{ command: 'devmgr simulate slow preStart 20s', purpose: 'a device that takes its time' }],
    arguments: [call('<call>'), new Argument('<duration>', 'how late')],
    step: ([name = '', delay = '']) => ({ slow: { [name]: delay } }),
  },
  {
    name: 'flood',
    does: 'send the same list again and again',
    examples: [{ command: 'devmgr simulate flood 200 --for 10s', purpose: '200 lists a second' }],
    arguments: [new Argument('<per-second>', 'lists a second')],
    prepare: lasting,
    step: ([perSecond], { for: lasts }) => ({
      flood: { perSecond: Number(perSecond), ...(lasts === undefined ? {} : { for: lasts }) },
    }),
  },
  {
    name: 'lie',
    does: 'contradict the question, or itself, until calm',
    examples: [{ command: 'devmgr simulate lie preferredAllocation', purpose: 'prefers devices that are not there' }],
    arguments: [new Argument('[about...]', 'about what (default: everything)').choices(LIES)],
    step: (words) => ({ lie: words.length === 0 ? true : (words as Lie[]) }),
  },
  {
    name: 'oversize',
    does: 'send lists that are too long',
    examples: [{ command: 'devmgr simulate oversize 5M', purpose: 'more than the 4 MiB a kubelet takes; 0 ends it' }],
    arguments: [new Argument('<size>', 'bytes, or like 500K, 5M')],
    step: ([size = '']) => ({ oversize: size }),
  },
  {
    name: 'end-streams',
    does: 'end ListAndWatch',
    examples: [{ command: 'devmgr simulate end-streams', purpose: 'the plugin registers again' }],
    step: () => ({ endStreams: true }),
  },
  {
    name: 'die',
    does: 'go as a killed process does, the socket file left behind',
    examples: [{ command: 'devmgr simulate die --for 10s', purpose: 'and come back; without --for at a restart' }],
    prepare: (command) => command.option('--for <duration>', 'how long (default: until restart)'),
    step: (_words, { for: lasts }) => ({ die: lasts ?? true }),
  },
  {
    name: 'restart',
    does: 'end cleanly and come back',
    examples: [{ command: 'devmgr simulate restart --id-prefix card-', purpose: 'with other ids: card-0, card-1, …' }],
    prepare: (command) => command.option('--id-prefix <text>', 'new ids are this and a number'),
    step: (_words, { idPrefix }) => ({ restart: idPrefix === undefined ? true : { idPrefix } }),
  },
  {
    name: 'calm',
    does: 'end all trouble, or that of some calls',
    examples: [
      { command: 'devmgr simulate calm allocate', purpose: 'Allocate works again; without a word, everything' },
    ],
    arguments: [call('[call...]')],
    step: (words) => ({ calm: words.length === 0 ? true : (words as SimulatedCall[]) }),
  },
];

/** The commands that `devmgr simulate` has below it. */
export function simulateControls(): Command[] {
  return CONTROLS.map((control) => {
    const { name, does, examples, prepare = (command) => command } = control;
    const command = prepare(
      newCommand(name, does, examples).option('-r, --resource <name>', 'of which resource, when there are several'),
    );
    for (const argument of control.arguments ?? []) command.addArgument(argument);
    return command.action(async () => {
      const { rootDir } = createContext(command);
      const { resource, ...options } = command.opts<Options>();
      const { commandSimulation } = await import('@devmgr/plugin-sdk');
      const view = await commandSimulation(join(rootDir, 'devmgr'), resource, control.step(command.args, options));
      print(`${view.resource}: ${name} done\n`);
    });
  });
}

function assignment(word: string): [string, string] {
  const at = word.lastIndexOf('=');
  if (at > 0 && at < word.length - 1) return [word.slice(0, at), word.slice(at + 1)];
  throw new DevmgrError('USAGE', `${word}: expected ID=HEALTH`, { remedy: 'Write it like gpu-3=Unhealthy.' });
}
