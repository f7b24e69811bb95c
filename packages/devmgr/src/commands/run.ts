import { DevmgrError } from '@devmgr/core';
import type { LeaseMessage } from '@devmgr/manager';
import type { Command } from 'commander';
import { createContext, note } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { ExitWith, Interruption } from '../interrupt.ts';
import type { ApiClient } from '@devmgr/manager';
import { collect, newCommand } from '../new-command.ts';
import { findCommand } from '../run/find-command.ts';
import { forwardSignals } from '../run/forward-signals.ts';
import { GatedCommand } from '../run/gated-command.ts';
import { parseLimits } from '../run/limits.ts';

interface RunOptions {
  readonly limits?: readonly string[];
  readonly name?: string;
  readonly namespace?: string;
  readonly waitForDevices?: string | true;
  readonly quiet?: boolean;
}

const DEFAULT_WAIT_MS = 5 * 60_000;

/** `devmgr run --limits R=N -- CMD`: leases devices to one command. */
export function runCommand(): Command {
  return newCommand('run', 'run a command with devices of its own; they are free again when it ends', [
    {
      command: 'devmgr run --limits example.com/gpu=2 -- python train.py',
      purpose: 'environment of the plugin, exclusive use',
    },
    {
      command: 'devmgr run --limits vendor.com/board=1 --wait-for-devices=10m -- make flash',
      purpose: 'wait in turn when all are taken',
    },
    { command: "devmgr run --limits example.com/gpu=1 -- sh -c 'env | sort'", purpose: 'see what a plugin gives' },
  ])
    .usage('[options] [--] <command> [args...]')
    .argument('<command...>', 'the command and its arguments')
    .option('--limits <resource=number>', 'devices to lease; may be repeated', collect)
    .option('--name <name>', 'name of the lease in "devmgr get pods"')
    .option('-n, --namespace <name>', 'namespace of the lease')
    .option('--wait-for-devices [duration]', 'wait for plugins and free devices (default: 5m)')
    .option('-q, --quiet', 'no word about waiting')
    .passThroughOptions()
    .addHelpText(
      'after',
      `\nThe exit code is the command's own, 128 plus the number of the signal that ended it, 4 when the devices were refused,\n5 when no manager answers. Signals are passed on. When the manager goes away the command goes on; the lease ends with it.`,
    )
    .action(async (words: readonly string[], options: RunOptions, command: Command) => {
      throw new ExitWith(await run(words, options, await createContext(command).manager()));
    });
}

async function run(words: readonly string[], options: RunOptions, manager: ApiClient): Promise<number> {
  if (options.limits === undefined) {
    throw new DevmgrError('USAGE', 'run needs --limits', {
      remedy: 'Say what to lease, like --limits example.com/gpu=1.',
    });
  }
  const limits = parseLimits(options.limits);
  const wait = options.waitForDevices;
  const waitForDevicesMs =
    wait === undefined ? 0 : wait === true ? DEFAULT_WAIT_MS : parseDuration(wait, '--wait-for-devices');
  const [program = ''] = words;
  const missing = missingCommand(program);
  if (missing !== undefined) return missing;

  const interruption = new Interruption();
  try {
    const lease = await acquire(manager, { words, limits, waitForDevicesMs, options, interruption });
    const child = await startHolder(manager, lease, words);
    if (interruption.by !== undefined) {
      child.abandon();
      await endLease(manager, lease, interruption.exitCode);
      return interruption.exitCode;
    }
    const stopForwarding = forwardSignals((signal) => child.kill(signal));
    interruption.stop();
    child.open();
    const { exitCode } = await child.ended;
    await endLease(manager, lease, exitCode);
    stopForwarding();
    return exitCode;
  } finally {
    interruption.stop();
  }
}

/** The process that holds the lease: known to the manager, and not running yet. */
async function startHolder(manager: ApiClient, lease: Lease, words: readonly string[]): Promise<GatedCommand> {
  let child: GatedCommand | undefined;
  try {
    child = await GatedCommand.start(words, { ...process.env, ...lease.env });
    if (child.startTime === undefined) {
      throw new DevmgrError('INTERNAL', 'the command ended before it began', {
        remedy: 'Is /proc mounted? devmgr names processes by pid and start time.',
      });
    }
    await manager.attachLease(lease.uid, { pid: child.pid, startTime: child.startTime });
    return child;
  } catch (error) {
    child?.abandon();
    await manager.endLease(lease.uid, undefined).catch(() => undefined);
    throw error;
  }
}

/** The exit code of a command that cannot be run, said before any device is taken for it; undefined when it can. */
function missingCommand(program: string): number | undefined {
  const found = findCommand(program, process.env['PATH']);
  if (found.found) return undefined;
  if (found.problem === 'not-executable') {
    note(`error: ${program}: cannot be executed\nMake it executable (chmod +x), or name its interpreter.`);
    return EXIT_CODES.notExecutable;
  }
  note(`error: ${program}: command not found\nCheck its name and PATH.`);
  return EXIT_CODES.commandNotFound;
}

type Lease = Extract<LeaseMessage, { type: 'granted' }>;

/** Waits for the answer; an interruption while waiting gives the place in the queue up. */
async function acquire(
  manager: ApiClient,
  input: {
    words: readonly string[];
    limits: Record<string, number>;
    waitForDevicesMs: number;
    options: RunOptions;
    interruption: Interruption;
  },
): Promise<Lease> {
  const { words, limits, waitForDevicesMs, options, interruption } = input;
  const request = {
    limits,
    command: words,
    waitForDevicesMs,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  };
  let told = '';
  try {
    for await (const message of manager.lease(request, interruption.signal)) {
      if (message.type === 'granted') return message;
      if (message.type === 'refused') {
        throw new DevmgrError('POD_REJECTED', `${message.reason}: ${message.message}`, {
          remedy:
            waitForDevicesMs === 0
              ? 'See "devmgr get resources"; --wait-for-devices waits until devices are free.'
              : 'See "devmgr get resources" and "devmgr get devices" for who holds what.',
        });
      }
      if (options.quiet !== true && message.message !== told) note(`waiting: ${message.message}`);
      told = message.message;
    }
  } catch (error) {
    if (interruption.by === undefined) throw error;
    throw new ExitWith(interruption.exitCode);
  }
  throw new DevmgrError('MANAGER_UNREACHABLE', 'the manager went away before it gave an answer', {
    remedy: 'Look whether it still runs, and try again.',
  });
}

/** The command has ended; a manager that is away now finds that out by itself. */
async function endLease(manager: ApiClient, lease: Lease, exitCode: number): Promise<void> {
  try {
    await manager.endLease(lease.uid, exitCode);
  } catch (error) {
    if (error instanceof DevmgrError && error.code === 'NOT_FOUND') return;
    const why = error instanceof Error ? error.message : String(error);
    note(
      `warning: the lease ${lease.name} could not be ended: ${why}\nThe manager ends it by itself: it watches the process.`,
    );
  }
}
