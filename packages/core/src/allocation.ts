/**
 * A container's share of one resource, as it is kept for the life of the pod: which devices, on which NUMA nodes they
 * were when they were given, and the plugin's answer, undecoded so that fields devmgr does not know survive.
 */
export interface Allocation {
  readonly podUid: string;
  readonly container: string;
  readonly resource: string;
  /** Device ids by NUMA node; {@link NO_NUMA_NODE} when the device had none; a device with several nodes is listed under each. */
  readonly deviceIds: ReadonlyMap<number, readonly string[]>;
  /** ContainerAllocateResponse (device plugin API v1beta1), protobuf-encoded. */
  readonly response: Uint8Array;
}

/** The ids of an allocation, each once. */
export function deviceIdsOf(allocation: Pick<Allocation, 'deviceIds'>): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const onNode of allocation.deviceIds.values()) for (const id of onNode) ids.add(id);
  return ids;
}
