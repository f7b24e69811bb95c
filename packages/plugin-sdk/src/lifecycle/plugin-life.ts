import { join, resolve } from 'node:path';
import { DevmgrError, HEALTHY } from '@devmgr/core';
import type { Device } from '@devmgr/core';
import { RpcCode, RpcError, bindService, lifecycle } from '@devmgr/wire';
import type { ServiceBinding } from '@devmgr/wire';
import { messageOf } from '../plugin-log.ts';
import { pause } from '../pause.ts';
import type { PluginLog } from '../plugin-log.ts';
import { DeviceLife } from './device-life.ts';
import { DeviceLocks } from './device-locks.ts';
import { DeviceReleases } from './device-releases.ts';
import { DeviceResets } from './device-resets.ts';
import { Driver } from './driver.ts';
import { HolderWatch } from './holder-watch.ts';
import type { ManagerKind } from './holder-watch.ts';
import { HookError } from './hook-call.ts';
import { checkHooks } from './hook-check.ts';
import { LifeState } from './life-state.ts';
import { DEFAULT_LIMITS } from './lifecycle-spec.ts';
import type { DeviceStatus, DriverStatus, HealthVerdict, LifecycleLimits, PluginLifecycle } from './lifecycle-spec.ts';

interface PluginLifeOptions {
  readonly resource: string;
  readonly hooks: PluginLifecycle;
  /** Where the manager's sockets are seen from. */
  readonly pluginDir: string;
  readonly managerSocket: string;
  readonly log: PluginLog;
  readonly manager: () => ManagerKind;
  /** The list of devices as managers are to see it. */
  readonly publish: (devices: readonly Device[]) => void;
  /** There is something new to show. */
  readonly onChange: () => void;
}

/**
 * The life of a plugin's devices: puts the hooks between the source of the devices and what managers are told.
 *
 * Invariant: a device is listed as Healthy only while its source says so and its phase is Ready or Degraded; Allocate is
 * answered only for such devices, and only once it is on disk that they are handed out.
 */
export class PluginLife {
  readonly #options: PluginLifeOptions;
  readonly #limits: LifecycleLimits;
  readonly #state: LifeState;
  readonly #driver: Driver;
  readonly #locks = new DeviceLocks();
  readonly #devices = new Map<string, DeviceLife>();
  readonly #resets: DeviceResets;
  readonly #releases: DeviceReleases;
  readonly #holders: HolderWatch;
  readonly #end = new AbortController();
  readonly #waiting = new Set<() => void>();
  #hasListed = false;
  #isPublishing = false;
  #problem: string | undefined;

