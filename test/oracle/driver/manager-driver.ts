import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  containerRequests,
  deviceIdsOf,
  Ledger,
  podRequest,
  sanitizeNodeAllocatable,
  type Allocation,
  type Pod,
} from '@devmgr/core';
import { Admission } from '../../../packages/manager/src/admission.ts';
import { StateStore } from '../../../packages/manager/src/checkpoint/state-store.ts';
import { DeviceManager } from '../../../packages/manager/src/device-manager.ts';
import { Inventory } from '../../../packages/manager/src/inventory.ts';
import { startPlugins, type PluginEndpoints } from '../../../packages/manager/src/plugins/plugin-endpoints.ts';
import type { Logger } from '../../../packages/manager/src/ports.ts';
import { SystemClock } from '../../../packages/manager/src/system-clock.ts';
import type {
  AdmitAnswer,
  AllocatableAnswer,
  CapacityAnswer,
  Command,
  DeviceManagerPeer,
  HeldDevices,
  OptionsAnswer,
  RunningContainer,
  StatusAnswer,
} from '../protocol.ts';
import { toOptionsAnswer } from './options-answer.ts';
import { toPod } from './to-pod.ts';
import { TopologyDriver } from './topology-driver.ts';

/** Everything that one `start` made and the next `stop` ends. */
interface RunningManager {
  readonly dir: string;
  readonly store: StateStore;
  readonly manager: DeviceManager;
  readonly admission: Admission;
  readonly inventory: Inventory;
  readonly plugins: PluginEndpoints;
  readonly topology: TopologyDriver;
  readonly running: readonly RunningContainer[];
}

/** The rest of a ContainerStatus, which is not the device manager's. */
const UNKNOWN_STATUS = { state: {}, lastState: {}, ready: false, restartCount: 0, image: '', imageID: '' };

/** After these the checkpoint is on disk. A question about capacity writes only when it removes something. */
const WRITES = new Set(['admit', 'gc', 'options']);

const TOPOLOGY_REFUSAL = 'Resources cannot be allocated with Topology locality';

function noop(): void {
  // the answers tell enough
}
const SILENT: Logger = { debug: noop, info: noop, warn: noop, error: noop, child: () => SILENT };

/**
 * devmgr's device manager with its real sockets, plugin sessions, admission and state on disk, behind the protocol of the
 * oracle. Where devmgr has a switch for the kubelet's way, it is set: no waiting for plugins, unknown resources ignored,
 * plugins have to register again after a restart.
 *
 * Invariants
 * - Pods that are active outlive `stop` and `start`, as they outlive a restart of the kubelet.
 * - What a pod that is gone holds comes back when the kubelet collects garbage: before a device is given, before hints, at
 *   `gc`; never while pod sources are not ready.
 */
export class ManagerDriver implements DeviceManagerPeer {
  readonly #pods = new Map<string, Pod>();
  #current: RunningManager | undefined;
  #ready = true;
  #updates: string[][] = [];
  readonly #shown = new Set<string>();
  /** Lists taken in since the start, by resource. */
  readonly #lists = new Map<string, number>();

  async do(command: Command): Promise<unknown> {
    const answer = await this.#do(command);
    // The kubelet's file is there when it answers; devmgr's is a snapshot that waits for calm unless it is asked for.
    if (WRITES.has(command.op)) await this.#current?.store.snapshot();
    return answer;
  }

