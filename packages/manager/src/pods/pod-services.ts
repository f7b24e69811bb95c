/** What every part of pod keeping needs, and small helpers over pods. */
import { DevmgrError, type ContainerStatus, type ObjectReference, type Pod, type ResourceStatus } from '@devmgr/core';
import type { ContainerRuntime } from '../container-runtime.ts';
import type { Clock, DeviceAdmission, EventSink, Logger, StateRecord, StateWriter } from '../ports.ts';
import { sleep } from '../wake-up.ts';
import type { PodStore } from './pod-store.ts';

export interface PodServices {
  readonly admission: DeviceAdmission;
  readonly runtime: ContainerRuntime;
  /** Durable records. */
  readonly store: StateWriter;
  /** The pods as they are seen now. */
  readonly pods: PodStore;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called each time a pod or lease gave its devices back. */
  readonly devicesFreed: () => void;
}

/** A Pod that stands for a lease carries this annotation with the value `true`. */
export const LEASE_ANNOTATION = 'devmgr.io/lease';

export function isLease(pod: Pod): boolean {
  return pod.metadata.annotations?.[LEASE_ANNOTATION] === 'true';
}

export function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? '';
}

export function namespaceOf(pod: Pod): string {
  return pod.metadata.namespace ?? 'default';
}

/** Succeeded or Failed: nothing of it runs any more, and never will. */
export function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** For events; `container` names one of its containers. */
export function podReference(pod: Pod, container?: { name: string; isInit: boolean }): ObjectReference {
  const list = container?.isInit === true ? 'initContainers' : 'containers';
  return {
    kind: 'Pod',
    name: pod.metadata.name,
    namespace: namespaceOf(pod),
    uid: uidOf(pod),
    ...(container === undefined ? {} : { fieldPath: `spec.${list}{${container.name}}` }),
  };
}

/** RFC 3339 in whole seconds, as Kubernetes prints times. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/**
 * Adds a new pod, on disk before anybody sees it or anything is held for it. Rejects with ALREADY_EXISTS or
 * STATE_WRITE_FAILED; nothing is left of it then.
 */
export async function addPod({ pods, store }: Pick<PodServices, 'pods' | 'store'>, pod: Pod): Promise<Pod> {
  if (!pods.reserve(pod)) throw new DevmgrError('ALREADY_EXISTS', `pods "${pod.metadata.name}" already exists`);
  try {
    await store.append({ type: 'pod', pod });
  } catch (error) {
    pods.cancel(pod);
    throw error;
  }
  return pods.put(pod);
}

/** Writes a record; a failure becomes an event of the pod and a log line, and false. */
export async function tryAppend(services: PodServices, pod: Pod, record: StateRecord): Promise<boolean> {
  try {
    await services.store.append(record);
    return true;
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    services.log.error({ pod: pod.metadata.name, podUid: uidOf(pod), err: cause }, 'Pod state could not be written');
    services.events.record(podReference(pod), 'Warning', 'FailedToWriteState', cause);
    return false;
  }
}

const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30_000;

/** Repeats `attempt` with growing pauses until it returns true or `signal` aborts; false then. */
export async function retryUntil(
  services: Pick<PodServices, 'clock'>,
  signal: AbortSignal,
  attempt: () => Promise<boolean>,
): Promise<boolean> {
  for (let pauseMs = FIRST_RETRY_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_RETRY_MS)) {
    if (await attempt()) return true;
    await sleep(services.clock, pauseMs, signal);
    if (signal.aborted) return false;
  }
}

/** Gives a pod's devices back, however long that takes to become durable; false when `signal` aborts before. */
export async function releaseDevices(services: PodServices, pod: Pod, signal: AbortSignal): Promise<boolean> {
  const released = await retryUntil(services, signal, async () => {
    try {
      await services.admission.release(uidOf(pod));
      return true;
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      services.log.error({ pod: pod.metadata.name, podUid: uidOf(pod), err: cause }, 'Devices could not be released');
      services.events.record(podReference(pod), 'Warning', 'FailedToWriteState', cause);
      return false;
    }
  });
  if (released) services.devicesFreed();
  return released;
}

/** A container's status with the health of the devices it holds, for containers of all kinds. (KEP-4680) */
export function withDeviceHealth(
  status: ContainerStatus,
  podUid: string,
  admission: Pick<DeviceAdmission, 'allocatedHealth'>,
): ContainerStatus {
  const byResource = new Map<string, ResourceStatus>();
  for (const { resource, deviceId, health } of admission.allocatedHealth(podUid, status.name)) {
    const known = byResource.get(resource) ?? { name: resource, resources: [] };
    byResource.set(resource, known);
    known.resources.push({ resourceID: deviceId, health });
  }
  const { allocatedResourcesStatus: _old, ...rest } = status;
  return byResource.size === 0 ? rest : { ...rest, allocatedResourcesStatus: [...byResource.values()] };
}
