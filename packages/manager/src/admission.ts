import {
  containerRequests,
  deviceIdsOf,
  mergeContainerOptions,
  type Placement,
  needsOf,
  type AllocationPlan,
  type ContainerRequest,
  type Pod,
} from '@devmgr/core';
import { decodeContainerAllocateResponse } from '@devmgr/wire';
import type { DecisionBook } from './decision-book.ts';
import type { DeviceManager } from './device-manager.ts';
import { ResourceQueues } from './resource-queues.ts';
import type {
  AdmissionResult,
  ContainerOptions,
  DeviceAdmission,
  HookRunner,
  Logger,
  PluginSession,
  WaitingForDevices,
} from './ports.ts';
import type { TopologyManager } from './topology/topology-manager.ts';

/** Deadline of a plugin call unless the resource has its own. (The kubelet has none for Allocate and GetPreferredAllocation, kubernetes#117435.) */
export const PLUGIN_CALL_TIMEOUT_MS = 30_000;
/** How long a pod waits for the plugin of a known resource. */
export const PLUGIN_WAIT_MS = 5 * 60_000;

export interface AdmissionOptions {
  readonly manager: DeviceManager;
  readonly log: Logger;
  /** What to do with a pod that asks for an extended resource nobody ever registered: refuse it (there is no scheduler here that would keep it away), or ignore the resource as the kubelet does. */
  readonly unknownResources?: 'reject' | 'ignore';
  readonly waitForPluginMs?: number;
  readonly callTimeoutMs?: number;
  /** Resource name to deadline, where it differs. */
  readonly callTimeoutsMs?: ReadonlyMap<string, number>;
  /** Told of every decision, for metrics; `waitedMs` includes everything. */
  readonly onDecision?: (result: AdmissionResult, durationMs: number) => void;
  /** Remembers why, for `devmgr explain`. */
  readonly decisions?: DecisionBook;
  /** Says on which NUMA nodes containers are to be; without one nobody cares (policy `none`). */
  readonly topology?: TopologyManager;
  /** Commands to run before each start of a container that has devices of a resource, and who runs them. */
  readonly beforeUse?: {
    readonly hooks: HookRunner;
    readonly commands: ReadonlyMap<string, { readonly command: readonly string[]; readonly timeoutMs: number }>;
  };
  /** Told how long giving a pod its devices took, its turn in the queues not included, and whether that failed. (kubelet: topology manager, Admit) */
  readonly onAllocation?: (failed: boolean, durationMs: number) => void;
}

/** See {@link Admission}. */
interface Patience {
  isOver(): boolean;
  /** Tells what is waited for, when that is news, and resolves when anything has changed or the patience is over. Rejects when the signal aborts. */
  next(reason: WaitingForDevices['reason'], resources: readonly string[], what: string): Promise<void>;
}

/** A refusal on the way; its message becomes the pod's. */
class Refusal extends Error {}

/** The topology policy says no. (kubelet: TopologyAffinityError) */
class TopologyRefusal extends Error {
  constructor() {
    super('Resources cannot be allocated with Topology locality');
  }
}

/**
 * Gives pods their devices, in the kubelet's order and with its texts (kubelet: device manager, Allocate): is the
 * plugin known, are enough devices healthy and free, choose, ask the plugin's preference, Allocate, write down.
 *
 * Invariants
 * - A pod gets everything or nothing: whatever an admission reserved or was given is released when it does not end well.
 * - It is reported only after it is durable.
 * - Admissions that share a resource are served in order of arrival; those that share none do not meet.
 */
