import { pause } from '../pause.ts';
import type { PluginDevice } from '../plugin-device.ts';
import type { DeviceLife } from './device-life.ts';
import type { DeviceLocks } from './device-locks.ts';
import { HookError, runHook } from './hook-call.ts';
import type { LifecycleLimits, PluginLifecycle } from './lifecycle-spec.ts';

interface ResetOptions {
  readonly hooks: PluginLifecycle;
  readonly limits: LifecycleLimits;
  readonly locks: DeviceLocks;
  readonly signal: AbortSignal;
  readonly devices: ReadonlyMap<string, DeviceLife>;
  /** In a container's hands, or its release is not through with it. */
  readonly isInUse: (id: string) => boolean;
  /** Brings what `isInUse` says up to date; never rejects. */
  readonly refreshUse: () => Promise<void>;
  /** These have just been reset. */
  readonly onReset: (ids: readonly string[]) => void;
}

/**
 * Resets devices, whole groups at once.
 *
 * Invariants: a group is reset only while none of its devices is in use, but for those the reset is for; from the moment
 * that was found until the reset has ended they all are Resetting, so that none is handed out.
 */
export class DeviceResets {
  readonly #options: ResetOptions;
  #nextName = 1;
  readonly #underWay = new Map<string, Promise<void>>();
  /** Quarantined groups that get another chance once in a while. */
  readonly #waiting = new Set<string>();

  constructor(options: ResetOptions) {
    this.#options = options;
  }

  /**
   * Resets the devices that `wanted` names, once it is known what is in use, and the rest of their groups. Rejects with
   * the first failure, of reason `GroupInUse` when a group cannot be had; other groups are reset all the same.
   */
  async reset(wanted: () => readonly string[], attempt: number): Promise<void> {
    const { hooks, refreshUse } = this.#options;
    if (hooks.resetGroup !== undefined) await refreshUse();
    const ids = wanted();
    const results = await Promise.allSettled(this.#groupsOf(ids).map((group) => this.#join(group, ids, attempt)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /** The groups that have one of the devices, each with all its members. */
  #groupsOf(ids: readonly string[]): string[][] {
    const { hooks, devices } = this.#options;
    const groupOf = (id: string): string | undefined => hooks.resetGroup?.(this.#deviceOf(id));
    const alone: string[][] = [];
    const groups = new Map<string, Set<string>>();
    for (const id of ids) {
      const group = groupOf(id);
      if (group === undefined) alone.push([id]);
      else groups.set(group, (groups.get(group) ?? new Set()).add(id));
    }
    if (groups.size === 0) return alone;
    const listed = [...devices.keys()];
    const groupOfListed = new Map(listed.map((id) => [id, groupOf(id)]));
    return [
      ...alone,
      ...[...groups].map(([group, asked]) => [
        ...listed.filter((id) => groupOfListed.get(id) === group),
        ...[...asked].filter((id) => !groupOfListed.has(id)), // gone by now
      ]),
    ];
  }

  /** A reset under way began when the whole group was free: whoever wants another meanwhile wants this one. */
  #join(members: readonly string[], wanted: readonly string[], attempt: number): Promise<void> {
    const name = members.join('\0');
    const underWay = this.#underWay.get(name);
    if (underWay !== undefined) return underWay;
    const reset = this.#resetGroup(members, wanted, attempt).finally(() => this.#underWay.delete(name));
    this.#underWay.set(name, reset);
    return reset;
  }

  async #resetGroup(members: readonly string[], wanted: readonly string[], attempt: number): Promise<void> {
    const { hooks, limits, locks, signal, devices, isInUse, onReset } = this.#options;
    const taken = members.find((id) => !wanted.includes(id) && isInUse(id));
    if (taken !== undefined) {
      throw new HookError(
        'GroupInUse',
        `${members.filter((id) => wanted.includes(id)).join(', ')} can only be reset together with ${taken}, which is in use`,
      );
    }
    const name = `reset ${String(this.#nextName++)}`;
    const lives = members.map((id) => devices.get(id)).filter((life) => life !== undefined);
    for (const life of lives) life.handle(name, 'Resetting');
    try {
      const free = await locks.take(members, limits.resetTimeoutMs, signal);
      const onProgress = (percent: number | undefined, message: string): void => {
        for (const life of lives) life.progress(percent, message);
      };
      const run = { hook: 'Reset', timeoutMs: limits.resetTimeoutMs, attempt, signal, onProgress } as const;
      const running = runHook(run, (call) =>
        hooks.reset?.(
          members.map((id) => this.#deviceOf(id)),
          call,
        ),
      );
      void running.settled.then(free);
      await running.outcome;
      for (const life of lives) life.trouble('reset', undefined);
      onReset(members);
    } catch (error) {
      const failure = error instanceof HookError ? error : new HookError('ResetFailed', String(error));
      for (const life of lives) {
        life.trouble('reset', { failure, failures: (life.troubleWith('reset')?.failures ?? 0) + 1 });
      }
      if (hooks.resetWhen === 'before') this.#tryLater(members);
      throw failure;
    } finally {
      for (const life of lives) life.handled(name);
    }
  }

  /** A reset before use is asked for by containers only, and quarantined devices get none: they are reset by themselves. */
  #tryLater(members: readonly string[]): void {
    const { limits, signal, devices, isInUse } = this.#options;
    const isQuarantined = (): boolean => members.some((id) => devices.get(id)?.status.phase === 'Quarantined');
    const name = members.join('\0');
    if (this.#waiting.has(name) || !isQuarantined()) return;
    this.#waiting.add(name);
    void pause(limits.quarantineRetryMs, signal).then(async () => {
      this.#waiting.delete(name);
      if (signal.aborted || !isQuarantined()) return;
      if (members.some(isInUse)) this.#tryLater(members);
      else await this.reset(() => members, 1).catch(() => undefined); // Its failure shows in the devices and comes back here.
    });
  }

  #deviceOf(id: string): PluginDevice {
    return this.#options.devices.get(id)?.device ?? { id };
  }
}
