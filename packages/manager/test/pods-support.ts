/** What the tests of pods and runtimes share: real directories and processes, and small real implementations of ports. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  containerRequests,
  DevmgrError,
  type Container,
  type ContainerStatus,
  type ObjectReference,
  type Pod,
} from '@devmgr/core';
import { PodManager } from '../src/pods/pod-manager.ts';
import type {
  AdmissionResult,
  Clock,
  ContainerOptions,
  DeviceAdmission,
  EventSink,
  Logger,
  LogOptions,
  StateRecord,
  StateWriter,
  WaitingForDevices,
} from '../src/ports.ts';
import { ProcessRuntime } from '../src/runtimes/process-runtime.ts';
import { SystemClock } from '../src/system-clock.ts';
import { createVersionCounter } from '../src/version-counter.ts';

export const NO_DEVICES: ContainerOptions = {
  envs: new Map(),
  mounts: [],
  devices: [],
  annotations: new Map(),
  cdiDevices: [],
  allocated: new Map(),
};

/** Keeps what was logged at `warn` and above. */
export class TestLog implements Logger {
  readonly lines: { level: string; message: string; fields: object }[] = [];
  debug(): void {
    // Not kept.
  }
  info(): void {
    // Not kept.
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', message, fields });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', message, fields });
  }
  child(): Logger {
    return this;
  }
}

/** Time that moves only when a test says so. */
export class ManualClock implements Clock {
  #now = Date.parse('2026-01-01T00:00:00Z');
  #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  setTimeout(callback: () => void, delayMs: number): () => void {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Runs what falls due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = end;
  }

  /** Delays of what is waiting now, shortest first. */
  pending(): number[] {
    return [...this.#timers].map((timer) => timer.at - this.#now).sort((a, b) => a - b);
  }
}

const DEADLINE_MS = 20_000;

/** Polls until `probe` gives something other than undefined or false. */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited too long for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function temporaryDirectory(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'dm-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Command lines of living processes that carry `mark` in command line or environment. */
export function processesMentioning(mark: string): string[] {
  return execFileSync('ps', ['axeww', '-o', 'pid=,stat=,args='], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
    .split('\n')
    .filter((line) => line.includes(mark) && !/^\s*\d+\s+Z/.test(line) && !line.includes('ps axeww'));
}

let uids = 0;

export function testPod(container: Partial<Container> & { name?: string }, spec: Partial<Pod['spec']> = {}): Pod {
  uids += 1;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `pod-${String(uids)}`,
      namespace: 'default',
      uid: `uid-${String(process.pid)}-${String(uids)}-${String(Date.now())}`,
    },
    spec: { nodeName: 'here', ...spec, containers: [{ name: 'main', ...container }] },
  };
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts).toString('utf8');
}

/** Devices by count: enough of a device manager for pods. */
export class TestAdmission implements DeviceAdmission {
  /** Resource to device ids that exist. */
  readonly devices = new Map<string, string[]>();
  /** Resources whose plugin is not there: admission waits for them. */
  readonly late = new Set<string>();
  /** Container names given to prepareStart, in order. */
  readonly prepared: string[] = [];
  readonly released: string[] = [];
  /** Processes that were there when the devices they use were given back. */
  readonly stillRunning: string[] = [];
  /** Takes part in prepareStart; what it throws is why the container cannot start. */
  onPrepare: (container: string) => void = () => undefined;
  #held = new Map<string, Map<string, Map<string, string[]>>>();
  #wakeLate = new Set<() => void>();
  readonly #health = new Map<string, 'Healthy' | 'Unhealthy' | 'Unknown'>();
  readonly #listeners = new Set<(podUid: string) => void>();

