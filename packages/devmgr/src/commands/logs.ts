import type { Command } from 'commander';
import { createContext } from '../context.ts';
import { DevmgrError } from '@devmgr/core';
import { untilInterrupted } from '../interrupt.ts';
import { namespaceOption, newCommand } from '../new-command.ts';
import { stripKind } from '../output/kinds.ts';

interface LogsOptions {
  readonly container?: string;
  readonly follow?: boolean;
  readonly previous?: boolean;
  readonly tail?: number;
  readonly namespace: string;
}

/** `devmgr logs POD`: what a container wrote. */
export function logsCommand(): Command {
  return newCommand('logs', "show a container's output", [
    { command: 'devmgr logs trainer', purpose: 'of a pod with one container' },
    { command: 'devmgr logs trainer -c init -f', purpose: 'of one of several, and what is still to come' },
    { command: 'devmgr logs trainer --previous', purpose: 'of the run before the last restart' },
  ])
    .argument('<pod>', 'name of the pod')
    .option('-c, --container <name>', 'which container, when there are several')
    .option('-f, --follow', 'go on until the container has ended')
    .option('-p, --previous', 'the run before the last restart')
    .option('--tail <lines>', 'only the last lines', parseLines)
    .addOption(namespaceOption())
    .action(async (pod: string, options: LogsOptions, command: Command) => {
      const manager = await createContext(command).manager();
      await untilInterrupted(async (signal) => {
        const chunks = manager.podLogs(options.namespace, stripKind('pod', pod), {
          follow: options.follow === true,
          previous: options.previous === true,
          ...(options.container === undefined ? {} : { container: options.container }),
          ...(options.tail === undefined ? {} : { tailLines: options.tail }),
          signal,
        });
        for await (const chunk of chunks) {
          if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once('drain', resolve));
        }
      });
    });
}

function parseLines(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new DevmgrError('USAGE', `--tail: "${text}" is not a number of lines`, { remedy: 'Give a whole number.' });
}
