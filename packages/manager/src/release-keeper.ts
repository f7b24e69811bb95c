import { randomBytes } from 'node:crypto';
import { DevmgrError, releasedPod, type Allocation, type Ledger, type Release } from '@devmgr/core';
import { ReleaseTurns } from './release-turns.ts';
import type { Clock, EventReason, HookRunner, Logger, PluginSession, ReleaseView, StateWriter } from './ports.ts';
import { isAborted, WakeUp } from './wake-up.ts';

/** How the devices of one resource are released. Durations in milliseconds. */
export interface ReleaseRules {
  /** Command that releases them, before the plugin does. */
  readonly onRelease?: readonly string[];
  readonly hookTimeoutMs: number;
  /** Deadline of the plugin's Released. */
  readonly releaseTimeoutMs: number;
  /** Pause after the first failure; doubles with each further one. */
  readonly releaseBackOffMs: number;
  readonly releaseBackOffMaxMs: number;
  /** Failures in a row that make devices `Quarantined`. */
  readonly quarantineAfter: number;
}

export const DEFAULT_RELEASE_RULES: ReleaseRules = {
  hookTimeoutMs: 5 * 60_000,
  releaseTimeoutMs: 30_000,
  releaseBackOffMs: 1_000,
  releaseBackOffMaxMs: 60_000,
  quarantineAfter: 5,
};
/** In quarantine the longest pause is so many times as long. */
const QUARANTINE_FACTOR = 5;
/** Pause after a record could not be written. */
const WRITE_RETRY_MS = 5_000;
/** The plugin's return wakes a release; this is for nothing but peace of mind. */
const LOOK_AGAIN_MS = 60_000;

export interface ReleaseMetrics {
  /** One run of a hook ended. */
  releaseAttempt(resource: string, hook: 'command' | 'plugin', seconds: number, ok: boolean): void;
}

/** What configuration and daemon add to the keeper; without it there are no command hooks. */
export interface ReleaseSettings {
  readonly rules: ReadonlyMap<string, ReleaseRules>;
  readonly hooks: HookRunner;
  readonly metrics: ReleaseMetrics;
  /** `namespace/name` of a pod. */
  readonly podName: (podUid: string) => string | undefined;
}

export interface ReleaseKeeperParts {
  readonly ledger: Ledger;
  readonly state: StateWriter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly settings: ReleaseSettings | undefined;
  /** The plugin that is to be told; `away` when there is none that has listed, `unwilling` when it does not ask to be told. */
  readonly plugin: (resource: string) => PluginSession | 'away' | 'unwilling';
  /** Whether the resource's plugin asks to be told, remembered while it is away. */
  readonly releaseRequired: (resource: string) => boolean;
  readonly event: (type: 'Normal' | 'Warning', reason: EventReason, message: string) => void;
  /** Something about a release has changed. */
  readonly changed: () => void;
  /** A release is over, and its devices are free. */
  readonly freed: (release: Release) => void;
}

interface Pursuit {
  readonly quit: AbortController;
  readonly wakeUp: WakeUp;
  readonly done: Promise<void>;
  /** Milliseconds since the epoch. */
  nextTryAt: number | undefined;
  waitingForPlugin: boolean;
  /** It failed since this manager pursues it. */
  failed: boolean;
}

/**
 * Sees to it that devices which were given back are released before anybody gets them: by the command of the
 * configuration, then by the plugin.
 *
 * Invariants
 * - Every release in the ledger is pursued, from {@link begin} to {@link stop}, until its hooks have succeeded.
 * - A hook is run only after the release, with the number of this attempt, is on disk: no number is used twice.
 * - Devices become free only after the end of their release is on disk.
 */
export class ReleaseKeeper {
  readonly #parts: ReleaseKeeperParts;
  readonly #pursuits = new Map<string, Pursuit>();
  readonly #turns = new ReleaseTurns();
  /** Releases from before a restart of whose devices none is left to release. */
  readonly #obsolete: Release[] = [];
  #running = false;

  constructor(parts: ReleaseKeeperParts) {
    this.#parts = parts;
  }

