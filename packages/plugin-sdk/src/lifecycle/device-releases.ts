import { randomBytes } from 'node:crypto';
import { messageOf } from '../plugin-log.ts';
import type { PluginLog } from '../plugin-log.ts';
import type { DeviceLife } from './device-life.ts';
import type { DeviceLocks } from './device-locks.ts';
import type { DeviceResets } from './device-resets.ts';
import { HookError, runHook } from './hook-call.ts';
import { HookTask } from './hook-task.ts';
import type { LifeState, PendingRelease, PodRef } from './life-state.ts';
import type { LifecycleLimits, PluginLifecycle } from './lifecycle-spec.ts';

interface ReleaseOptions {
  readonly resource: string;
  readonly hooks: PluginLifecycle;
  readonly limits: LifecycleLimits;
  readonly state: LifeState;
  readonly locks: DeviceLocks;
  readonly resets: DeviceResets;
  readonly signal: AbortSignal;
  readonly devices: ReadonlyMap<string, DeviceLife>;
  readonly log: PluginLog;
}

/**
 * Devices that were given back and are not fit for the next container yet.
 *
 * Invariants: a release is on disk before its hook is called for the first time and until it is on disk that it
 * succeeded; its devices are Releasing for as long; a release that succeeded is not run again under the same id.
 */
export class DeviceReleases {
  readonly #options: ReleaseOptions;
  readonly #tasks = new Map<string, HookTask>();

  constructor(options: ReleaseOptions) {
    this.#options = options;
  }

