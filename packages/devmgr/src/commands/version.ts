import { DevmgrError } from '@devmgr/core';
import type { Command } from 'commander';
import { createContext, print } from '../context.ts';
import { newCommand, outputOption } from '../new-command.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';
import { packageVersion } from '../version.ts';

/** `devmgr version`: of this command and of the manager, when one answers. */
export function versionCommand(): Command {
  return newCommand('version', 'show the versions of this command and of the manager', [
    { command: 'devmgr version', purpose: 'both, the manager only when it runs' },
    { command: 'devmgr version --client -o json', purpose: 'of this command, for scripts' },
  ])
    .option('--client', 'do not ask the manager')
    .addOption(outputOption())
    .action(async (options: { client?: boolean; output: OutputFormat }, command: Command) => {
      const client = {
        version: packageVersion(),
        node: process.version,
        platform: `${process.platform}/${process.arch}`,
      };
      const manager = options.client === true ? undefined : await managerVersion(command);
      if (options.output === 'json' || options.output === 'yaml') {
        print(formatObject({ client, ...(manager === undefined ? {} : { manager }) }, options.output));
        return;
      }
      print(`Client: devmgr ${client.version} (Node.js ${client.node.slice(1)}, ${client.platform})\n`);
      if (options.client === true) return;
      print(`Manager: ${manager === undefined ? 'none answers' : describeVersion(manager)}\n`);
    });
}

async function managerVersion(command: Command): Promise<Record<string, unknown> | undefined> {
  try {
    return await (await createContext(command).manager()).version();
  } catch (error) {
    // No manager is an answer here, not a failure.
    if (error instanceof DevmgrError && error.code === 'MANAGER_UNREACHABLE') return undefined;
    throw error;
  }
}

function describeVersion(version: Record<string, unknown>): string {
  const text = version['gitVersion'] ?? version['version'];
  return `devmgr ${typeof text === 'string' ? text : 'of an unknown version'}`;
}