export class Admission implements DeviceAdmission {
  readonly #options: AdmissionOptions;
  readonly #manager: DeviceManager;
  readonly #queues = new ResourceQueues();
  #waiting = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#manager = options.manager;
  }

  /** Admissions that wait for a plugin or a release now. */
  get waiting(): number {
    return this.#waiting;
  }

  async admit(
    pod: Pod,
    options: { signal: AbortSignal; onWaiting: (waiting: WaitingForDevices) => void; impatient?: boolean },
  ): Promise<AdmissionResult> {
    const startedAt = this.#manager.clock.monotonicMs();
    this.#options.decisions?.began(pod);
    let result: AdmissionResult | undefined;
    try {
      result = await this.#admit(pod, options);
    } finally {
      this.#options.decisions?.ended(pod, result);
    }
    this.#options.onDecision?.(result, this.#manager.clock.monotonicMs() - startedAt);
    return result;
  }

  async #admit(
    pod: Pod,
    {
      signal,
      onWaiting,
      impatient = false,
    }: { signal: AbortSignal; onWaiting: (waiting: WaitingForDevices) => void; impatient?: boolean },
  ): Promise<AdmissionResult> {
    const podUid = pod.metadata.uid ?? '';
    const requests = containerRequests(pod);
    const wanted = new Set(
      requests.flatMap((request) =>
        [...request.resources].flatMap(([resource, count]) => (count > 0 ? [resource] : [])),
      ),
    );
    try {
      for (const resource of wanted) {
        if (!this.#manager.isKnown(resource)) {
          if (this.#options.unknownResources !== 'ignore')
            throw new Refusal(`cannot allocate unregistered device ${resource}`);
          wanted.delete(resource);
        }
      }
      const wait = this.#wait(onWaiting, signal);
      let leave: () => void;
      for (;;) {
        signal.throwIfAborted();
        await this.#waitForPlugins([...wanted], wait);
        leave = await this.#queues.enter(wanted, signal);
        const short = impatient || wait.isOver() ? [] : this.#shortUntilReleased(podUid, requests, wanted);
        if (short.length === 0) break;
        leave();
        await wait.next('WaitingForRelease', short, `waiting for devices of ${short.join(', ')} to be released`);
      }
      try {
        await this.#allocatePod(pod, requests, wanted, signal);
      } finally {
        this.#manager.ledger.dropReuse(podUid);
        leave();
      }
      const allocations = this.#manager.ledger.podAllocations(podUid);
      if (allocations.length > 0) await this.#manager.recordAllocated(podUid, allocations);
      signal.throwIfAborted();
      return { ok: true };
    } catch (error) {
      this.#options.decisions?.refusing(pod);
      // Nothing of this admission may stay; if some of it was written down already, that is taken back as well.
      await this.release(podUid).catch(() => undefined);
      if (signal.aborted) throw error;
      const cause = error instanceof Error ? error.message : String(error);
      this.#options.log.info({ pod: pod.metadata.name, podUid, err: cause }, 'Pod admission refused');
      if (error instanceof TopologyRefusal) return { ok: false, reason: 'TopologyAffinityError', message: cause };
      return {
        ok: false,
        reason: 'UnexpectedAdmissionError',
        message: `Allocate failed due to ${cause}, which is unexpected`,
      };
    }
  }

  async prepareStart(pod: Pod, containerName: string, signal: AbortSignal, attempt = 1): Promise<ContainerOptions> {
    const podUid = pod.metadata.uid ?? '';
    const { ledger } = this.#manager;
    const request = containerRequests(pod).find((candidate) => candidate.container === containerName);
    const wanted = [...(request?.resources ?? [])]
      .filter(([resource, count]) => count > 0 && ledger.isKnown(resource))
      .map(([resource]) => resource);
    for (const resource of wanted) await this.#preStart(podUid, containerName, resource, signal);
    const missing = wanted.filter((resource) => ledger.allocation(podUid, containerName, resource) === undefined);
    if (request !== undefined && missing.length > 0) {
      // Nothing on record, for example because state was lost: allocate now. (kubelet: GetDeviceRunContainerOptions)
      const leave = await this.#queues.enter(missing, signal);
      try {
        if (this.#options.topology?.realign(pod, containerName) === false) throw new TopologyRefusal();
        await this.#allocateContainer(podUid, request, new Set(missing), signal);
      } finally {
        ledger.dropReuse(podUid);
        leave();
      }
      await this.#manager.recordAllocated(podUid, ledger.podAllocations(podUid));
    }
    await this.#runBeforeUse(pod, containerName, signal, attempt);
    return this.#containerOptions(podUid, containerName);
  }

  release(podUid: string): Promise<void> {
    this.#options.topology?.forget(podUid);
    return this.#manager.release(podUid);
  }

  allocatedHealth(
    podUid: string,
    containerName: string,
  ): { resource: string; deviceId: string; health: 'Healthy' | 'Unhealthy' | 'Unknown' }[] {
    const { ledger } = this.#manager;
    return ledger.containerAllocations(podUid, containerName).flatMap((allocation) => {
      const connected = this.#manager.isReady(allocation.resource);
      return [...deviceIdsOf(allocation)].map((deviceId) => {
        const device = ledger.device(allocation.resource, deviceId);
        const health = !connected || device?.listed !== true ? 'Unknown' : device.healthy ? 'Healthy' : 'Unhealthy';
        return { resource: allocation.resource, deviceId, health } as const;
      });
    });
  }

  onHealthChange(listener: (podUid: string) => void): () => void {
    return this.#manager.onHealthChange(listener);
  }

  /** Every container in order, each on the nodes the topology policy wants it on. (kubelet: topology manager, scopes) */
  async #allocatePod(
    pod: Pod,
    requests: readonly ContainerRequest[],
    wanted: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const { topology, onAllocation } = this.#options;
    const { clock } = this.#manager;
    const startedAt = clock.monotonicMs();
    let failed = true;
    try {
      this.#accept(pod, topology?.alignPod(pod));
      for (const request of requests) {
        this.#accept(pod, topology?.alignContainer(pod, request.container));
        await this.#allocateContainer(pod.metadata.uid ?? '', request, wanted, signal);
        topology?.containerAllocated();
      }
      topology?.podAllocated();
      failed = false;
    } finally {
      onAllocation?.(failed, clock.monotonicMs() - startedAt);
    }
  }

  /** Remembers what the topology policy said; throws when that was no. */
  #accept(pod: Pod, placement: Placement | undefined): void {
    if (placement === undefined) return;
    this.#options.decisions?.placed(pod, placement);
    if (!placement.decision.admit) throw new TopologyRefusal();
  }

  /** One container, all its resources; leaves what it got in the ledger, or throws with nothing of this container's open plans left. */
  async #allocateContainer(
    podUid: string,
    request: ContainerRequest,
    wanted: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const { ledger } = this.#manager;
    for (const [resource, count] of request.resources) {
      if (count === 0 || !wanted.has(resource)) continue;
      const affinity = this.#options.topology?.affinity(podUid, request.container) ?? null;
      const plan = ledger.plan({ podUid, container: request.container, kind: request.kind, resource, count, affinity });
      try {
        await this.#carryOut(plan, resource, signal);
      } finally {
        this.#options.decisions?.planned(plan);
        plan.release();
        this.#manager.changed();
      }
    }
    ledger.settleContainer(podUid, request.container, request.kind);
  }

  async #carryOut(plan: AllocationPlan, resource: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const session = this.#manager.session(resource);
      const step = plan.next(session?.options.preferredAllocationAvailable === true);
      switch (step.step) {
        case 'nothing':
          return;
        case 'reject':
          throw new Refusal(step.message);
        case 'prefer':
          if (session === undefined)
            throw new Refusal(`endpoint not found in cache for a registered resource: ${resource}`);
          plan.answer(
            await this.#call(
              session,
              'GetPreferredAllocation',
              'device plugin GetPreferredAllocation rpc failed with err: ',
              (limits) => session.preferredAllocation(step, limits),
              signal,
            ),
          );
          break;
        case 'allocate': {
          if (session === undefined) throw new Refusal(`unknown Device Plugin ${resource}`);
          const response = await this.#call(
            session,
            'Allocate',
            '',
            (limits) => session.allocate(step.deviceIds, limits),
            signal,
          );
          decodeContainerAllocateResponse(response); // an answer that cannot be read is refused now, not at container start
          plan.commit(response);
          return;
        }
      }
    }
  }

  async #preStart(podUid: string, container: string, resource: string, signal: AbortSignal): Promise<void> {
    const session = this.#manager.session(resource);
    if (!(session?.options.preStartRequired ?? this.#manager.preStartRequired(resource))) return;
    const allocation = this.#manager.ledger.allocation(podUid, container, resource);
    if (allocation === undefined) {
      // Of a plugin that has not been back since the start the kubelet knows no options, and allocates first.
      if (session === undefined && !this.#manager.pluginSeen(resource)) return;
      throw new Refusal(
        `no devices found allocated in local cache for pod ${podUid}, container ${container}, resource ${resource}`,
      );
    }
    if (session === undefined) throw new Refusal(`endpoint not found in cache for a registered resource: ${resource}`);
    const ids = [...deviceIdsOf(allocation)];
    await this.#call(
      session,
      'PreStartContainer',
      'device plugin PreStartContainer rpc failed with err: ',
      (limits) => session.preStart(ids, limits),
      signal,
    );
  }

  async #call<T>(
    session: PluginSession,
    call: 'Allocate' | 'GetPreferredAllocation' | 'PreStartContainer',
    prefix: string,
    invoke: (limits: { timeoutMs: number; signal: AbortSignal }) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const { clock, metrics } = this.#manager;
    const timeoutMs =
      this.#options.callTimeoutsMs?.get(session.resource) ?? this.#options.callTimeoutMs ?? PLUGIN_CALL_TIMEOUT_MS;
    const startedAt = clock.monotonicMs();
    let ok = false;
    try {
      const answer = await invoke({ timeoutMs, signal });
      ok = true;
      return answer;
    } catch (error) {
      throw new Refusal(prefix + (error instanceof Error ? error.message : String(error)), { cause: error });
    } finally {
      metrics.pluginCall(session.resource, call, (clock.monotonicMs() - startedAt) / 1000, ok);
    }
  }

  /** Every container start that has devices of a resource with such a command runs it, in the order of the resources. */
  async #runBeforeUse(pod: Pod, container: string, signal: AbortSignal, attempt: number): Promise<void> {
    const { beforeUse } = this.#options;
    if (beforeUse === undefined || beforeUse.commands.size === 0) return;
    const { name, namespace = 'default', uid = '' } = pod.metadata;
    for (const allocation of this.#manager.ledger.containerAllocations(uid, container)) {
      const { resource } = allocation;
      const settings = beforeUse.commands.get(resource);
      const deviceIds = [...deviceIdsOf(allocation)];
      if (settings === undefined || deviceIds.length === 0) continue;
      const run = { hook: 'beforeUse', resource, deviceIds, pod: { namespace, name, uid }, container } as const;
      await beforeUse.hooks.run({ ...run, ...settings, attempt, signal });
    }
  }

  /** Resources of which less is free than the pod needs, and enough once what is being released has come back. */
  #shortUntilReleased(
    podUid: string,
    requests: readonly ContainerRequest[],
    wanted: ReadonlySet<string>,
  ): readonly string[] {
    const { ledger } = this.#manager;
    const releasing = [...wanted].filter((resource) => ledger.releasing(resource).returning > 0);
    if (releasing.length === 0) return [];
    const needs = needsOf(
      requests.flatMap(({ container, kind, resources }) =>
        [...resources].flatMap(([resource, asked]) =>
          ledger.allocation(podUid, container, resource) === undefined ? [{ kind, resource, asked }] : [],
        ),
      ),
    );
    return releasing.filter((resource) => {
      const free = ledger.capacity(resource)?.free ?? 0;
      const needed = needs.get(resource) ?? 0;
      return needed > free && needed <= free + ledger.releasing(resource).returning;
    });
  }

  /** The patience of one admission, for everything it waits for; at its end the pod gets the kubelet's answer. */
  #wait(onWaiting: (waiting: WaitingForDevices) => void, signal: AbortSignal): Patience {
    const { clock } = this.#manager;
    const until = clock.now() + (this.#options.waitForPluginMs ?? PLUGIN_WAIT_MS);
    let told = '';
    return {
      isOver: () => until - clock.now() <= 0,
      next: async (reason, resources, what) => {
        const message = `${what}, until ${new Date(until).toISOString()} at the latest`;
        if (message !== told) onWaiting({ reason, resources, message, until });
        told = message;
        this.#waiting += 1;
        await this.#nextChange(until - clock.now(), signal);
        this.#waiting -= 1;
        signal.throwIfAborted();
      },
    };
  }

  /** A known resource whose plugin is not there yet delays the pod, visibly and bounded, instead of failing it. (kubernetes#125579) */
  async #waitForPlugins(resources: readonly string[], wait: Patience): Promise<void> {
    for (;;) {
      const absent = resources.filter((resource) => !this.#manager.isReady(resource));
      if (absent.length === 0 || wait.isOver()) return;
      await wait.next('WaitingForDevicePlugin', absent, `waiting for the device plugin of ${absent.join(', ')}`);
    }
  }

  #nextChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        cancelTimer();
        stopListening();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const cancelTimer = this.#manager.clock.setTimeout(done, timeoutMs);
      const stopListening = this.#manager.onChange(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #containerOptions(podUid: string, container: string): ContainerOptions {
    const allocations = this.#manager.ledger.containerAllocations(podUid, container);
    const { options, conflicts } = mergeContainerOptions(
      new Map(allocations.map(({ resource, response }) => [resource, decodeContainerAllocateResponse(response)])),
    );
    for (const conflict of conflicts)
      this.#options.log.error(
        { podUid, container, ...conflict },
        'Device plugins disagree about a container; the first answer is used',
      );
    return {
      ...options,
      allocated: new Map(allocations.map((allocation) => [allocation.resource, [...deviceIdsOf(allocation)]])),
    };
  }
}