  /** Takes up what an earlier process did not finish. */
  resume(): void {
    for (const release of this.#options.state.releases.values()) this.#start(release.id);
  }

  /** True while a release of the device is not through: its hook has not succeeded yet. */
  isHeld(id: string): boolean {
    return [...this.#options.state.releases.values()].some(
      ({ deviceIds, toReset }) => toReset === undefined && deviceIds.includes(id),
    );
  }

  /** A device that was away and is listed again may be in the middle of a release. */
  markListed(life: DeviceLife): void {
    for (const { id, deviceIds } of this.#options.state.releases.values()) {
      if (deviceIds.includes(life.device.id)) life.handle(id, 'Releasing');
    }
  }

  /**
   * A manager says that devices were given back. Resolves when the release has succeeded; rejects when the attempt
   * that is under way, or the next, failed. It is tried again in either case.
   */
  async released(id: string, deviceIds: readonly string[], pod: PodRef | undefined): Promise<void> {
    const { state } = this.#options;
    if (state.released.includes(id)) return state.save(); // It may have succeeded without that being on disk.
    await this.begin(deviceIds, pod, id);
    await this.#tasks.get(id)?.now();
  }

  /** Begins a release; resolves when it is on disk. Beginning one again changes nothing. */
  async begin(deviceIds: readonly string[], pod: PodRef | undefined, id = newId()): Promise<void> {
    const { state, log, resource } = this.#options;
    if (!state.releases.has(id)) {
      state.releases.set(id, { id, deviceIds, pod });
      for (const device of deviceIds) state.grants.delete(device);
      log.info({ resource, release: id, devices: deviceIds, pod }, 'devices were given back');
      this.#mark(id);
    }
    this.#start(id); // Should the disk refuse, it is tried again there.
    await saved(state);
  }

  /** Devices were reset, for whomever: releases that waited for that need not do it again. */
  wereReset(ids: readonly string[]): void {
    const { releases } = this.#options.state;
    for (const release of [...releases.values()]) {
      const { id, toReset } = release;
      if (toReset?.some((device) => ids.includes(device)) !== true) continue;
      releases.set(id, { ...release, toReset: toReset.filter((device) => !ids.includes(device)) });
      this.#tasks.get(id)?.retry();
    }
  }

  /** Tries all that failed for the device again at once. */
  retry(deviceId: string): void {
    for (const { id, deviceIds } of this.#options.state.releases.values()) {
      if (deviceIds.includes(deviceId)) this.#tasks.get(id)?.retry();
    }
  }

  #start(id: string): void {
    if (this.#tasks.has(id) || !this.#options.state.releases.has(id)) return;
    this.#mark(id);
    const { limits, signal, log, resource } = this.#options;
    const task = new HookTask({
      limits,
      signal,
      attempt: (attempt) => this.#attempt(id, attempt),
      onFailure: (failure, failures) => {
        // Waiting for the rest of a group is not a fault of the device.
        const trouble = { failure, failures: failure.reason === 'GroupInUse' ? 1 : failures };
        for (const life of this.#lives(id)) life.trouble(id, trouble);
        log.warn({ resource, release: id, reason: failure.reason, cause: failure.message }, 'a release failed');
      },
    });
    this.#tasks.set(id, task);
    void task.ended.then(() => this.#tasks.delete(id));
  }

  #mark(id: string): void {
    for (const life of this.#lives(id)) life.handle(id, 'Releasing');
  }

  async #attempt(id: string, attempt: number): Promise<void> {
    const { state, hooks, resets } = this.#options;
    const release = state.releases.get(id);
    if (release === undefined) return;
    await saved(state); // It is on disk already, unless the disk refused.
    if (release.toReset === undefined) {
      await this.#callReleased(release, attempt);
      const resetsAfter = hooks.reset !== undefined && hooks.resetWhen !== 'before';
      state.releases.set(id, { ...release, toReset: resetsAfter ? release.deviceIds : [] });
    }
    const toReset = state.releases.get(id)?.toReset ?? [];
    if (toReset.length > 0) {
      // Now that this release does not hold its devices any more, the group may be free.
      await saved(state);
      await resets.reset(() => state.releases.get(id)?.toReset ?? [], attempt);
    }
    const lives = this.#lives(id);
    await this.#finish(id);
    for (const life of lives) {
      life.trouble(id, undefined);
      life.handled(id);
    }
    this.#options.log.info({ resource: this.#options.resource, release: id, devices: release.deviceIds }, 'released');
  }

  /** Forgets the release once that is durable; a disk that refuses makes the attempt a failed one. */
  async #finish(id: string): Promise<void> {
    const { state } = this.#options;
    const release = state.releases.get(id);
    state.releases.delete(id);
    state.rememberReleased(id);
    try {
      await saved(state);
    } catch (error) {
      if (release !== undefined) state.releases.set(id, release);
      state.released = state.released.filter((other) => other !== id);
      throw error;
    }
  }

  async #callReleased(release: PendingRelease, attempt: number): Promise<void> {
    const { hooks, limits, locks, signal } = this.#options;
    const { id, deviceIds, pod } = release;
    if (hooks.released === undefined) return;
    const free = await locks.take(deviceIds, limits.releasedTimeoutMs, signal);
    const onProgress = (percent: number | undefined, message: string): void => {
      for (const life of this.#lives(id)) life.progress(percent, message);
    };
    const run = { hook: 'Release', timeoutMs: limits.releasedTimeoutMs, attempt, signal, onProgress } as const;
    const devices = deviceIds.map((device) => this.#options.devices.get(device)?.device ?? { id: device });
    const running = runHook(run, (call) => hooks.released?.(devices, { ...call, releaseId: id, pod }));
    void running.settled.then(free);
    await running.outcome;
  }

  #lives(id: string): DeviceLife[] {
    const ids = this.#options.state.releases.get(id)?.deviceIds ?? [];
    return ids.map((device) => this.#options.devices.get(device)).filter((life) => life !== undefined);
  }
}

async function saved(state: LifeState): Promise<void> {
  await state.save().catch((error: unknown) => {
    throw new HookError('StateNotSaved', messageOf(error), { cause: error });
  });
}

function newId(): string {
  return `${new Date().toISOString()}-${randomBytes(4).toString('hex')}`;
}
