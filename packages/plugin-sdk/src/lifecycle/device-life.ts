import { HEALTHY } from '@devmgr/core';
import type { Device } from '@devmgr/core';
import { HealthFilter, healthReport } from './health-filter.ts';
import { HookTask } from './hook-task.ts';
import { HookError, runHook } from './hook-call.ts';
import { pause } from '../pause.ts';
import type { PluginLog } from '../plugin-log.ts';
import { earliest } from './device-locks.ts';
import type { DeviceLocks } from './device-locks.ts';
import type { LifeState } from './life-state.ts';
import type {
  DevicePhase,
  DeviceStatus,
  HealthReport,
  HealthVerdict,
  LifecycleLimits,
  PluginLifecycle,
} from './lifecycle-spec.ts';

export interface DeviceLifeOptions {
  readonly hooks: PluginLifecycle;
  readonly limits: LifecycleLimits;
  readonly state: LifeState;
  readonly locks: DeviceLocks;
  /** The plugin's life. */
  readonly signal: AbortSignal;
  readonly resource: string;
  readonly log: PluginLog;
  /** Its phase, or what there is to say about it, may be another. */
  readonly onChange: (id: string) => void;
}

/** Something that goes wrong again and again. */
interface Trouble {
  readonly failure: HookError;
  readonly failures: number;
}

const TROUBLED: ReadonlySet<DevicePhase> = new Set(['Degraded', 'Failing', 'Quarantined']);

/** What is being done to a device by others than its own `init` and `health`. */
export type Handling = 'Resetting' | 'Releasing';

/**
 * One device from its discovery on: initialised, watched, and out of reach while others reset or release it.
 *
 * Invariants: the phase follows from what is known (being handled, in trouble, initialised, healthy) and is kept nowhere
 * else; no hook runs for a device that is away, except its release; nothing that goes wrong here reaches another device.
 */
export class DeviceLife {
  readonly #options: DeviceLifeOptions;
  #device: Device;
  /** Aborts when the device goes away. */
  #visit = new AbortController();
  #initialized = false;
  #init: HookTask | undefined;
  #filter: HealthFilter;
  readonly #troubles = new Map<string, Trouble>();
  readonly #handling = new Map<string, Handling>();
  #progress: { percent: number | undefined; message: string } | undefined;
  #phase: DevicePhase = 'Initializing';
  #since = new Date();
  #checkNow: (() => void) | undefined;

  /** `inUse`: it was handed out before this process began, which is no time to initialise it. */
  constructor(device: Device, options: DeviceLifeOptions, inUse: boolean) {
    this.#device = device;
    this.#options = options;
    this.#filter = new HealthFilter(options.limits);
    if (this.isPresent) this.#arrive(inUse);
    this.#phase = this.#phaseNow();
  }

  /** As its source lists it. */
  get device(): Device {
    return this.#device;
  }

  get isPresent(): boolean {
    return this.#device.health === HEALTHY;
  }

  /** May be given to a container. */
  get isUsable(): boolean {
    return this.#phase === 'Ready' || this.#phase === 'Degraded';
  }

  /** Out of reach for now, but soon to be usable unless something goes wrong. */
  get isOnItsWay(): boolean {
    return this.#phase === 'Initializing' || this.#phase === 'Resetting' || this.#phase === 'Releasing';
  }

