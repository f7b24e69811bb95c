import { NO_NUMA_NODE, type Allocation } from '@devmgr/core';
import type { podresources } from '@devmgr/wire';

/**
 * What a container was given, in the form of the API: one entry per device and NUMA node, each with exactly one id. The
 * nodes are those recorded when the devices were given, so they survive restarts and the loss of a device.
 * (kubelet: device manager, podDevices.getContainerDevices)
 */
export function allocatedEntries(allocations: readonly Allocation[]): podresources.ContainerDevices[] {
  const entries: podresources.ContainerDevices[] = [];
  for (const { resource, deviceIds } of allocations) {
    for (const [node, ids] of deviceIds) {
      const topology = node === NO_NUMA_NODE ? undefined : topologyOf(node);
      for (const id of ids) entries.push({ resourceName: resource, deviceIds: [id], topology });
    }
  }
  return entries;
}

const topologies = new Map<number, podresources.TopologyInfo>();

/** A topology of one NUMA node; shared, since many devices are on a handful of nodes. */
export function topologyOf(node: number): podresources.TopologyInfo {
  const known = topologies.get(node);
  if (known !== undefined) return known;
  const topology = { nodes: [{ ID: BigInt(node) }] };
  // Numbers come from plugins: a machine has few, a confused plugin any.
  if (topologies.size < 64) topologies.set(node, topology);
  return topology;
}
