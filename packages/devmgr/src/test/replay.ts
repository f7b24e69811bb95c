import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  commandLauncher,
  readRecording,
  replayManager,
  replayPlugin,
  temporaryRoot,
  type Recording,
} from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { note, print, type CommandContext } from '../context.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { Interruption } from '../interrupt.ts';
import { oneLine } from '../output/table.ts';

export interface ReplayCommandOptions {
  readonly manager?: boolean;
  readonly speed: number;
  readonly timeout: number;
  readonly output: 'table' | 'json';
}

/** Plays a recording; answers the exit code. */
export async function replay(
  file: string,
  command: readonly string[],
  options: ReplayCommandOptions,
  context: CommandContext,
): Promise<number> {
  checkUsage(command, options);
  const recording = await readRecording(file);
  const interruption = new Interruption();
  try {
    if (options.manager === true) return await asManager(recording, command, options, interruption.signal);
    return await asPlugin(recording, options, context.rootDir, interruption.signal);
  } catch (error) {
    if (interruption.by === undefined) throw error;
    note('interrupted');
    return interruption.exitCode;
  } finally {
    interruption.stop();
  }
}

function checkUsage(command: readonly string[], { manager }: ReplayCommandOptions): void {
  if (manager === true && command.length === 0) {
    throw new DevmgrError('USAGE', 'no plugin was named', {
      remedy: 'Write its command at the end, as in: devmgr replay FILE --manager -- ./my-plugin',
    });
  }
  if (manager !== true && command.length > 0) {
    throw new DevmgrError('USAGE', "a command was given, but the plugin's part is played by the recording", {
      remedy: 'Add --manager to hold a plugin against the recording, or leave the command out.',
    });
  }
}

async function asPlugin(
  recording: Recording,
  { speed }: ReplayCommandOptions,
  rootDir: string,
  signal: AbortSignal,
): Promise<number> {
  for (const dir of ['device-plugins', 'plugins_registry']) mkdirSync(join(rootDir, dir), { recursive: true });
  note(`playing the plugin of ${recording.path} in ${rootDir}; Ctrl-C stops`);
  const end = await replayPlugin(recording, { rootDir, speed, signal, log: (line) => note(oneLine(line)) });
  if (end.by === 'signal') return EXIT_CODES.done;
  note(`ended as the recorded plugin did: ${end.how}`);
  return EXIT_CODES.failed;
}

async function asManager(
  recording: Recording,
  command: readonly string[],
  { speed, timeout, output }: ReplayCommandOptions,
  signal: AbortSignal,
): Promise<number> {
  const rootDir = temporaryRoot();
  try {
    const launcher = commandLauncher(command);
    const result = await replayManager(recording, { rootDir, launcher, speed, timeoutMs: timeout, signal });
    const { compared, differences } = result;
    if (output === 'json') print(`${JSON.stringify(result, undefined, 2)}\n`);
    else {
      for (const { what, recorded, now } of differences)
        print(`${oneLine(what)}\n  recorded  ${oneLine(recorded)}\n  now       ${oneLine(now)}\n\n`);
      const count = differences.length;
      const verdict = count === 0 ? 'no difference' : count === 1 ? '1 difference' : `${String(count)} differences`;
      print(`${verdict} in ${String(compared)} registrations, lists and answers\n`);
    }
    return differences.length === 0 ? EXIT_CODES.done : EXIT_CODES.failed;
  } finally {
    rmSync(rootDir, { recursive: true, force: true, maxRetries: 3 });
  }
}
