/** The one health string that counts as healthy; every other string, empty included, is unhealthy. (device plugin API v1beta1) */
export const HEALTHY = 'Healthy';

/** A device as a plugin lists it. */
export interface Device {
  readonly id: string;
  /** As sent by the plugin, compared exactly (case matters). */
  readonly health: string;
  /** NUMA nodes the device is attached to; empty when the plugin gave no topology. */
  readonly numaNodes: readonly number[];
}

/** Key for a device without topology in a {@link DevicesByNuma}. (kubelet: nodeWithoutTopology) */
export const NO_NUMA_NODE = -1;

/** Device ids grouped by NUMA node; a device with several nodes is listed under each. */
export type DevicesByNuma = ReadonlyMap<number, readonly string[]>;
