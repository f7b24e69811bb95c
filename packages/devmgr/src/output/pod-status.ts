import type { ContainerStatus, Pod } from '@devmgr/core';

/**
 * The word in the STATUS column, as kubectl makes it: the phase, unless a reason, an init container, a waiting or ended
 * container, or deletion says more. (kubectl: printPod)
 */
export function podStatusWord(pod: Pod): string {
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  const status = pod.status;
  if (status === undefined) return 'Pending';
  if (status.phase === 'Failed' && status.reason !== undefined) return status.reason;
  const waiting = waitingForDevices(pod);
  if (waiting !== undefined) return waiting;
  const initialized = status.conditions?.some(({ type, status: holds }) => type === 'Initialized' && holds === 'True');
  const init = initialized === true ? undefined : initStatusWord(pod);
  if (init !== undefined) return init;
  let word: string = status.reason ?? status.phase;
  let someRunning = false;
  for (const container of [...(status.containerStatuses ?? [])].reverse()) {
    const { waiting: held, terminated, running } = container.state;
    if (held !== undefined && held.reason !== '') word = held.reason;
    else if (terminated !== undefined) word = terminatedWord(terminated);
    else if (running !== undefined && container.ready) someRunning = true;
  }
  // A container that completed beside one that still runs does not make the pod Completed.
  if (word === 'Completed' && someRunning) return 'Running';
  return word;
}

function initStatusWord(pod: Pod): string | undefined {
  const specs = pod.spec.initContainers ?? [];
  const statuses = pod.status?.initContainerStatuses ?? [];
  for (const [index, container] of statuses.entries()) {
    const sidecar = specs.find((spec) => spec.name === container.name)?.restartPolicy === 'Always';
    const { terminated, waiting } = container.state;
    if (terminated?.exitCode === 0 || (sidecar && container.started)) continue;
    if (terminated !== undefined) return `Init:${terminatedWord(terminated)}`;
    if (waiting !== undefined && waiting.reason !== '' && waiting.reason !== 'PodInitializing') {
      return `Init:${waiting.reason}`;
    }
    return `Init:${String(index)}/${String(specs.length)}`;
  }
  return undefined;
}

function terminatedWord(terminated: NonNullable<ContainerStatus['state']['terminated']>): string {
  if (terminated.reason !== '') return terminated.reason;
  if (terminated.signal !== undefined && terminated.signal !== 0) return `Signal:${String(terminated.signal)}`;
  return `ExitCode:${String(terminated.exitCode)}`;
}

/** Why a pod that is not admitted yet waits. Kubernetes has no such state: its pods are refused at once. */
function waitingForDevices(pod: Pod): string | undefined {
  if (pod.status?.phase !== 'Pending') return undefined;
  return pod.status.conditions?.find(({ type, status }) => type === 'DevicesReady' && status === 'False')?.reason;
}

/** `ready/all` of the app containers. */
export function podReadyWord(pod: Pod): string {
  const ready = (pod.status?.containerStatuses ?? []).filter((container) => container.ready).length;
  return `${String(ready)}/${String(pod.spec.containers.length)}`;
}

/** Restarts of all containers together. */
export function podRestarts(pod: Pod): number {
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return statuses.reduce((sum, container) => sum + container.restartCount, 0);
}

/** What the pod's containers hold, as `resource=id,id`, one per resource; empty when nothing. */
export function podDevices(pod: Pod): string[] {
  const byResource = new Map<string, Set<string>>();
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  for (const container of statuses) {
    for (const { name, resources } of container.allocatedResourcesStatus ?? []) {
      const ids = byResource.get(name) ?? new Set<string>();
      byResource.set(name, ids);
      for (const { resourceID } of resources) ids.add(resourceID);
    }
  }
  return [...byResource].map(([resource, ids]) => `${resource}=${[...ids].join(',')}`);
}

/** Whether the pod has come to its end. */
export function isPodFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}
