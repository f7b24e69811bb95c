import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { Option, type Command } from 'commander';
import { createContext, note, print } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import { newCommand } from '../new-command.ts';
import { simulateControls } from '../simulate/controls.ts';
import { simulateGetCommand } from '../simulate/get.ts';
import { readTextFile } from '../text-file.ts';

interface SimulateOptions {
  readonly filename?: string;
  readonly preset?: string;
  readonly print?: boolean;
}

/** `devmgr simulate -f FILE`: plugins for hardware that does not exist; below it the commands for what runs. */
export function simulateCommand(): Command {
  const command = newCommand('simulate', 'offer simulated hardware, and make things happen to it', [
    { command: 'devmgr simulate -f examples/simulations/gpus.yaml', purpose: 'eight GPUs on two NUMA nodes' },
    { command: 'devmgr simulate --preset mig', purpose: 'a machine that is known already' },
    { command: 'devmgr simulate --preset mig --print > mine.yaml', purpose: 'the same as a file to change' },
    { command: 'devmgr simulate -f flaky.yaml --root-dir /tmp/dm', purpose: 'against another manager, or a kubelet' },
    { command: 'devmgr simulate set gpu-3=Unhealthy', purpose: 'from another terminal, while it runs' },
  ])
    .option('-f, --filename <file>', 'simulation file (YAML or JSON)')
    .addOption(
      new Option('--preset <name>', 'a simulation that comes with devmgr').choices(PRESETS).conflicts('filename'),
    )
    .option('--print', 'write the file instead of simulating')
    .action(async (options: SimulateOptions, self: Command) => {
      const { text, source } = await readSimulation(options);
      if (options.print === true) print(text);
      else await simulateUntilInterrupted(text, source, createContext(self).rootDir);
    });
  command.addCommand(simulateGetCommand());
  for (const control of simulateControls()) command.addCommand(control);
  return command;
}

/** Known without loading the SDK: help and completion should not wait for it. A test holds it against the SDK's list. */
const PRESETS = ['gpu-server-8', 'mig', 'sriov', 'fpga'];

async function readSimulation({ filename, preset }: SimulateOptions): Promise<{ text: string; source: string }> {
  if (filename !== undefined) return { text: await readTextFile(filename, 'CONFIG_INVALID'), source: filename };
  if (preset === undefined) {
    throw new DevmgrError('USAGE', 'simulate needs to know what to simulate', {
      remedy: 'Give a file with -f, or a --preset.',
    });
  }
  const { simulationPreset } = await import('@devmgr/plugin-sdk');
  return { text: simulationPreset(preset), source: `preset ${preset}` };
}

async function simulateUntilInterrupted(text: string, source: string, rootDir: string): Promise<void> {
  const { consoleLog, parseSimulation, serveSimulationControl, simulate } = await import('@devmgr/plugin-sdk');
  const simulation = parseSimulation(text, source);
  const interruption = new Interruption();
  const plugins = simulate(simulation, { pluginDir: join(rootDir, 'device-plugins'), log: consoleLog() });
  try {
    const control = await serveSimulationControl(join(rootDir, 'devmgr'), plugins);
    const names = simulation.resources.map(({ resource }) => resource);
    note(`simulating ${names.join(', ')} in ${rootDir}; Ctrl-C stops`);
    await interruption.requested;
    await control.close();
  } finally {
    await Promise.all(plugins.map((plugin) => plugin.close()));
    interruption.stop();
  }
}
