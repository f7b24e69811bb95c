import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError, type NumaNode } from '@devmgr/core';

/** Where a machine says what NUMA nodes it has, below its root. */
const NODE_DIRECTORY = 'sys/devices/system/node';

/**
 * The NUMA nodes of a machine and their distances, as its system tells them (sysfs: node<id>/distance). A machine that
 * tells nothing has one node.
 *
 * @param from a copy of another machine's tree: its root, or the directory that has the node<id>; absent for this machine.
 * Throws CONFIG_INVALID when `from` has no nodes.
 */
export async function readNumaNodes(from?: string): Promise<readonly NumaNode[]> {
  const places = from === undefined ? [join('/', NODE_DIRECTORY)] : [join(from, NODE_DIRECTORY), from];
  for (const place of places) {
    const nodes = await nodesIn(place);
    if (nodes.length > 0) return nodes;
  }
  if (from === undefined) return [{ id: 0, distances: [10] }];
  throw new DevmgrError('CONFIG_INVALID', `numaFrom: ${from} has no NUMA nodes`, {
    remedy: `Name a directory that has ${NODE_DIRECTORY}/node0 (or node0 itself) with a file "distance".`,
  });
}

async function nodesIn(directory: string): Promise<readonly NumaNode[]> {
  const names = await readdir(directory).catch(() => []);
  const ids = names.flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return Promise.all(
    ids
      .sort((a, b) => a - b)
      .map(async (id) => {
        const distances = await distancesIn(join(directory, `node${String(id)}`, 'distance'));
        return distances === undefined ? { id } : { id, distances };
      }),
  );
}

/** The numbers of a line like `10 21 21 31`; undefined when the file is missing or has none. */
async function distancesIn(path: string): Promise<readonly number[] | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const words = text.split(/\s+/).filter((word) => word !== '');
  return words.length > 0 && words.every((word) => /^\d+$/.test(word)) ? words.map(Number) : undefined;
}