  get status(): DeviceStatus {
    const { reason = '', message = '' } = this.#why();
    const progress = this.#progress?.percent;
    return { id: this.#device.id, phase: this.#phase, reason, message, since: this.#since, progress };
  }

  /** The source lists it, perhaps with other words than before. */
  list(device: Device): void {
    const was = this.isPresent;
    const is = device.health === HEALTHY;
    this.#device = device;
    if (was && !is) this.#leave();
    if (!was && is) this.#arrive(false);
    this.changed();
  }

  /** The source does not list it any more. */
  unlist(): void {
    if (this.isPresent) this.#leave();
  }

  /** Marks the device as handled until `handled` with the same name. */
  handle(name: string, handling: Handling): void {
    this.#handling.set(name, handling);
    this.changed();
  }

  handled(name: string): void {
    this.#handling.delete(name);
    this.changed();
  }

  isHandled(handling: Handling): boolean {
    return [...this.#handling.values()].includes(handling);
  }

  /** Notes how often in a row something failed, or (undefined) that it is over. Many failures quarantine the device. */
  trouble(what: string, trouble: Trouble | undefined): void {
    if (trouble === undefined) this.#troubles.delete(what);
    else this.#troubles.set(what, trouble);
    this.changed();
  }

  troubleWith(what: string): Trouble | undefined {
    return this.#troubles.get(what);
  }

  progress(percent: number | undefined, message: string): void {
    this.#progress = { percent, message };
    this.changed();
  }

  /** A verdict of the author's own, which needs no confirmation. */
  report(verdict: HealthVerdict): void {
    if (!this.isPresent) return;
    this.#filter.observe(healthReport(verdict), performance.now(), true);
    this.changed();
  }

  /** Tries again at once what failed, and forgets that it flapped. */
  recover(): void {
    this.#filter.recover();
    this.#troubles.clear();
    this.#init?.retry();
    this.#checkNow?.();
    this.changed();
  }

  /** Works out the phase afresh and tells of it if it, or what is said about it, changed. */
  changed(): void {
    const phase = this.#phaseNow();
    const before = this.#phase;
    this.#phase = phase;
    if (phase !== before) {
      this.#since = new Date();
      this.#progress = undefined;
      this.#tell(before);
    }
    this.#options.onChange(this.#device.id);
  }

  /** In the log, what is wrong and that it is over stands out from the daily round. */
  #tell(before: DevicePhase): void {
    const { log, resource } = this.#options;
    const { id: device, phase, reason, message } = this.status;
    const fields = { resource, device, phase, reason, cause: message };
    if (TROUBLED.has(phase)) log.warn(fields, 'the device is not well');
    else if (TROUBLED.has(before)) log.info(fields, 'the device has recovered');
    else log.debug(fields, 'the device has another phase');
  }

  #phaseNow(): DevicePhase {
    const { quarantineAfter } = this.#options.limits;
    if ([...this.#troubles.values()].some(({ failures }) => failures >= quarantineAfter)) return 'Quarantined';
    if (this.isHandled('Resetting')) return 'Resetting';
    if (this.isHandled('Releasing')) return 'Releasing';
    if (!this.isPresent) return 'Failing';
    if (!this.#initialized) return 'Initializing';
    const health = this.#filter.current;
    if (health === undefined) return this.#options.hooks.health === undefined ? 'Ready' : 'Initializing';
    return health.state === 'failing' ? 'Failing' : health.state === 'degraded' ? 'Degraded' : 'Ready';
  }

  #why(): { reason?: string | undefined; message?: string | undefined } {
    const [trouble] = [...this.#troubles.values()].sort((one, other) => other.failures - one.failures);
    if (trouble !== undefined) {
      const { failure, failures } = trouble;
      const times = failures === 1 ? '' : ` (${String(failures)} times in a row)`;
      return { reason: failure.reason, message: failure.message + times };
    }
    if (this.isOnItsWay) return { message: this.#progress?.message };
    if (!this.isPresent) return { reason: 'ListedUnhealthy', message: `its source lists it as ${this.#device.health}` };
    const health: HealthReport | undefined = this.#filter.current;
    return { reason: health?.reason, message: health?.message };
  }

  #arrive(inUse: boolean): void {
    this.#visit = new AbortController();
    this.#filter = new HealthFilter(this.#options.limits);
    const signal = AbortSignal.any([this.#visit.signal, this.#options.signal]);
    if (inUse || this.#isInitialized()) {
      this.#initialized = true;
      void this.#watch(signal);
      return;
    }
    this.#init = new HookTask({
      limits: this.#options.limits,
      signal,
      attempt: (attempt) => this.#initialize(attempt, signal),
      onFailure: (failure, failures) => {
        const { log, resource } = this.#options;
        const fields = { resource, device: this.#device.id, reason: failure.reason, cause: failure.message };
        log.warn(fields, 'the device could not be initialised');
        this.trouble('init', { failure, failures });
      },
    });
    void this.#init.ended.then(() => {
      if (!signal.aborted) void this.#watch(signal);
    });
  }

  #leave(): void {
    this.#visit.abort();
    this.#initialized = false;
    this.#init = undefined;
    this.#troubles.delete('init');
    this.#progress = undefined;
    // Not waited for: at worst a later process skips an init that `initKey` said was still good.
    const { state } = this.#options;
    if (state.initialized.delete(this.#device.id)) state.save().catch(() => undefined);
  }

  /** Nothing to do, or done before by a plugin process whose word still holds. */
  #isInitialized(): boolean {
    const { hooks, state } = this.#options;
    if (hooks.init === undefined) return true;
    const remembered = state.initialized.get(this.#device.id);
    return remembered !== undefined && remembered === hooks.initKey?.(this.#device);
  }

  async #initialize(attempt: number, signal: AbortSignal): Promise<void> {
    const { hooks, limits, locks, state } = this.#options;
    const device = this.#device;
    const free = await locks.take([device.id], limits.initTimeoutMs, signal);
    const onProgress = (percent: number | undefined, message: string): void => {
      this.progress(percent, message);
    };
    const run = { hook: 'Init', timeoutMs: limits.initTimeoutMs, attempt, signal, onProgress } as const;
    const running = runHook(run, (call) => hooks.init?.(device, call));
    void running.settled.then(free);
    await running.outcome;
    const key = hooks.initKey?.(device);
    if (key !== undefined) {
      state.initialized.set(device.id, key);
      await state.save();
    }
    this.#initialized = true;
    this.trouble('init', undefined);
  }

  /** Asks for the device's health for as long as it is there; never twice at once. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { hooks, limits } = this.#options;
    if (hooks.health === undefined) return;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      // What is being reset or released is neither well nor ill.
      if (this.#handling.size === 0) await this.#check(attempt, signal);
      const asked = new Promise<void>((resolve) => {
        this.#checkNow = resolve;
      });
      await earliest(asked, limits.healthEveryMs, signal);
    }
  }

  async #check(attempt: number, signal: AbortSignal): Promise<void> {
    const { hooks, limits } = this.#options;
    const device = this.#device;
    const run = { hook: 'Health', timeoutMs: limits.healthTimeoutMs, attempt, signal } as const;
    const running = runHook<HealthVerdict>(run, (call) => hooks.health?.(device, call));
    const answered = running.outcome.then(healthReport, (error: unknown): HealthReport => {
      const { reason, message } = error as HookError;
      return { state: 'failing', reason, message };
    });
    for (;;) {
      const report = await answered;
      if (signal.aborted) return;
      // A verdict from before the device was taken in hand says nothing about it now.
      if (this.#handling.size === 0) {
        this.#filter.observe(report, performance.now());
        this.changed();
      }
      // One that did not answer in time and still runs counts as bad for each further period.
      const ended = running.settled.then(() => true);
      const period = pause(limits.healthEveryMs, signal).then(() => false);
      if ((await Promise.race([ended, period])) || isAborted(signal)) return;
    }
  }
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
