import { DevmgrError } from '@devmgr/core';
import { Option, type Command } from 'commander';
import { createContext, print } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { namespaceOption, newCommand, suggest } from '../new-command.ts';
import { stripKind } from '../output/kinds.ts';
import { withProgress } from '../progress.ts';
import { waitForPod, type PodCondition } from '../wait-for-pod.ts';

const CONDITIONS = ['running', 'ready', 'succeeded', 'failed', 'finished', 'deleted'] as const;

/** `devmgr wait POD --for CONDITION`. */
export function waitCommand(): Command {
  return newCommand('wait', 'wait until a pod is running, ready, has ended or is gone', [
    { command: 'devmgr wait trainer --for running', purpose: 'devices given and containers started' },
    { command: 'devmgr wait trainer --for succeeded --timeout 10m', purpose: 'exit code 124 when it takes longer' },
    { command: 'devmgr wait trainer --for deleted', purpose: 'until its devices are free again' },
  ])
    .argument('<pods...>', 'names of pods')
    .addOption(
      suggest(new Option('--for <condition>', CONDITIONS.join(', ')), CONDITIONS)
        .argParser(parseCondition)
        .makeOptionMandatory(),
    )
    .option('--timeout <duration>', 'give up after this time, for all of them together', (text) =>
      parseDuration(text, '--timeout'),
    )
    .addOption(namespaceOption())
    .action(
      async (
        pods: readonly string[],
        options: { for: PodCondition; timeout?: number; namespace: string },
        command: Command,
      ) => {
        const manager = await createContext(command).manager();
        const startedAt = performance.now();
        for (const word of pods) {
          const name = stripKind('pod', word);
          const leftMs =
            options.timeout === undefined
              ? undefined
              : Math.max(1, Math.ceil(options.timeout - (performance.now() - startedAt)));
          await withProgress(`waiting until pod "${name}" is ${options.for.type}`, () =>
            waitForPod(manager, options.namespace, name, { condition: options.for, timeoutMs: leftMs }),
          );
          print(`pod/${name} ${options.for.type}\n`);
        }
      },
    );
}

/** Also kubectl's own words: `condition=Ready`, `delete`. */
function parseCondition(text: string): PodCondition {
  const word = text
    .toLowerCase()
    .replace(/^condition=/, '')
    .replace(/^delete$/, 'deleted');
  const type = CONDITIONS.find((known) => known === word);
  if (type !== undefined) return { type };
  throw new DevmgrError('USAGE', `--for: there is no condition "${text}"`, {
    remedy: `Conditions are ${CONDITIONS.join(', ')}.`,
  });
}