  async admit(
    pod: Pod,
    options: { signal: AbortSignal; onWaiting: (waiting: WaitingForDevices) => void },
  ): Promise<AdmissionResult> {
    const { signal } = options;
    const requests = containerRequests(pod);
    const wanted = requests.flatMap(({ resources }) => [...resources.keys()]);
    while (wanted.some((resource) => this.late.has(resource))) {
      const message = `waiting for the plugin of ${wanted.join(', ')}`;
      options.onWaiting({ reason: 'WaitingForDevicePlugin', resources: wanted, message, until: 0 });
      await new Promise<void>((resolve) => {
        this.#wakeLate.add(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      signal.throwIfAborted();
    }
    await Promise.resolve();
    signal.throwIfAborted();
    const uid = pod.metadata.uid ?? '';
    if (this.#held.has(uid)) return { ok: true };
    const taken = new Map<string, Map<string, string[]>>();
    this.#held.set(uid, taken);
    for (const { container, resources } of requests) {
      for (const [resource, count] of resources) {
        const free = this.free(resource);
        if (free.length < count) {
          this.#held.delete(uid);
          const why = `requested number of devices unavailable for ${resource}. Requested: ${String(count)}, Available: ${String(free.length)}`;
          return {
            ok: false,
            reason: 'UnexpectedAdmissionError',
            message: `Allocate failed due to ${why}, which is unexpected`,
          };
        }
        const own = taken.get(container) ?? new Map<string, string[]>();
        taken.set(container, own.set(resource, free.slice(0, count)));
      }
    }
    return { ok: true };
  }

  prepareStart(pod: Pod, container: string, signal: AbortSignal): Promise<ContainerOptions> {
    this.prepared.push(container);
    return Promise.resolve().then(() => {
      signal.throwIfAborted();
      this.onPrepare(container);
      const allocated = this.#held.get(pod.metadata.uid ?? '')?.get(container) ?? new Map<string, string[]>();
      const ids = [...allocated.values()].flat();
      return {
        ...NO_DEVICES,
        envs: new Map(ids.length === 0 ? [] : [['DEVICES', ids.join(',')]]),
        devices: ids.map((id) => ({ containerPath: `/dev/${id}`, hostPath: `/dev/${id}`, permissions: 'rw' })),
        allocated,
      };
    });
  }

  release(podUid: string): Promise<void> {
    this.released.push(podUid);
    this.stillRunning.push(...processesMentioning(podUid));
    this.#held.delete(podUid);
    return Promise.resolve();
  }

  allocatedHealth(podUid: string, container: string) {
    return [...(this.#held.get(podUid)?.get(container) ?? [])].flatMap(([resource, ids]) =>
      ids.map((deviceId) => ({ resource, deviceId, health: this.#health.get(deviceId) ?? ('Healthy' as const) })),
    );
  }

  onHealthChange(listener: (podUid: string) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  free(resource: string): string[] {
    const taken = new Set(
      [...this.#held.values()].flatMap((pod) => [...pod.values()].flatMap((c) => c.get(resource) ?? [])),
    );
    return (this.devices.get(resource) ?? []).filter((id) => !taken.has(id));
  }

  holders(): string[] {
    return [...this.#held].filter(([, containers]) => containers.size > 0).map(([uid]) => uid);
  }

  arrive(resource: string): void {
    this.late.delete(resource);
    for (const wake of this.#wakeLate) wake();
  }

  setHealth(deviceId: string, health: 'Healthy' | 'Unhealthy'): void {
    this.#health.set(deviceId, health);
    for (const uid of this.#held.keys()) for (const listener of this.#listeners) listener(uid);
  }
}

/** Remembers what a journal would hold. Survives "restarts" of a manager within a test. */
export class TestStateStore implements StateWriter {
  readonly records: StateRecord[] = [];
  /** Makes `append` fail as a full disk does. */
  full = false;

  append(record: StateRecord): Promise<void> {
    if (this.full) return Promise.reject(new DevmgrError('STATE_WRITE_FAILED', 'no space left on device'));
    // Like a disk: what is changed later does not change what was written.
    const copy = structuredClone(record);
    return new Promise((resolve) =>
      setImmediate(() => {
        this.records.push(copy);
        resolve();
      }),
    );
  }

  touch(): void {
    // Nothing only a snapshot holds.
  }

  /** What a manager would read after a crash at this moment. */
  pods(): Pod[] {
    const pods = new Map<string, Pod>();
    for (const record of this.records) {
      if (record.type === 'pod') pods.set(record.pod.metadata.uid ?? '', record.pod);
      if (record.type === 'pod-deleted') pods.delete(record.podUid);
    }
    return [...pods.values()];
  }
}

export class TestEvents implements EventSink {
  readonly list: { name: string; type: string; reason: string; message: string }[] = [];

  record(object: ObjectReference, type: string, reason: string, message: string): void {
    this.list.push({ name: object.name, type, reason, message });
  }

  reasons(name?: string): string[] {
    return this.list.filter((event) => name === undefined || event.name === name).map(({ reason }) => reason);
  }
}

/** A manager of pods over real processes in a directory of its own; `restart` makes the next one over the same state. */
export class PodStation {
  readonly directory: string;
  readonly admission = new TestAdmission();
  readonly store = new TestStateStore();
  readonly events = new TestEvents();
  readonly log = new TestLog();
  readonly clock: Clock;
  pods: PodManager;
  #versions = createVersionCounter();

  constructor(directory: string, clock: Clock = new SystemClock()) {
    this.directory = directory;
    this.clock = clock;
    this.pods = this.#manager();
  }

  /** `rebooted` as a journal would tell; runtimes look at the boot id themselves. */
  async restart(options: { keepRunning: boolean; rebooted?: boolean }): Promise<void> {
    await this.pods.stop(options);
    this.pods = this.#manager();
    await this.pods.restore(this.store.pods(), { rebooted: options.rebooted ?? false });
  }

  create(name: string, spec: unknown, metadata: object = {}): Promise<Pod> {
    return this.pods.create('default', { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...metadata }, spec });
  }

  async close(): Promise<void> {
    await Promise.all(
      this.pods
        .list()
        .map(({ metadata }) =>
          this.pods
            .remove(metadata.namespace ?? 'default', metadata.name, { gracePeriodSeconds: 0 })
            .catch(() => undefined),
        ),
    );
    await this.pods.stop({ keepRunning: false });
  }

  status(name: string): NonNullable<Pod['status']> {
    const status = this.pods.get('default', name)?.status;
    if (status === undefined) throw new Error(`there is no pod ${name}`);
    return status;
  }

  container(name: string, container = 'main'): ContainerStatus {
    const { initContainerStatuses = [], containerStatuses = [] } = this.status(name);
    const found = [...initContainerStatuses, ...containerStatuses].find((status) => status.name === container);
    if (found === undefined) throw new Error(`there is no container ${container} in pod ${name}`);
    return found;
  }

  async phase(name: string, phase: string): Promise<NonNullable<Pod['status']>> {
    await until(
      `pod ${name} to be ${phase} (is ${JSON.stringify(this.pods.get('default', name)?.status)})`,
      () => this.status(name).phase === phase,
    );
    return this.status(name);
  }

  async gone(name: string): Promise<void> {
    await until(`pod ${name} to be gone`, () => this.pods.get('default', name) === undefined);
  }

  logs(name: string, options: Partial<LogOptions> = {}): Promise<string> {
    const signal = new AbortController().signal;
    return collect(this.pods.logs('default', name, { follow: false, previous: false, signal, ...options }));
  }

  #manager(): PodManager {
    // Processes take real time, whatever the pods' clock says.
    const { clock: ownClock } = this;
    const clockOfRuntime = new (class extends SystemClock {
      override now(): number {
        return ownClock.now();
      }
    })();
    const runtime = new ProcessRuntime({
      stateDir: join(this.directory, 'pods'),
      clock: clockOfRuntime,
      log: this.log,
    });
    const { admission, store, events, log, clock } = this;
    return new PodManager({
      admission,
      runtime,
      store,
      events,
      versions: this.#versions,
      clock,
      log,
      nodeName: 'here',
    });
  }
}
