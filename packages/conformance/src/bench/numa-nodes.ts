import { readdir } from 'node:fs/promises';

/** Numbers of the NUMA nodes of this machine; undefined where it does not say. (Linux: sysfs) */
export async function numaNodesOfMachine(): Promise<ReadonlySet<number> | undefined> {
  const names = await readdir('/sys/devices/system/node').catch(() => []);
  const nodes = names.flatMap((name) => (/^node\d+$/.test(name) ? [Number(name.slice('node'.length))] : []));
  return nodes.length === 0 ? undefined : new Set(nodes);
}
