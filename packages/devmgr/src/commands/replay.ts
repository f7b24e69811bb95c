import { InvalidArgumentError, Option, type Command } from 'commander';
import { createContext } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { ExitWith } from '../interrupt.ts';
import { newCommand, outputOption } from '../new-command.ts';
import type { ReplayCommandOptions } from '../test/replay.ts';

/** `devmgr replay FILE`: a recording of `devmgr test --record` as the plugin it was taken from, or as its manager. */
export function replayCommand(): Command {
  return newCommand('replay', 'play a recording of "devmgr test --record": the plugin, or the manager', [
    { command: 'devmgr replay bug.jsonl --root-dir /tmp/dm', purpose: 'be the recorded plugin beside that manager' },
    { command: 'devmgr replay bug.jsonl --speed 10', purpose: 'ten times as fast' },
    { command: 'devmgr test -- devmgr replay bug.jsonl --root-dir /var/lib/kubelet', purpose: 'its verdict' },
    { command: 'devmgr replay bug.jsonl --manager -- ./my-plugin', purpose: 'be its manager: does it answer as then?' },
  ])
    .usage('[options] <file> [--manager -- <command> [args...]]')
    .argument('<file>', 'recording')
    .argument('[command...]', 'with --manager: the plugin and its arguments')
    .option('--manager', "play the manager's part against a plugin, and say where it differs")
    .addOption(new Option('--speed <factor>', 'how many times as fast').argParser(parseSpeed).default(1))
    .addOption(
      new Option('--timeout <duration>', 'with --manager: the longest wait for what the plugin did then')
        .argParser((text) => parseDuration(text, '--timeout'))
        .default(30_000, '30s'),
    )
    .addOption(outputOption(['table', 'json']))
    .addHelpText(
      'after',
      `
The plugin's part registers, lists and answers as recorded, until Ctrl-C or until the recorded plugin ended by itself; a
request that was never recorded fails and says what was. The manager's part starts the plugin in a private mount namespace
as "devmgr test" does. Exit codes: 0 no difference, 1 the plugin differs or ended as recorded, 2 wrong usage.
docs/recordings.md has the format.`,
    )
    .action(async (file: string, words: readonly string[], options: ReplayCommandOptions, command: Command) => {
      const { replay } = await import('../test/replay.ts');
      const exitCode = await replay(file, words, options, createContext(command));
      if (exitCode !== 0) throw new ExitWith(exitCode);
    });
}

function parseSpeed(text: string): number {
  const factor = Number(text);
  if (factor >= 0.01 && factor <= 1_000) return factor;
  throw new InvalidArgumentError('It is a number from 0.01 to 1000.');
}
