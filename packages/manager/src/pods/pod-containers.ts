import type { ContainerStatus, Pod, RestartPolicy } from '@devmgr/core';
import type { RecoveredContainer } from '../container-runtime.ts';
import { isAborted } from '../wake-up.ts';
import { ContainerWorker, type ContainerPast, type ContainerRole } from './container-worker.ts';
import type { PodServices } from './pod-services.ts';
import type { PodView } from './pod-status.ts';

/** What a sidecar gets at least after the app containers used up the grace period. (kubelet: minimumGracePeriodInSeconds) */
const LEAST_GRACE_MS = 2000;

/** How the containers went on while the manager was away. */
export interface PodPast {
  readonly found: readonly RecoveredContainer[];
  /** The machine was started anew: init containers run again. */
  readonly rebooted: boolean;
}

/**
 * The containers of one pod, in the kubelet's order: init containers one after the other, each waited for until it
 * ended well, sidecars (init containers with restartPolicy Always) only until they run; then the app containers side by
 * side. Sidecars end after the app containers, last started first. (KEP-753)
 */
export class PodContainers {
  readonly #init: readonly ContainerWorker[];
  readonly #apps: readonly ContainerWorker[];
  readonly #services: PodServices;
  readonly #policy: RestartPolicy;
  readonly #graceMs: number;
  #initFailed = false;

  constructor(options: {
    readonly services: PodServices;
    readonly pod: () => Pod;
    readonly changed: (weight: 'durable' | 'passing') => void;
  }) {
    this.#services = options.services;
    const pod = options.pod();
    const policy: RestartPolicy = pod.spec.restartPolicy ?? 'Always';
    this.#policy = policy;
    this.#graceMs = gracePeriodMs(pod);
    const previous = new Map<string, ContainerStatus>();
    for (const status of [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]) {
      previous.set(status.name, status);
    }
    const worker = (role: ContainerRole, own: RestartPolicy) => (container: Pod['spec']['containers'][number]) =>
      new ContainerWorker({ ...options, container, role, policy: own, previous: previous.get(container.name) });
    this.#init = (pod.spec.initContainers ?? []).map((container) =>
      container.restartPolicy === 'Always'
        ? worker('sidecar', 'Always')(container)
        : worker('init', policy === 'Never' ? 'Never' : 'OnFailure')(container),
    );
    this.#apps = pod.spec.containers.map(worker('app', policy));
  }

  /** What the pod's status is made of. */
  view(): Omit<PodView, 'final'> {
    return {
      init: this.#init.map((worker) => ({ status: worker.status, sidecar: worker.role === 'sidecar' })),
      apps: this.#apps.map((worker) => worker.status),
    };
  }

  /**
   * Runs them all. Resolves once nothing runs any more and nothing will: Failed when an init or app container ended
   * badly for good; undefined when stopped or detached before that.
   */
  async run(past: PodPast | undefined, signal: AbortSignal): Promise<'Succeeded' | 'Failed' | undefined> {
    const pastOf = (worker: ContainerWorker): ContainerPast | undefined => {
      if (past === undefined) return undefined;
      const found = past.found.find(({ container }) => container === worker.container.name);
      return { found, rerun: past.rebooted && worker.role === 'init' && this.#policy !== 'Never' };
    };
    // What still runs is watched from the start, whatever comes before it in the order.
    for (const worker of [...this.#init, ...this.#apps]) {
      if (pastOf(worker)?.found?.state === 'running') void worker.run(pastOf(worker));
    }
    for (const worker of this.#init) {
      if (signal.aborted) return undefined;
      const run = worker.run(pastOf(worker));
      if (worker.role === 'sidecar') {
        await worker.started;
        continue;
      }
      const end = await run;
      if (end === undefined) return undefined;
      if (end.exitCode !== 0) {
        this.#initFailed = true;
        break;
      }
    }
    if (signal.aborted) return undefined;
    const ends = this.#initFailed ? [] : await Promise.all(this.#apps.map((worker) => worker.run(pastOf(worker))));
    if (isAborted(signal) || ends.includes(undefined)) return undefined;
    await this.#stopSidecars(() => this.#graceMs);
    // Told to stop while the sidecars were ending: what matters is that the app containers had ended by themselves.
    return this.#initFailed || ends.some((end) => end?.exitCode !== 0) ? 'Failed' : 'Succeeded';
  }

  /** Stops everything within `graceMs`, app containers first; a later call can only shorten it. Resolves when nothing runs. */
  async stop(graceMs: number): Promise<void> {
    const { clock } = this.#services;
    const until = clock.monotonicMs() + graceMs;
    const remainingMs = (): number => Math.max(until - clock.monotonicMs(), Math.min(graceMs, LEAST_GRACE_MS));
    const mains = [...this.#apps, ...this.#init.filter((worker) => worker.role === 'init')];
    // At once means all of them at once.
    if (graceMs <= 0) await Promise.all([...mains, ...this.#init].map((worker) => worker.stop(0)));
    await Promise.all(mains.map((worker) => worker.stop(graceMs)));
    await this.#stopSidecars(remainingMs);
  }

  /** Leaves them alone from now on. */
  detach(): void {
    for (const worker of [...this.#init, ...this.#apps]) worker.detach();
  }

  async #stopSidecars(graceMs: () => number): Promise<void> {
    const sidecars = this.#init.filter((worker) => worker.role === 'sidecar');
    for (const sidecar of sidecars.reverse()) await sidecar.stop(graceMs());
  }
}

/** How long the pod's containers have between SIGTERM and SIGKILL unless a deletion says otherwise. */
export function gracePeriodMs(pod: Pod): number {
  return (pod.spec.terminationGracePeriodSeconds ?? 30) * 1000;
}