  /** Makes the release of some devices of an allocation; undefined when nobody asks for one and they are free at once. */
  releaseOf(allocation: Allocation): ((deviceIds: readonly string[]) => Release) | undefined {
    const { resource, podUid, container } = allocation;
    const plugin = this.#parts.releaseRequired(resource);
    if (!plugin && this.#rules(resource).onRelease === undefined) return undefined;
    const name = this.#parts.settings?.podName(podUid) ?? '';
    const slash = name.indexOf('/');
    return (deviceIds) => ({
      id: `release-${randomBytes(5).toString('hex')}`,
      resource,
      deviceIds,
      podUid,
      podNamespace: name.slice(0, Math.max(0, slash)),
      podName: name.slice(slash + 1),
      container,
      since: this.#parts.clock.now(),
      plugin,
      commandDone: false,
      attempts: 0,
      failures: 0,
      lastError: '',
      quarantined: false,
    });
  }

  /** Takes over releases from before a restart; call it after the allocations were restored. */
  restore(releases: readonly Release[]): void {
    this.#obsolete.push(...this.#parts.ledger.restoreReleases(releases));
  }

  /** Takes up every release there is, and from now on each new one. */
  begin(): void {
    this.#running = true;
    for (const { id } of this.#obsolete.splice(0)) {
      this.#parts.state.append({ type: 'release-ended', id }).catch(() => undefined); // the next start finds it again
    }
    this.pursue(this.#parts.ledger.releases());
  }

  pursue(releases: readonly Release[]): void {
    if (!this.#running) return;
    for (const { id } of releases) if (!this.#pursuits.has(id)) this.#pursuits.set(id, this.#start(id));
  }

  /** Another plugin speaks for the resource: whatever waits for it, or would be tried again later, is tried now. */
  pluginChanged(resource: string): void {
    for (const [id, { wakeUp }] of this.#pursuits) {
      if (this.#parts.ledger.release(id)?.resource === resource) wakeUp.wake();
    }
  }

  /** Gives a release up: its devices are free. Rejects with NOT_FOUND, STATE_WRITE_FAILED. */
  async forget(id: string): Promise<void> {
    const { ledger, state, event } = this.#parts;
    const release = ledger.release(id);
    if (release === undefined) {
      throw new DevmgrError('NOT_FOUND', `releases "${id}" not found`, {
        remedy: 'List them with "devmgr get releases".',
      });
    }
    const pursuit = this.#pursuits.get(id);
    pursuit?.quit.abort();
    await pursuit?.done;
    try {
      if (ledger.release(id) === undefined) return; // it succeeded meanwhile
      await state.append({ type: 'release-ended', id });
    } catch (error) {
      this.pursue([release]);
      throw error;
    }
    this.#end(release);
    event('Normal', 'DeviceReleased', `${describe(release)}: its release was given up by hand`);
  }

  views(): ReleaseView[] {
    return this.#parts.ledger.releases().map((release) => {
      const pursuit = this.#pursuits.get(release.id);
      const next = pursuit?.nextTryAt;
      return {
        name: release.id,
        resource: release.resource,
        devices: release.deviceIds,
        pod: releasedPod(release),
        container: release.container,
        state: release.quarantined ? 'Quarantined' : 'Releasing',
        hook: this.#command(release) === undefined ? 'plugin' : 'command',
        attempts: release.attempts,
        failures: release.failures,
        lastError: release.lastError === '' ? null : release.lastError,
        since: new Date(release.since).toISOString(),
        nextTry: next === undefined ? null : new Date(next).toISOString(),
        waitingForPlugin: pursuit?.waitingForPlugin === true,
      };
    });
  }

  /** Ends all attempts; what is not released stays for the next manager. */
  async stop(): Promise<void> {
    this.#running = false;
    const pursuits = [...this.#pursuits.values()];
    for (const { quit } of pursuits) quit.abort();
    await Promise.all(pursuits.map(({ done }) => done));
  }

  #start(id: string): Pursuit {
    const quit = new AbortController();
    const wakeUp = new WakeUp(this.#parts.clock);
    let begin = (_pursuit: Pursuit): void => undefined;
    const done = new Promise<Pursuit>((resolve) => (begin = resolve))
      .then((pursuit) => this.#pursue(id, pursuit))
      .catch((error: unknown) => {
        this.#parts.log.error({ release: id, err: error }, 'Pursuing a release failed');
      })
      .finally(() => this.#pursuits.delete(id));
    const pursuit: Pursuit = { quit, wakeUp, done, nextTryAt: undefined, waitingForPlugin: false, failed: false };
    begin(pursuit);
    return pursuit;
  }

  async #pursue(id: string, pursuit: Pursuit): Promise<void> {
    const { signal } = pursuit.quit;
    while (!isAborted(signal)) {
      const release = this.#parts.ledger.release(id);
      if (release === undefined) return;
      const command = this.#command(release);
      const plugin = this.#parts.plugin(release.resource);
      if (command !== undefined) await this.#attempt(release, 'command', command, pursuit);
      else if (typeof plugin === 'object') await this.#attempt(release, 'plugin', plugin, pursuit);
      else if (plugin === 'away' && release.plugin) await this.#waitForPlugin(pursuit);
      else if (await this.#succeed(release, pursuit)) return;
    }
  }

  async #waitForPlugin(pursuit: Pursuit): Promise<void> {
    pursuit.waitingForPlugin = true;
    await pursuit.wakeUp.wait(LOOK_AGAIN_MS, pursuit.quit.signal);
    pursuit.waitingForPlugin = false;
  }

  async #attempt(
    before: Release,
    hook: 'command' | 'plugin',
    target: readonly string[] | PluginSession,
    pursuit: Pursuit,
  ): Promise<void> {
    const { ledger, state, clock, log, settings, changed } = this.#parts;
    const { signal } = pursuit.quit;
    const leave = await this.#turns.take(before.resource, signal);
    try {
      // While it waited for its turn the plugin may have gone.
      if (isAborted(signal) || ('options' in target && !target.live)) return;
      const release = { ...before, attempts: before.attempts + 1 };
      try {
        await state.append({ type: 'release', release });
      } catch (error) {
        log.error({ release: release.id, err: String(error) }, 'A release could not be written down');
        leave();
        await this.#pause(WRITE_RETRY_MS, pursuit);
        return;
      }
      if (isAborted(signal)) return;
      ledger.updateRelease(release);
      changed();
      const startedAt = clock.monotonicMs();
      let failure: string | undefined;
      try {
        await ('options' in target ? this.#callPlugin(target, release, signal) : this.#run(target, release, signal));
      } catch (error) {
        if (isAborted(signal)) return;
        failure = error instanceof Error ? error.message : String(error);
      }
      const seconds = (clock.monotonicMs() - startedAt) / 1000;
      settings?.metrics.releaseAttempt(release.resource, hook, seconds, failure === undefined);
      if (failure !== undefined) {
        leave();
        await this.#failed(release, failure, pursuit);
      } else if (hook === 'command') {
        const fresh = { attempts: 0, failures: 0, lastError: '', quarantined: false };
        ledger.updateRelease({ ...release, ...fresh, commandDone: true });
        changed();
      } else await this.#succeed(release, pursuit);
    } finally {
      leave();
    }
  }

  async #callPlugin(session: PluginSession, release: Release, signal: AbortSignal): Promise<void> {
    await session.released(release, { timeoutMs: this.#rules(release.resource).releaseTimeoutMs, signal });
  }

  async #run(command: readonly string[], release: Release, signal: AbortSignal): Promise<void> {
    const { resource, deviceIds, podNamespace, podName, podUid, container, attempts } = release;
    await this.#parts.settings?.hooks.run({
      hook: 'onRelease',
      command,
      resource,
      deviceIds,
      pod: { namespace: podNamespace, name: podName, uid: podUid },
      container,
      attempt: attempts,
      timeoutMs: this.#rules(resource).hookTimeoutMs,
      signal,
    });
  }

  async #failed(release: Release, failure: string, pursuit: Pursuit): Promise<void> {
    const { ledger, log, event, changed } = this.#parts;
    const { releaseBackOffMs, releaseBackOffMaxMs, quarantineAfter } = this.#rules(release.resource);
    const failures = release.failures + 1;
    pursuit.failed = true;
    const failed = { ...release, failures, lastError: failure, quarantined: failures >= quarantineAfter };
    ledger.updateRelease(failed);
    log.warn({ release: release.id, resource: release.resource, failures, err: failure }, 'A release failed');
    event('Warning', 'ReleaseFailed', `${describe(release)}: ${failure}`);
    if (failed.quarantined && !release.quarantined)
      event(
        'Warning',
        'DeviceQuarantined',
        `${describe(release)}: failed ${String(failures)} times in a row: ${failure}`,
      );
    const pauseMs = failed.quarantined
      ? releaseBackOffMaxMs * QUARANTINE_FACTOR
      : Math.min(releaseBackOffMs * 2 ** Math.min(failures - 1, 30), releaseBackOffMaxMs);
    changed();
    await this.#pause(pauseMs, pursuit);
  }

  async #pause(ms: number, pursuit: Pursuit): Promise<void> {
    pursuit.nextTryAt = this.#parts.clock.now() + ms;
    await pursuit.wakeUp.wait(ms, pursuit.quit.signal);
    pursuit.nextTryAt = undefined;
  }

  /** Writes the end down, then frees the devices; false when it could not be written, and the hooks are not run again for that. */
  async #succeed(release: Release, pursuit: Pursuit): Promise<boolean> {
    const { state, log, event } = this.#parts;
    for (;;) {
      try {
        await state.append({ type: 'release-ended', id: release.id });
        break;
      } catch (error) {
        log.error({ release: release.id, err: String(error) }, 'The end of a release could not be written down');
        await this.#pause(WRITE_RETRY_MS, pursuit);
        if (isAborted(pursuit.quit.signal)) return false;
      }
    }
    this.#end(release);
    if (pursuit.failed) event('Normal', 'DeviceReleased', `${describe(release)}: released`);
    return true;
  }

  #end(release: Release): void {
    this.#parts.ledger.endRelease(release.id);
    this.#parts.freed(release);
  }

  /** The command that is still to be run. */
  #command(release: Release): readonly string[] | undefined {
    return release.commandDone ? undefined : this.#rules(release.resource).onRelease;
  }

  #rules(resource: string): ReleaseRules {
    return this.#parts.settings?.rules.get(resource) ?? DEFAULT_RELEASE_RULES;
  }
}

/** `example.com/gpu gpu-0, gpu-1 of pod default/web`. */
function describe(release: Release): string {
  const { resource, deviceIds } = release;
  const named = deviceIds.slice(0, 5).join(', ');
  const more = deviceIds.length > 5 ? ` and ${String(deviceIds.length - 5)} more` : '';
  return `${resource} ${named}${more} of pod ${releasedPod(release)}`;
}
