import { DevmgrError, explainCheckpoint, type Explanation } from '@devmgr/core';
import type { Command } from 'commander';
import { readCheckpoint } from '../checkpoint/checkpoint-file.ts';
import { createContext, note, print } from '../context.ts';
import { explanationText } from '../explain/explanation-text.ts';
import { collect, namespaceOption, newCommand, outputOption } from '../new-command.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';
import { parseLimits } from '../run/limits.ts';
import { wrongChecksum } from './checkpoint-show.ts';

interface ExplainOptions {
  readonly limits?: readonly string[];
  readonly checkpoint?: string;
  readonly namespace: string;
  readonly output: OutputFormat;
}

/** `devmgr explain`: why a pod got its devices or not, and what would come of another. */
export function explainCommand(): Command {
  return newCommand('explain', 'tell why a pod got its devices or was refused, or whether another would get some', [
    { command: 'devmgr explain trainer', purpose: 'who asked for what, what was free, which rule said no' },
    { command: 'devmgr explain --limits example.com/gpu=4', purpose: 'would that fit now? (nothing is allocated)' },
    { command: 'devmgr explain --checkpoint FILE', purpose: "who holds what in any kubelet's checkpoint file" },
    {
      command: 'devmgr explain --checkpoint FILE --limits example.com/gpu=4',
      purpose: 'would that fit, by the file alone?',
    },
  ])
    .argument('[pod]', 'name, or namespace/name')
    .option('--limits <resource=number>', 'what a container would ask for; repeated or separated by commas', collect)
    .option('--checkpoint <file>', 'answer from a checkpoint file, without a manager; - for standard input')
    .addOption(namespaceOption())
    .addOption(outputOption(['table', 'wide', 'json', 'yaml']))
    .action(async (pod: string | undefined, options: ExplainOptions, command: Command) => {
      const explanation = await explain(pod, options, command);
      const { output } = options;
      if (output === 'json' || output === 'yaml') print(formatObject(explanation, output));
      else print(explanationText(explanation, { nowMs: Date.now(), wide: output === 'wide' }));
    });
}

async function explain(pod: string | undefined, options: ExplainOptions, command: Command): Promise<Explanation> {
  const { limits, checkpoint } = options;
  const wish = limits === undefined ? {} : parseLimits(limits);
  if (pod !== undefined && (limits !== undefined || checkpoint !== undefined)) {
    throw usage(`explain takes either a pod or ${limits === undefined ? '--checkpoint' : '--limits'}, not both`);
  }
  if (checkpoint !== undefined) {
    const file = await readCheckpoint(checkpoint);
    if (file.parsed.version === undefined) note(`warning: ${wrongChecksum(file).message}`);
    return explainCheckpoint(file.parsed.data, new Map(Object.entries(wish)));
  }
  if (limits !== undefined) return await (await createContext(command).manager()).explainLimits(wish);
  if (pod === undefined) throw usage('explain needs a pod, --limits or --checkpoint');
  const [first = '', second, ...rest] = pod.split('/');
  if (rest.length > 0 || first === '' || second === '') throw usage(`"${pod}" is not NAME or NAMESPACE/NAME`);
  const manager = await createContext(command).manager();
  // `pod/NAME` as "get -o name" prints it, and `NAMESPACE/NAME` as tables name holders.
  if (second === undefined) return await manager.explainPod(options.namespace, first);
  return await manager.explainPod(first === 'pod' ? options.namespace : first, second);
}

function usage(message: string): DevmgrError {
  return new DevmgrError('USAGE', message, { remedy: 'See "devmgr explain --help" for examples.' });
}
