/** The status of a pod, made from what its containers do. Pure: time is passed in. (kubelet: getPhase, status conditions) */
import type { Condition, Container, ContainerStatus, Pod, PodPhase, PodStatus } from '@devmgr/core';

/** What a pod's status is made of. */
export interface PodView {
  readonly init: readonly InitContainerView[];
  readonly apps: readonly ContainerStatus[];
  /** Set when the pod is over. */
  readonly final?: 'Succeeded' | 'Failed';
}

export interface InitContainerView {
  readonly status: ContainerStatus;
  readonly sidecar: boolean;
}

/** An init container is through when it ended well, a sidecar when it runs. */
function isThrough({ status, sidecar }: InitContainerView): boolean {
  return sidecar ? status.started : status.state.terminated?.exitCode === 0;
}

/** Pending until every container has run once; after that Running, until the pod is over. */
export function podPhase(view: PodView): PodPhase {
  if (view.final !== undefined) return view.final;
  if (!view.init.every(isThrough) && !view.apps.some(hasRun)) return 'Pending';
  return view.apps.every(hasRun) ? 'Running' : 'Pending';
}

function hasRun(status: ContainerStatus): boolean {
  const { state, lastState } = status;
  return state.running !== undefined || state.terminated !== undefined || lastState.terminated !== undefined;
}

/** The next status, from the previous one: fields that are not ours to change are kept. */
export function podStatus(previous: PodStatus | undefined, view: PodView, now: string): PodStatus {
  return {
    ...previous,
    phase: podPhase(view),
    conditions: podConditions(previous?.conditions ?? [], view, now),
    ...(view.init.length === 0 ? {} : { initContainerStatuses: view.init.map(({ status }) => status) }),
    containerStatuses: [...view.apps],
  };
}

function podConditions(previous: readonly Condition[], view: PodView, now: string): Condition[] {
  const notThrough = view.init.filter((container) => !isThrough(container)).map(({ status }) => status.name);
  const notReady = [...view.init.filter(({ sidecar }) => sidecar).map(({ status }) => status), ...view.apps]
    .filter((status) => !status.ready)
    .map(({ name }) => name);
  const initialized: ConditionChange =
    notThrough.length === 0 || view.final === 'Succeeded'
      ? { type: 'Initialized', status: 'True', ...(view.final === 'Succeeded' ? { reason: 'PodCompleted' } : {}) }
      : {
          type: 'Initialized',
          status: 'False',
          reason: 'ContainersNotInitialized',
          message: `containers with incomplete status: [${notThrough.join(' ')}]`,
        };
  const readiness: Omit<ConditionChange, 'type'> =
    view.final !== undefined
      ? { status: 'False', reason: view.final === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
      : notReady.length > 0
        ? {
            status: 'False',
            reason: 'ContainersNotReady',
            message: `containers with unready status: [${notReady.join(' ')}]`,
          }
        : { status: 'True' };
  return [initialized, { type: 'ContainersReady', ...readiness }, { type: 'Ready', ...readiness }].reduce(
    (conditions, change) => withCondition(conditions, change, now),
    [...previous],
  );
}

export type ConditionChange = Omit<Condition, 'lastTransitionTime'>;

/** The conditions with one added or replaced; its time moves only when its status does. */
export function withCondition(conditions: readonly Condition[], change: ConditionChange, now: string): Condition[] {
  const index = conditions.findIndex((condition) => condition.type === change.type);
  const old = conditions[index];
  const lastTransitionTime = old?.status === change.status ? old.lastTransitionTime : now;
  const next: Condition = { ...change, lastTransitionTime };
  return old === undefined ? [...conditions, next] : conditions.with(index, next);
}

/** Status of a container that was not started yet. */
export function waitingStatus(container: Container, reason: string): ContainerStatus {
  return {
    name: container.name,
    state: { waiting: { reason } },
    lastState: {},
    ready: false,
    started: false,
    restartCount: 0,
    image: container.image ?? '',
    imageID: '',
  };
}

/** Status of a pod that was just created. */
export function firstStatus(pod: Pod, now: string): PodStatus {
  const claims = pod.status?.extendedResourceClaimStatus;
  const initial = 'PodInitializing';
  return {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: now }],
    ...((pod.spec.initContainers ?? []).length === 0
      ? {}
      : {
          initContainerStatuses: (pod.spec.initContainers ?? []).map((container) => waitingStatus(container, initial)),
        }),
    containerStatuses: pod.spec.containers.map((container) =>
      waitingStatus(container, (pod.spec.initContainers ?? []).length === 0 ? 'ContainerCreating' : initial),
    ),
    ...(claims === undefined ? {} : { extendedResourceClaimStatus: claims }),
  };
}

/** The status with an end nobody saw in place of `running`. (kubelet: ContainerStatusUnknown, exit code 137) */
export function unseenEnd(status: ContainerStatus, now: string): ContainerStatus {
  const { running } = status.state;
  if (running === undefined) return status;
  const terminated = { exitCode: 137, reason: 'ContainerStatusUnknown', startedAt: running.startedAt, finishedAt: now };
  return { ...status, state: { terminated }, ready: false, started: false };
}
