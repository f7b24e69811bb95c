import { DevmgrError, type ContainerStatus, type Pod } from '@devmgr/core';
import type { LogOptions } from '../ports.ts';
import { WakeUp } from '../wake-up.ts';
import { isLease, isTerminal, uidOf, type PodServices } from './pod-services.ts';

/** How long a follower sleeps when nothing is reported about the pod. */
const POLL_MS = 5000;
const DEFAULT_CONTAINER_ANNOTATION = 'kubectl.kubernetes.io/default-container';

/**
 * Output of one container, of its current attempt or of the one before. Following goes on through restarts until the
 * container is over for good or the pod is gone, and waits for a container that was not started yet. Texts of errors
 * are the API server's and the kubelet's.
 */
export async function* readPodLogs(
  services: PodServices,
  pod: Pod,
  options: LogOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pods, runtime, clock } = services;
  const podUid = uidOf(pod);
  const container = chooseContainer(pod, options.container);
  const status = (): ContainerStatus | undefined => statusOf(pods.get(podUid), container);

  if (options.previous) {
    const attempt = previousAttempt(status());
    if (attempt === undefined) {
      throw new DevmgrError(
        'BAD_REQUEST',
        `previous terminated container "${container}" in pod "${pod.metadata.name}" not found`,
      );
    }
    yield* runtime.readLog({ podUid, container, attempt }, { ...options, follow: false });
    return;
  }
  if (!options.follow && currentAttempt(status()) === undefined) throw notStarted(pod, container, status());

  const wakeUp = new WakeUp(clock);
  const stopWatching = pods.watch(({ object }) => {
    if (uidOf(object) === podUid) wakeUp.wake();
  });
  try {
    let { tailLines } = options;
    for (let next = 0; !options.signal.aborted;) {
      const attempt = currentAttempt(status());
      if (attempt !== undefined && attempt >= next) {
        const tail = tailLines === undefined ? {} : { tailLines };
        yield* runtime.readLog(
          { podUid, container, attempt },
          { follow: options.follow, signal: options.signal, ...tail },
        );
        tailLines = undefined;
        next = attempt + 1;
      } else {
        const now = pods.get(podUid);
        if (now === undefined || isTerminal(now)) {
          if (next === 0 && now !== undefined) throw notStarted(now, container, status());
          return;
        }
        await wakeUp.wait(POLL_MS, options.signal);
      }
      if (!options.follow || isOver(pods.get(podUid), container, next)) return;
    }
  } finally {
    stopWatching();
  }
}

function chooseContainer(pod: Pod, asked: string | undefined): string {
  const names = pod.spec.containers.map(({ name }) => name);
  const init = (pod.spec.initContainers ?? []).map(({ name }) => name);
  if (isLease(pod)) {
    throw new DevmgrError(
      'BAD_REQUEST',
      `pod "${pod.metadata.name}" is a lease: its command writes to its own terminal`,
      {
        remedy: 'Look where "devmgr run" was started.',
      },
    );
  }
  if (asked !== undefined) {
    if ([...names, ...init].includes(asked)) return asked;
    throw new DevmgrError('BAD_REQUEST', `container ${asked} is not valid for pod ${pod.metadata.name}`, {
      remedy: `Choose one of: ${[...names, ...init].join(', ')}.`,
    });
  }
  const preferred = pod.metadata.annotations?.[DEFAULT_CONTAINER_ANNOTATION];
  if (preferred !== undefined && names.includes(preferred)) return preferred;
  const [only] = names;
  if (names.length === 1 && only !== undefined) return only;
  const rest = init.length === 0 ? '' : ` or one of the init containers: [${init.join(' ')}]`;
  throw new DevmgrError(
    'BAD_REQUEST',
    `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${names.join(' ')}]${rest}`,
    { remedy: 'Name the container with -c.' },
  );
}

function statusOf(pod: Pod | undefined, container: string): ContainerStatus | undefined {
  return [...(pod?.status?.initContainerStatuses ?? []), ...(pod?.status?.containerStatuses ?? [])].find(
    ({ name }) => name === container,
  );
}

/** The attempt that runs or ran last. */
function currentAttempt(status: ContainerStatus | undefined): number | undefined {
  if (status === undefined) return undefined;
  const { state, lastState, restartCount } = status;
  const hasRun = state.running !== undefined || state.terminated !== undefined || lastState.terminated !== undefined;
  return hasRun ? restartCount : undefined;
}

/** The attempt that `lastState` tells of: the last one while the next is waited for, else the one before it. */
function previousAttempt(status: ContainerStatus | undefined): number | undefined {
  if (status?.lastState.terminated === undefined) return undefined;
  return status.state.waiting === undefined ? status.restartCount - 1 : status.restartCount;
}

/** True when no attempt from `next` on will come. */
function isOver(pod: Pod | undefined, container: string, next: number): boolean {
  if (pod === undefined) return true;
  const status = statusOf(pod, container);
  if ((currentAttempt(status) ?? -1) >= next) return false;
  if (isTerminal(pod)) return next > 0;
  // An init container that ended well is not started again.
  const isInit = (pod.spec.initContainers ?? []).some(
    (candidate) => candidate.name === container && candidate.restartPolicy !== 'Always',
  );
  const code = status?.state.terminated?.exitCode;
  if (code === undefined) return false;
  const policy = isInit ? (pod.spec.restartPolicy === 'Never' ? 'Never' : 'OnFailure') : pod.spec.restartPolicy;
  return policy === 'Never' || (policy === 'OnFailure' && code === 0) || pod.metadata.deletionTimestamp !== undefined;
}

function notStarted(pod: Pod, container: string, status: ContainerStatus | undefined): DevmgrError {
  const reason = status?.state.waiting?.reason ?? 'ContainerCreating';
  const why = isTerminal(pod) ? (pod.status?.reason ?? pod.status?.phase ?? reason) : reason;
  return new DevmgrError(
    'BAD_REQUEST',
    `container "${container}" in pod "${pod.metadata.name}" is waiting to start: ${why}`,
    {
      remedy: 'Look at the reason with "devmgr describe pod".',
    },
  );
}
