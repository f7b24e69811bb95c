/** What there is of one resource, in devices. */
export interface ResourceCapacity {
  /** Devices in the plugin's list, whatever their health. */
  readonly capacity: number;
  /** Healthy ones, in use or not: what a node reports as allocatable. */
  readonly allocatable: number;
  readonly healthy: number;
  readonly unhealthy: number;
  /** Held by containers, including devices that are no longer listed. */
  readonly allocated: number;
  /** Reserved by an admission in flight and held by nobody. */
  readonly reserved: number;
  /** Healthy, not held, not reserved: what the next container can get. */
  readonly free: number;
}

/** Devices of one resource on exactly these NUMA nodes. */
export interface NumaShare {
  /** Ascending, each once; empty for devices without topology. */
  readonly numaNodes: readonly number[];
  /** In the plugin's list, whatever their health and holder. */
  readonly listed: number;
  readonly free: number;
}