  async #do(command: Command): Promise<unknown> {
    switch (command.op) {
      case 'start':
        return this.#start(command);
      case 'stop':
        await this.close();
        return {};
      case 'ready':
        this.#ready = command.ready ?? true;
        return {};
      case 'admit':
        return this.#admit(command);
      case 'adopt': {
        const pod = toPod(needed(command.pod, 'pod'));
        this.#pods.set(uidOf(pod), pod);
        return { devices: this.#devices(pod) };
      }
      case 'remove':
        this.#pods.delete(command.uid ?? '');
        return {};
      case 'gc':
        await this.#collect();
        return {};
      case 'capacity':
        return this.#capacity();
      case 'allocatable':
        return this.#allocatable();
      case 'options':
        return this.#options(command);
      case 'updates': {
        const updates = this.#updates;
        this.#updates = [];
        return updates.length === 0 ? null : updates;
      }
      case 'status':
        return this.#status(command);
      case 'sanitize':
        return this.#sanitize(command);
      case 'hints':
      case 'pod-hints': {
        const pod = toPod(needed(command.pod, 'pod'));
        await this.#collect();
        const { topology } = this.#running;
        return command.op === 'hints' ? topology.containerHints(pod) : topology.podHints(pod);
      }
      case 'reset-capacity': {
        const names = await readdir(this.#running.dir);
        return names.every((name) => name.startsWith('.'));
      }
      case 'bench-admit':
      case 'bench-fill':
        return this.#bench(command);
      // Not in the kubelet's half: how many lists of each resource have been taken in so far.
      case 'lists':
        return Object.fromEntries(this.#lists);
      // Nor this: whether a resource's plugin is there.
      case 'connected':
        return { connected: this.#running.manager.session(command.resource ?? '') !== undefined };
      case 'rss':
        return { rssKB: Math.round(process.memoryUsage.rss() / 1024) };
      default:
        throw new Error(`unknown op ${JSON.stringify(command.op)}`);
    }
  }

  /** Ends what runs; the pods stay. Idempotent. */
  async close(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    if (current === undefined) return;
    // As the daemon does: that a stopping manager sees no plugins is not worth remembering.
    await current.store.close();
    await current.plugins.close();
    current.manager.stop();
    this.#updates = [];
    this.#shown.clear();
    this.#lists.clear();
  }

  get #running(): RunningManager {
    if (this.#current === undefined) throw new Error('not started');
    return this.#current;
  }

  async #start(command: Command): Promise<unknown> {
    const dir = join(needed(command.dir, 'dir'), '.');
    const ledger = new Ledger();
    // What cannot be started leaves alone what runs.
    const topology = new TopologyDriver(command, ledger);
    await this.close();
    const clock = new SystemClock();
    // A name the kubelet's checkpoint directory does not list.
    const stateDir = join(dir, '.devmgr');
    const registryDir = command.watch ?? join(stateDir, 'plugins_registry');
    await mkdir(registryDir, { recursive: true });
    const { store, recovered } = await StateStore.open({ devicePluginDir: dir, stateDir, clock, log: SILENT });
    const manager = new DeviceManager({
      ledger,
      state: store,
      events: { record: noop },
      metrics: { registration: noop, pluginCall: noop },
      clock,
      log: SILENT,
      nodeName: 'oracle',
    });
    manager.restore(recovered);
    manager.onHealthChange((podUid) => this.#updates.push([podUid]));
    store.bind({
      resources: () =>
        [...manager.plugins()].map(({ resource, preStartRequired }) => ({
          resource,
          endpoint: null,
          preStartRequired,
          healthyIds: manager.ledger.healthyIds(resource),
        })),
    });
    this.#ready = command.ready ?? true;
    this.#current = {
      dir,
      store,
      manager,
      topology,
      admission: new Admission({
        manager,
        log: SILENT,
        waitForPluginMs: 0,
        unknownResources: 'ignore',
        ...(topology.manager === undefined ? {} : { topology: topology.manager }),
      }),
      inventory: new Inventory(manager, (uid) => uid),
      running: command.running ?? [],
      plugins: await startPlugins({
        devicePluginDir: dir,
        registryDir,
        host: {
          registrationRequested: (resource) => manager.registrationRequested(resource),
          pluginConnected: (session) => manager.pluginConnected(session),
          devicesReported: (session, devices) => {
            manager.devicesReported(session, devices);
            this.#lists.set(session.resource, (this.#lists.get(session.resource) ?? 0) + 1);
          },
          pluginEnded: (session, reason) => manager.pluginEnded(session, reason),
        },
        clock,
        log: SILENT,
        limits: { dialTimeoutMs: 10_000, optionsTimeoutMs: 30_000, maxReceiveBytes: 256 * 1024 * 1024 },
        remembered: [],
        events: noop,
      }),
    };
    return {};
  }

  async #admit(command: Command): Promise<AdmitAnswer> {
    const pod = toPod(needed(command.pod, 'pod'));
    const uid = uidOf(pod);
    const startedAt = performance.now();
    this.#pods.set(uid, pod);
    const { admission, topology } = this.#running;
    // Hints are made for every pod when a policy wants them, and that collects as well.
    if (topology.manager !== undefined || this.#asksForDevices(pod)) await this.#collect();
    const undecided = this.#withoutRunning(pod);
    const aligned = undecided === pod || topology.admits(pod);
    const result = aligned
      ? await admission.admit(undecided, { signal: new AbortController().signal, onWaiting: noop })
      : ({ ok: false, reason: 'TopologyAffinityError', message: TOPOLOGY_REFUSAL } as const);
    if (!aligned) await admission.release(uid);
    const us = Math.round((performance.now() - startedAt) * 1000);
    if (!result.ok) this.#pods.delete(uid);
    return {
      admit: result.ok,
      reason: result.ok ? '' : result.reason,
      message: result.ok ? '' : result.message,
      devices: this.#devices(pod),
      us,
    };
  }

  /** Containers that were running when the manager started are not decided about again until all pod sources have been heard; a changed request is refused even then. (kubelet: device manager, isContainerAlreadyRunning) */
  #withoutRunning(pod: Pod): Pod {
    if (this.#ready) return pod;
    const { ledger } = this.#running.manager;
    const uid = uidOf(pod);
    const settled = new Set<string>();
    for (const { container, resources } of containerRequests(pod)) {
      const running = this.#running.running.some(
        (known) => known.uid === uid && known.container === container && known.running,
      );
      const unchanged = [...resources].every(([resource, count]) => {
        const allocation = ledger.allocation(uid, container, resource);
        return allocation === undefined || deviceIdsOf(allocation).size === count;
      });
      if (running && unchanged) settled.add(container);
    }
    if (settled.size === 0) return pod;
    const rest = <T extends { readonly name: string }>(containers: readonly T[]): T[] =>
      containers.filter(({ name }) => !settled.has(name));
    return {
      ...pod,
      spec: {
        ...pod.spec,
        initContainers: rest(pod.spec.initContainers ?? []),
        containers: rest(pod.spec.containers),
      },
    };
  }

  #asksForDevices(pod: Pod): boolean {
    const { ledger } = this.#running.manager;
    return [...podRequest(pod).keys()].some((resource) => ledger.isKnown(resource));
  }

