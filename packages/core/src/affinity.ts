import type { Device } from './device.ts';

/** NUMA nodes a container should be on, as topology management decided; null or absent when it has no opinion. */
export type NumaAffinity = ReadonlySet<number>;

/** How a device sits to a container's NUMA affinity. */
export type Alignment = 'aligned' | 'unaligned' | 'noAffinity';

/**
 * Alignment of a device on these NUMA nodes. Upstream sorts nodes (those of the affinity first, then other real nodes,
 * none last) and classifies a device by the first that has it; what comes out is this. (kubelet: device manager, filterByAffinity)
 */
export function alignmentOf(numaNodes: readonly number[], affinity: NumaAffinity | null): Alignment {
  if (affinity === null) return 'noAffinity';
  let onRealNode = false;
  for (const node of numaNodes) {
    if (affinity.has(node)) return 'aligned';
    if (node >= 0) onRealNode = true;
  }
  return onRealNode ? 'unaligned' : 'noAffinity';
}

/**
 * Splits devices by alignment, each part in the order given. Without an affinity every device is `noAffinity`.
 * (kubelet: device manager, filterByAffinity)
 */
export function filterByAffinity(
  devices: Iterable<Pick<Device, 'id' | 'numaNodes'>>,
  affinity: NumaAffinity | null,
): Readonly<Record<Alignment, readonly string[]>> {
  const parts: Record<Alignment, string[]> = { aligned: [], unaligned: [], noAffinity: [] };
  for (const device of devices) parts[alignmentOf(device.numaNodes, affinity)].push(device.id);
  return parts;
}
