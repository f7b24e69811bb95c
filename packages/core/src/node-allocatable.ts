/**
 * What the fit check is to take as allocatable: for a pod that holds devices already, no resource counts less than what
 * is allocated of it, so that a pod which is placed still fits while its plugin is away. Never lowers a value; returns
 * `allocatable` itself when nothing changes. (kubelet: device manager, sanitizeNodeAllocatable)
 *
 * @param allocatable extended resources of the node, in whole numbers
 * @param allocated devices held on the node, by resource
 * @param podHolds whether anything is recorded for the pod in question
 */
export function sanitizeNodeAllocatable(
  allocatable: ReadonlyMap<string, number>,
  allocated: ReadonlyMap<string, number>,
  podHolds: boolean,
): ReadonlyMap<string, number> {
  if (!podHolds) return allocatable;
  let raised: Map<string, number> | undefined;
  for (const [resource, count] of allocated) {
    const present = allocatable.get(resource);
    if (present !== undefined && present >= count) continue;
    raised ??= new Map(allocatable);
    raised.set(resource, count);
  }
  return raised ?? allocatable;
}
