import type { Device } from '@devmgr/core';
import { deviceplugin } from '@devmgr/wire';

const NO_NODES: readonly number[] = [];

/**
 * Decodes one ListAndWatch message. Ids and health stay as sent, duplicates and order included. NUMA ids are int64 on the
 * wire: repeated ones are named once, and those a number cannot hold exactly are left out, since no machine has such a
 * node. Throws when the bytes are no such message.
 */
export function decodeDeviceList(bytes: Uint8Array): readonly Device[] {
  const { devices } = deviceplugin.ListAndWatchResponse.decode(bytes);
  return devices.map(({ ID: id, health, topology }) => ({ id, health, numaNodes: numaNodes(topology?.nodes) }));
}

function numaNodes(nodes: readonly deviceplugin.NUMANode[] | undefined): readonly number[] {
  if (nodes === undefined || nodes.length === 0) return NO_NODES;
  const ids = new Set<number>();
  for (const { ID } of nodes) {
    const id = Number(ID);
    if (Number.isSafeInteger(id)) ids.add(id);
  }
  return [...ids];
}