  constructor(options: PluginLifeOptions) {
    const { resource, hooks, log } = options;
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...hooks.limits };
    checkHooks(resource, hooks);
    this.#state = new LifeState(hooks.stateDir, resource);
    const limits = this.#limits;
    const state = this.#state;
    const common = { resource, hooks, limits, state, log, signal: this.#end.signal };
    this.#driver = new Driver({ ...common, onChange: options.onChange });
    this.#resets = new DeviceResets({
      ...common,
      locks: this.#locks,
      devices: this.#devices,
      isInUse: (id) => state.grants.has(id) || this.#releases.isHeld(id),
      refreshUse: async () => {
        await this.#holders.refresh();
      },
      onReset: (ids) => {
        this.#releases.wereReset(ids);
      },
    });
    this.#releases = new DeviceReleases({
      ...common,
      locks: this.#locks,
      resets: this.#resets,
      devices: this.#devices,
    });
    this.#holders = new HolderWatch({
      ...common,
      podResourcesSocket:
        hooks.podResourcesSocket ?? join(resolve(options.pluginDir, '..'), 'pod-resources', 'kubelet.sock'),
      managerSocket: options.managerSocket,
      manager: options.manager,
      onGone: (ids, pod) => this.#releases.begin(ids, pod),
    });
  }

  /** Whether managers are asked to tell when devices are given back. */
  get releaseRequired(): boolean {
    return this.#options.hooks.released !== undefined || this.#options.hooks.reset !== undefined;
  }

  get resetsBeforeUse(): boolean {
    return this.#options.hooks.reset !== undefined && this.#options.hooks.resetWhen === 'before';
  }

  get driver(): DriverStatus | undefined {
    return this.#driver.isWanted ? this.#driver.status : undefined;
  }

  /** In the order of the source's list. */
  get devices(): DeviceStatus[] {
    return [...this.#devices.values()].map((life) => life.status);
  }

  /** Why the plugin does not get on, in one line. */
  get problem(): string | undefined {
    const { phase, reason, message } = this.#driver.status;
    return this.#problem ?? (phase !== 'Ready' && message !== '' ? `${reason}: ${message}` : undefined);
  }

  /** Resolves when devices may be discovered: the state of before is known, the driver is there. Never rejects. */
  async prepare(): Promise<void> {
    await this.#loadState();
    await this.#driver.prepare();
    if (this.#end.signal.aborted || !this.releaseRequired) return;
    // What was given back while nobody looked is to be found before anything is listed.
    await this.#holders.refresh();
    this.#releases.resume();
    void this.#holders.run();
  }

  /** Without knowing who holds what nothing is safe: tried until it works. */
  async #loadState(): Promise<void> {
    const { log, resource, onChange } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        await this.#state.load(log);
        this.#problem = undefined;
        return;
      } catch (error) {
        const problem = `the state of the devices cannot be read: ${messageOf(error)}`;
        if (problem !== this.#problem) log.error({ resource, path: this.#state.path, problem }, 'not ready');
        this.#problem = problem;
        onChange();
        await pause(this.#limits.retryMaxMs, signal);
      }
    }
  }

  /** Takes the source's list, the whole truth. */
  found(devices: readonly Device[]): void {
    const { hooks, resource, log } = this.#options;
    const listed = new Set(devices.map(({ id }) => id));
    for (const [id, life] of this.#devices) {
      if (listed.has(id)) continue;
      life.unlist();
      this.#devices.delete(id);
    }
    const before = new Map(this.#devices);
    this.#devices.clear(); // The order is the new list's.
    for (const device of devices) {
      const known = before.get(device.id);
      if (known !== undefined) {
        this.#devices.set(device.id, known);
        known.list(device);
        continue;
      }
      const inUse = !this.#hasListed && this.#state.isOfThisBoot && this.#state.grants.has(device.id);
      const life = new DeviceLife(
        device,
        {
          hooks,
          resource,
          log,
          limits: this.#limits,
          state: this.#state,
          locks: this.#locks,
          signal: this.#end.signal,
          onChange: () => {
            this.#changed();
          },
        },
        inUse,
      );
      this.#devices.set(device.id, life);
      this.#releases.markListed(life);
    }
    this.#hasListed = true;
    this.#publish();
  }

  /** Waits until the devices may be handed out and notes that they are. Rejects with what the user of the pod reads. */
  async beforeAllocate(ids: readonly string[], signal: AbortSignal): Promise<void> {
    if (this.releaseRequired) await this.#releaseStale(ids);
    await this.#untilUsable(ids, AbortSignal.any([signal, this.#end.signal]));
    if (!this.releaseRequired) return;
    // Nothing may come between the check above and this.
    for (const id of ids) {
      this.#state.grants.set(id, { atMs: Date.now() });
      this.#holders.granted(id);
    }
    await this.#state.save();
  }

  /** Allocate was refused after all: nobody got the devices. */
  notAllocated(ids: readonly string[]): void {
    for (const id of ids) this.#state.grants.delete(id);
    if (this.releaseRequired) this.#state.save().catch(() => undefined); // At worst they are released once too often.
  }

  /** Resets what a container is about to use. */
  async beforeStart(ids: readonly string[]): Promise<void> {
    if (this.resetsBeforeUse) await this.#resets.reset(() => ids, 1);
  }

  /** What a manager that knows of releases calls. */
  service(): ServiceBinding {
    return bindService(lifecycle.DeviceLifecycleService, {
      released: async ({ releaseId, deviceIds, podNamespace, podName, podUid }, { signal }) => {
        if (releaseId === '') throw new RpcError(RpcCode.InvalidArgument, 'release_id is empty');
        const pod = podName === '' ? undefined : { namespace: podNamespace, name: podName, uid: podUid };
        try {
          await orAborted(this.#releases.released(releaseId, deviceIds, pod), signal);
        } catch (error) {
          if (error instanceof HookError)
            throw new RpcError(RpcCode.FailedPrecondition, `${error.reason}: ${error.message}`);
          throw error;
        }
        return {};
      },
    });
  }

  report(id: string, verdict: HealthVerdict): void {
    this.#mustHave(id).report(verdict);
  }

  /** Without an id: the driver. */
  recover(id?: string): void {
    if (id === undefined) {
      this.#driver.recover();
      return;
    }
    this.#mustHave(id).recover();
    this.#releases.retry(id);
  }

  /** Every hook is told to end. */
  close(): void {
    this.#end.abort();
    for (const wake of [...this.#waiting]) wake();
  }

  #mustHave(id: string): DeviceLife {
    const life = this.#devices.get(id);
    if (life !== undefined) return life;
    throw new DevmgrError('PLUGIN_INVALID', `${this.#options.resource}: there is no device ${JSON.stringify(id)}`);
  }

  /**
   * A kubelet hands out again what it got back, at once and without a word: the release is due now. A device that a
   * pod holds at this very moment goes from one container of the pod to another.
   */
  async #releaseStale(ids: readonly string[]): Promise<void> {
    const { grants } = this.#state;
    if (!ids.some((id) => grants.has(id)) || this.#options.manager() === 'devmgr') return;
    const held = await this.#holders.refresh();
    const stale = ids.filter((id) => grants.has(id) && held?.has(id) !== true);
    if (stale.length > 0) await this.#releases.begin(stale, grants.get(stale[0] ?? '')?.pod);
  }

  async #untilUsable(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const deadlineMs = performance.now() + this.#limits.allocateWaitMs;
    for (;;) {
      const blocked = ids.map((id) => this.#devices.get(id)).find((life) => life?.isUsable === false);
      if (blocked === undefined) return;
      const leftMs = deadlineMs - performance.now();
      if (!blocked.isOnItsWay || leftMs <= 0 || signal.aborted) {
        const { id, phase, reason, message } = blocked.status;
        throw new Error([`device ${id} is ${phase}`, reason, message].filter((part) => part !== '').join(': '));
      }
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#waiting.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, leftMs);
        this.#waiting.add(done);
        signal.addEventListener('abort', done);
      });
    }
  }

  #changed(): void {
    for (const wake of [...this.#waiting]) wake();
    // Many devices change at the same time: one list for all.
    if (this.#isPublishing) return;
    this.#isPublishing = true;
    setImmediate(() => {
      this.#publish();
    });
  }

  #publish(): void {
    this.#isPublishing = false;
    if (this.#end.signal.aborted) return;
    this.#options.publish(
      [...this.#devices.values()].map(({ device, isUsable }) =>
        isUsable || device.health !== HEALTHY ? device : { ...device, health: 'Unhealthy' },
      ),
    );
    this.#options.onChange();
  }
}

async function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(new RpcError(RpcCode.Canceled, 'given up; the release goes on'));
    });
    promise.then(resolve, reject);
  });
}
