import { join } from 'node:path';
import type { SimulatedView } from '@devmgr/plugin-sdk';
import type { Command } from 'commander';
import { createContext, note, print } from '../context.ts';
import { newCommand, outputOption } from '../new-command.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';
import { formatTable, NONE, type Column } from '../output/table.ts';

const COLUMNS: readonly Column<SimulatedView>[] = [
  { header: 'RESOURCE', cell: ({ resource }) => resource },
  { header: 'DEVICES', cell: ({ devices }) => String(devices.length) },
  { header: 'HEALTHY', cell: ({ devices }) => String(devices.filter(({ health }) => health === 'Healthy').length) },
  { header: 'STATE', cell: ({ state }) => state },
  { header: 'TROUBLE', cell: ({ troubles }) => (troubles.length === 0 ? NONE : troubles.join('; ')) },
  { header: 'IDS', cell: ({ devices }) => devices.map(({ id }) => id).join(','), wide: true },
];

/** `devmgr simulate get`: what is simulated in this root directory, and what goes wrong on purpose. */
export function simulateGetCommand(): Command {
  return newCommand('get', 'list what is simulated', [
    { command: 'devmgr simulate get', purpose: 'resources, and what goes wrong on purpose' },
    { command: 'devmgr simulate get -o json', purpose: 'with every device' },
  ])
    .addOption(outputOption(['table', 'wide', 'json', 'yaml']))
    .action(async ({ output }: { output: OutputFormat }, command: Command) => {
      const { rootDir } = createContext(command);
      const { listSimulations } = await import('@devmgr/plugin-sdk');
      const views = await listSimulations(join(rootDir, 'devmgr'));
      if (output === 'json' || output === 'yaml') print(formatObject(views, output));
      else if (views.length === 0) note(`Nothing is simulated in ${rootDir}.`);
      else print(formatTable(COLUMNS, views, { nowMs: Date.now(), wide: output === 'wide' }));
    });
}
