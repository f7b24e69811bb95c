import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import type { Command } from 'commander';
import { createContext, note } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import { newCommand } from '../new-command.ts';

/** `devmgr simulate -f FILE`: plugins for hardware that does not exist. */
export function simulateCommand(): Command {
  return newCommand('simulate', 'offer simulated hardware', [
    { command: 'devmgr simulate -f examples/simulations/gpus.yaml', purpose: 'eight GPUs on two NUMA nodes' },
    { command: 'devmgr simulate -f flaky.yaml --root-dir /tmp/dm', purpose: 'against another manager, or a kubelet' },
  ])
    .requiredOption('-f, --filename <file>', 'simulation file (YAML or JSON)')
    .action(async (options: { filename: string }, command: Command) => {
      const { rootDir } = createContext(command);
      const text = await readSimulation(options.filename);
      const { consoleLog, parseSimulation, simulate } = await import('@devmgr/plugin-sdk');
      const simulation = parseSimulation(text, options.filename);
      const interruption = new Interruption();
      const plugins = simulate(simulation, { pluginDir: join(rootDir, 'device-plugins'), log: consoleLog() });
      const names = simulation.resources.map(({ resource }) => resource);
      note(`simulating ${names.join(', ')} in ${rootDir}; Ctrl-C stops`);
      await interruption.requested;
      await Promise.all(plugins.map((plugin) => plugin.close()));
      interruption.stop();
    });
}

async function readSimulation(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('NOT_FOUND', `${path}: ${why}`, { cause: error, remedy: 'Check the path.' });
  }
}