  /** Takes back what pods hold that are not active. (kubelet: UpdateAllocatedDevices) */
  async #collect(): Promise<void> {
    if (!this.#ready) return;
    const { admission, manager } = this.#running;
    for (const uid of manager.ledger.podUids()) if (!this.#pods.has(uid)) await admission.release(uid);
  }

  #devices(pod: Pod): HeldDevices {
    const held: Record<string, Record<string, string[]>> = {};
    for (const allocation of this.#running.manager.ledger.podAllocations(uidOf(pod))) {
      const ofContainer = (held[allocation.container] ??= {});
      ofContainer[allocation.resource] = idsOf(allocation);
    }
    return held;
  }

  async #capacity(): Promise<CapacityAnswer> {
    const capacity: Record<string, number> = {};
    const allocatable: Record<string, number> = {};
    for (const view of this.#running.inventory.resources()) {
      capacity[view.name] = view.capacity;
      allocatable[view.name] = view.allocatable;
    }
    const removed = [...this.#shown].filter((resource) => !(resource in capacity)).sort();
    if (removed.length > 0) await this.#running.store.snapshot();
    this.#shown.clear();
    for (const resource of Object.keys(capacity)) this.#shown.add(resource);
    return { capacity, allocatable, removed };
  }

  #allocatable(): AllocatableAnswer {
    const answer: Record<string, Record<string, { health: string; numa: readonly number[] }>> = {};
    for (const [resource, devices] of this.#running.manager.ledger.allocatableDevices()) {
      // Only remembered, its plugin has not been back: for the kubelet there are no devices then, not even none.
      if (!this.#lists.has(resource)) continue;
      answer[resource] = Object.fromEntries(
        devices.map(({ id, health, numaNodes }) => [id, { health, numa: numaNodes }]),
      );
    }
    return answer;
  }

