import { DevmgrError } from '@devmgr/core';
import type { Command } from 'commander';
import { readCheckpoint, type ReadableCheckpoint } from '../checkpoint/checkpoint-file.ts';
import {
  GRANT_COLUMNS,
  grantRows,
  HOLDING_COLUMNS,
  holdingRows,
  REGISTERED_COLUMNS,
  registeredRows,
  viewOf,
} from '../checkpoint/checkpoint-view.ts';
import { note, print } from '../context.ts';
import { newCommand, outputOption } from '../new-command.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';
import { formatTable } from '../output/table.ts';

/** `devmgr checkpoint show FILE`: who holds what. A file with a wrong checksum is shown too, and is a failure. */
export function checkpointShowCommand(): Command {
  return newCommand('show', 'show who holds which devices, and what was registered', [
    { command: 'devmgr checkpoint show /var/lib/kubelet/device-plugins', purpose: "this machine's kubelet" },
    {
      command: 'devmgr checkpoint show copy -o wide',
      purpose: 'with what the plugins gave: variables, mounts, devices',
    },
    { command: 'ssh node cat FILE | devmgr checkpoint show - -o json', purpose: "another machine's, for a script" },
  ])
    .argument('<file>', 'kubelet_internal_checkpoint, a directory that has one, or - for standard input')
    .addOption(outputOption(['table', 'wide', 'json', 'yaml']))
    .action(async (path: string, { output }: { output: OutputFormat }) => {
      const file = await readCheckpoint(path);
      // The wire package brings gRPC with it: loaded only where an answer is decoded.
      const { decodeContainerAllocateResponse } = await import('@devmgr/wire');
      const view = viewOf(file, decodeContainerAllocateResponse);
      if (output === 'json' || output === 'yaml') print(formatObject(view, output));
      else print(tables(file, view, output === 'wide'));
      if (!view.checksum.correct) throw wrongChecksum(file);
    });
}

function tables(file: ReadableCheckpoint, view: ReturnType<typeof viewOf>, wide: boolean): string {
  const options = { nowMs: Date.now(), wide };
  const holdings = holdingRows(view);
  const resources = registeredRows(file);
  const grants = wide ? grantRows(view) : [];
  if (holdings.length === 0) note(`${file.path}: no container holds a device.`);
  if (resources.length === 0) note(`${file.path}: no resource is registered.`);
  return [
    holdings.length === 0 ? '' : formatTable(HOLDING_COLUMNS, holdings, options),
    grants.length === 0 ? '' : formatTable(GRANT_COLUMNS, grants, options),
    resources.length === 0 ? '' : formatTable(REGISTERED_COLUMNS, resources, options),
  ]
    .filter((text) => text !== '')
    .join('\n');
}

/** A file that a kubelet would not read. */
export function wrongChecksum({ path, parsed }: ReadableCheckpoint): DevmgrError {
  const expected = parsed.expected.map(({ checksum }) => String(checksum)).join(' or ');
  return new DevmgrError(
    'CHECKPOINT_INVALID',
    `${path}: checkpoint is corrupted: its checksum is ${String(parsed.checksum)}, and its content needs ${expected}`,
    {
      remedy:
        'A kubelet would start without it. If the content is as you want it, "devmgr checkpoint convert --ignore-checksum" signs it anew.',
    },
  );
}
