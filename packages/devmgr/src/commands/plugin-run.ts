import { existsSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { withKubeletView } from '@devmgr/plugin-sdk/running';
import { Option, type Command } from 'commander';
import { createContext, note } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { ExitWith } from '../interrupt.ts';
import { newCommand } from '../new-command.ts';
import { oneLine } from '../output/table.ts';
import { RESTART_POLICIES, supervise, type RestartPolicy } from '../plugin-run/supervise.ts';
import { kubeletSocketPath } from '../root-dir.ts';
import { findCommand } from '../run/find-command.ts';

interface PluginRunOptions {
  readonly name?: string;
  readonly restart: RestartPolicy;
  readonly grace: number;
  readonly logFile?: string;
}

/** `devmgr plugin run -- CMD`: an unmodified plugin, supervised, that sees this root directory as /var/lib/kubelet. */
export function pluginRunCommand(): Command {
  return newCommand('run', 'run an unmodified plugin that believes it is beside a kubelet', [
    {
      command: 'devmgr plugin run -- ./my-plugin -v 4',
      purpose: 'registers although it has /var/lib/kubelet compiled in',
    },
    { command: 'devmgr plugin run --restart never -- ./my-plugin', purpose: 'its exit code is the exit code' },
    { command: 'devmgr plugin run --log-file plugin.log -- ./my-plugin', purpose: 'its output in a file' },
  ])
    .usage('[options] [--] <command> [args...]')
    .argument('<command...>', 'the plugin and its arguments')
    .option('--name <name>', "name in devmgr's messages (default: the command's)")
    .addOption(
      new Option('--restart <policy>', 'when to start it again, after 1 s doubling to 30 s')
        .choices(RESTART_POLICIES)
        .default('always'),
    )
    .addOption(
      new Option('--grace <duration>', 'between SIGTERM and SIGKILL when stopping')
        .argParser((text) => parseDuration(text, '--grace'))
        .default(10_000, '10s'),
    )
    .option('--log-file <file>', 'append its output to a file instead of passing it through')
    .passThroughOptions()
    .addHelpText(
      'after',
      `\nThe plugin runs in a private mount namespace (without root in a user namespace too) in which /var/lib/kubelet is the\nroot directory; nothing else of the machine looks different to it, and nothing of the machine is changed. SIGINT or\nSIGTERM stops it: SIGTERM to its process group, then SIGKILL; a second signal kills at once. It never outlives devmgr.`,
    )
    .action(async (words: readonly string[], options: PluginRunOptions, command: Command) => {
      const exitCode = await runPlugin(words, options, createContext(command).rootDir);
      throw new ExitWith(exitCode);
    });
}

async function runPlugin(words: readonly string[], options: PluginRunOptions, rootDir: string): Promise<number> {
  const [program = ''] = words;
  const name = options.name ?? basename(program);
  const found = findCommand(program, process.env['PATH']);
  if (!found.found) {
    const missing = found.problem === 'missing';
    note(`error: ${program}: ${missing ? 'command not found' : 'cannot be executed'}`);
    note(missing ? 'Check its name and PATH.' : 'Make it executable (chmod +x), or name its interpreter.');
    return missing ? EXIT_CODES.commandNotFound : EXIT_CODES.notExecutable;
  }
  const command = withKubeletView(rootDir, words);
  if (!existsSync(kubeletSocketPath(rootDir))) {
    note(
      `${name}: no manager serves ${rootDir} yet; the plugin is started all the same (start one with "devmgr start")`,
    );
  }
  const output = options.logFile === undefined ? 'inherit' : openLog(options.logFile);
  const stop = new AbortController();
  const stopNow = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) stopNow.abort();
    else stop.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  return supervise(command, {
    restart: options.restart,
    graceMs: options.grace,
    stdio: ['ignore', output, output],
    env: process.env,
    stop: stop.signal,
    stopNow: stopNow.signal,
    report: (line) => {
      note(oneLine(`${name}: ${line}`));
    },
  });
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o644);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('USAGE', `--log-file: ${why}`, { cause: error, remedy: 'Name a file that can be written.' });
  }
}