  async #options(command: Command): Promise<OptionsAnswer | null> {
    const pod = this.#pods.get(command.uid ?? '');
    if (pod === undefined) throw new Error('no such pod');
    const container = command.container ?? '';
    if (!containerRequests(pod).some((request) => request.container === container))
      throw new Error('no such container');
    const options = await this.#running.admission.prepareStart(pod, container, new AbortController().signal);
    return toOptionsAnswer(options);
  }

  #status(command: Command): StatusAnswer[] {
    const pod = this.#pods.get(command.uid ?? '');
    if (pod === undefined) throw new Error('no such pod');
    return pod.spec.containers.map(({ name }) => {
      const byResource = new Map<string, { resourceID: string; health: string }[]>();
      for (const { resource, deviceId, health } of this.#running.admission.allocatedHealth(uidOf(pod), name)) {
        const entry = { resourceID: deviceId, health };
        const entries = byResource.get(resource);
        if (entries === undefined) byResource.set(resource, [entry]);
        else entries.push(entry);
      }
      if (byResource.size === 0) return { name, ...UNKNOWN_STATUS };
      return {
        name,
        ...UNKNOWN_STATUS,
        allocatedResourcesStatus: [...byResource].map(([resource, resources]) => ({ name: resource, resources })),
      };
    });
  }

  #sanitize(command: Command): Record<string, number> {
    const { ledger } = this.#running.manager;
    const uid = command.pod?.uid ?? '';
    const allocatable = new Map(Object.entries(command.allocatable ?? {}));
    return Object.fromEntries(
      sanitizeNodeAllocatable(allocatable, ledger.allocatedCounts(), ledger.podAllocations(uid).length > 0),
    );
  }

  async #bench(command: Command): Promise<unknown> {
    const keep = command.op === 'bench-fill';
    const durations: number[] = [];
    const n = command.n ?? 0;
    for (let index = 0; index < n; index += 1) {
      const uid = `${keep ? 'fill' : 'bench'}-${String(index)}`;
      const limits = { [command.resource ?? '']: String(command.count ?? 0) };
      const pod = toPod({ uid, containers: [{ name: 'c', limits }] });
      this.#pods.set(uid, pod);
      const startedAt = performance.now();
      await this.#collect();
      const signal = new AbortController().signal;
      const result = await this.#running.admission.admit(pod, { signal, onWaiting: noop });
      durations.push((performance.now() - startedAt) * 1000);
      if (!result.ok) throw new Error(result.message);
      if (!keep) this.#pods.delete(uid);
    }
    const at = (sorted: readonly number[], share: number): number =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
    const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
    const tenth = Math.floor(n / 10);
    if (keep) {
      return {
        n,
        firstTenthP50us: at(sorted(durations.slice(0, tenth)), 0.5),
        lastTenthP50us: at(sorted(durations.slice(n - tenth)), 0.5),
      };
    }
    const all = sorted(durations);
    return { n, p50us: at(all, 0.5), p99us: at(all, 0.99), maxus: at(all, 1) };
  }
}

function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? '';
}

function idsOf(allocation: Allocation): string[] {
  return [...deviceIdsOf(allocation)].sort();
}

function needed<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`${name} is missing`);
  return value;
}
