import { basename } from 'node:path';
import type { Allocation, Device, Ledger, ListDiff } from '@devmgr/core';
import { PluginReports } from './plugin-reports.ts';
import { ReleaseKeeper, type ReleaseSettings } from './release-keeper.ts';
import { ResourcePlugins, type PluginsChange } from './resource-plugins.ts';
import type { Clock, EventSink, Logger, PluginHost, PluginSession, RecoveredState, StateWriter } from './ports.ts';

/** How long a resource stays on the node, with nothing allocatable, after its last plugin is gone. (kubelet: endpointStopGracePeriod) */
export const STOPPED_PLUGIN_GRACE_MS = 5 * 60_000;
/** How long devices stay as they are when the owner of the list ends while its successor has not listed yet. */
const HANDOVER_GRACE_MS = 10_000;

/** What the device manager counts; durations in seconds. */
export interface DeviceManagerMetrics {
  registration(resource: string): void;
  pluginCall(
    resource: string,
    call: 'Allocate' | 'GetPreferredAllocation' | 'PreStartContainer',
    seconds: number,
    ok: boolean,
  ): void;
}

export interface DeviceManagerParts {
  readonly ledger: Ledger;
  readonly state: StateWriter;
  readonly events: EventSink;
  readonly metrics: DeviceManagerMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  /** Resources that are known from the configuration: a pod that asks for one waits for its plugin although it was never seen. */
  readonly expectedResources?: readonly string[];
  readonly stoppedGraceMs?: number;
  /** Command hooks for devices that were given back. */
  readonly releases?: ReleaseSettings;
}

/**
 * The one owner of the state: which resources there are, who speaks for their devices, and (through the ledger) who
 * holds which device.
 *
 * Invariants
 * - State changes only inside synchronous methods; whatever awaits looks again before it relies on anything.
 * - Only the session that owns a resource's list changes it; the end of any other session changes nothing
 *   ({@link ResourcePlugins}).
 * - A resource is on the node from its first list (or the end of a session that never listed) until its plugins have
 *   been away for the grace period. Allocations outlive it.
 */
export class DeviceManager implements PluginHost {
  readonly ledger: Ledger;
  readonly metrics: DeviceManagerMetrics;
  readonly clock: Clock;
  /** What is given back and not free yet. */
  readonly releases: ReleaseKeeper;
  /** What plugins say of themselves. */
  readonly reports: PluginReports;
  readonly #state: StateWriter;
  readonly #events: EventSink;
  readonly #log: Logger;
  readonly #nodeName: string;
  readonly #stoppedGraceMs: number;
  readonly #plugins = new Map<string, ResourcePlugins>();
  readonly #timers = new Map<string, () => void>();
  readonly #expected: Set<string>;
  readonly #changeListeners = new Set<() => void>();
  readonly #healthListeners = new Set<(podUid: string) => void>();
  readonly #since = new Map<string, Map<string, number>>();
  readonly #firstListed = new Map<string, number>();
  /** Resources whose plugins ask to be told of releases; kept while they are away, and longer while something is held. */
  readonly #releaseRequired = new Set<string>();
  #changePending = false;

  constructor(parts: DeviceManagerParts) {
    this.ledger = parts.ledger;
    this.metrics = parts.metrics;
    this.clock = parts.clock;
    this.#state = parts.state;
    this.#events = parts.events;
    this.#log = parts.log;
    this.#nodeName = parts.nodeName;
    this.#stoppedGraceMs = parts.stoppedGraceMs ?? STOPPED_PLUGIN_GRACE_MS;
    this.#expected = new Set(parts.expectedResources);
    this.reports = new PluginReports({
      clock: this.clock,
      isConnected: (resource, endpoint) =>
        this.#plugins
          .get(resource)
          ?.sessions()
          .some(({ session }) => basename(session.socketPath) === endpoint) === true,
      event: (type, reason, message) => {
        this.#nodeEvent(type, reason, message);
      },
      changed: () => {
        this.changed();
      },
    });
    this.releases = new ReleaseKeeper({
      ...parts,
      settings: parts.releases,
      plugin: (resource) => {
        const plugins = this.#plugins.get(resource);
        if (plugins?.ready !== true || plugins.primary === undefined) return 'away';
        return plugins.primary.options.releaseRequired ? plugins.primary : 'unwilling';
      },
      releaseRequired: (resource) => this.#releaseRequired.has(resource),
      event: (type, reason, message) => {
        this.#nodeEvent(type, reason, message);
      },
      changed: () => {
        this.changed();
      },
      freed: ({ resource, deviceIds }) => {
        for (const id of deviceIds) this.#touchDevice(resource, id, this.clock.now());
        this.changed();
      },
    });
  }

  /** Takes over what was read at start, before any plugin connects. */
  restore(
    recovered: Pick<RecoveredState, 'allocations' | 'resources'> &
      Partial<Pick<RecoveredState, 'releases' | 'releaseRequired'>>,
  ): void {
    this.ledger.restore(recovered.allocations);
    this.releases.restore(recovered.releases ?? []);
    for (const resource of recovered.releaseRequired ?? []) this.#releaseRequired.add(resource);
    for (const { resource, endpoint, preStartRequired } of recovered.resources) {
      const plugins = this.#pluginsOf(resource);
      plugins.endpoint = endpoint;
      plugins.preStartRequired = preStartRequired;
      plugins.stoppedAt = this.clock.now();
      plugins.stopReason = 'the manager was restarted and the plugin has not registered since';
      this.ledger.knowResource(resource);
      this.#removeAfterGrace(plugins);
    }
    this.changed();
  }

  // ---- PluginHost ----------------------------------------------------------------------------------------------

  registrationRequested(resource: string): void {
    this.metrics.registration(resource);
  }

  pluginConnected(session: PluginSession): void {
    const plugins = this.#pluginsOf(session.resource);
    this.#cancelTimer(session.resource);
    plugins.connected(session);
    this.#log.info(
      { resource: session.resource, endpoint: session.socketPath, session: session.id },
      'Device plugin connected',
    );
    this.#nodeEvent(
      'Normal',
      'PluginConnected',
      `Device plugin for ${session.resource} connected at ${session.socketPath}`,
    );
    this.changed();
  }

  devicesReported(session: PluginSession, devices: readonly Device[]): void {
    const plugins = this.#plugins.get(session.resource);
    if (plugins !== undefined) this.#apply(plugins, plugins.listed(session, devices, this.clock.now()));
  }

  pluginEnded(session: PluginSession, reason: string): void {
    const plugins = this.#plugins.get(session.resource);
    if (plugins === undefined) return;
    this.#log.info(
      { resource: session.resource, endpoint: session.socketPath, session: session.id, err: reason },
      'ListAndWatch ended unexpectedly for device plugin',
    );
    this.#apply(plugins, plugins.ended(session, reason, this.clock.now()));
    this.changed();
  }

  // ---- What admission needs ------------------------------------------------------------------------------------

  /** Whether a pod that asks for the resource is to wait for its plugin: it is registered, was seen before, reports that it comes, or is expected. */
  isKnown(resource: string): boolean {
    if (this.#plugins.has(resource) || this.ledger.isKnown(resource)) return true;
    return this.#expected.has(resource) || this.reports.knows(resource);
  }

  /** Whether a plugin that has listed its devices is connected. */
  isReady(resource: string): boolean {
    return this.#plugins.get(resource)?.ready === true;
  }

  /** The session that serves calls for the resource. */
  session(resource: string): PluginSession | undefined {
    return this.#plugins.get(resource)?.primary;
  }

  /** Whether the resource's plugin wants PreStartContainer, remembered while it is away. */
  preStartRequired(resource: string): boolean {
    return this.#plugins.get(resource)?.preStartRequired === true;
  }

  /** Whether a plugin has spoken for the resource since this manager started. */
  pluginSeen(resource: string): boolean {
    return (this.#plugins.get(resource)?.origin ?? null) !== null;
  }

  /** Writes down what a pod was given; see {@link StateWriter.append}. */
  async recordAllocated(podUid: string, allocations: readonly Allocation[]): Promise<void> {
    this.touchDevices(allocations);
    await this.#state.append({ type: 'allocated', podUid, allocations });
  }

  /** Gives back everything a pod holds. Durable when resolved; what has a hook is free only once that has succeeded. */
  async release(podUid: string): Promise<void> {
    const { freed, releases } = this.ledger.retirePod(podUid, (allocation) => this.releases.releaseOf(allocation));
    if (freed.length === 0) return;
    this.touchDevices(freed);
    try {
      await this.#state.append({ type: 'released', podUid, ...(releases.length === 0 ? {} : { releases }) });
    } finally {
      // Also when that failed: each attempt writes the release down first.
      this.releases.pursue(releases);
    }
  }

  // ---- What others read ----------------------------------------------------------------------------------------

  /** Resources with their sessions, in the order they became known. */
  plugins(): IterableIterator<ResourcePlugins> {
    return this.#plugins.values();
  }

  pluginsOf(resource: string): ResourcePlugins | undefined {
    return this.#plugins.get(resource);
  }

  /** Milliseconds since the epoch at which a device last changed health or holder. */
  deviceSince(resource: string, id: string): number {
    return this.#since.get(resource)?.get(id) ?? this.#firstListed.get(resource) ?? this.clock.now();
  }

  /** Called after anything changed that views show, once per turn of the event loop. */
  onChange(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /** Called with the uid of a pod when the health of a device it holds changed. */
  onHealthChange(listener: (podUid: string) => void): () => void {
    this.#healthListeners.add(listener);
    return () => this.#healthListeners.delete(listener);
  }

  changed(): void {
    if (this.#changePending) return;
    this.#changePending = true;
    setImmediate(() => {
      this.#changePending = false;
      for (const listener of this.#changeListeners) listener();
    });
  }

  touchDevices(allocations: readonly Allocation[]): void {
    const now = this.clock.now();
    for (const allocation of allocations) {
      for (const ids of allocation.deviceIds.values())
        for (const id of ids) this.#touchDevice(allocation.resource, id, now);
    }
    if (allocations.length > 0) this.changed();
  }

  /** Ends all timers and sessions; devices become unhealthy. (kubelet: ManagerImpl.Stop) */
  stop(): void {
    for (const plugins of [...this.#plugins.values()]) for (const { session } of plugins.sessions()) session.close();
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    this.reports.stop();
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  #pluginsOf(resource: string): ResourcePlugins {
    let plugins = this.#plugins.get(resource);
    if (plugins === undefined) {
      plugins = new ResourcePlugins(resource);
      this.#plugins.set(resource, plugins);
    }
    return plugins;
  }

  #apply(plugins: ResourcePlugins, change: PluginsChange): void {
    const { resource } = plugins;
    switch (change.kind) {
      case 'none':
        return;
      case 'list': {
        this.#cancelTimer(resource);
        const wasKnown = this.ledger.hasPool(resource);
        const diff = this.ledger.replaceDevices(resource, change.devices);
        if (!wasKnown || !this.#firstListed.has(resource)) this.#firstListed.set(resource, this.clock.now());
        if (change.newOwner) this.#ownerChanged(plugins, change.owner, change.superseded);
        this.#listApplied(resource, diff, wasKnown);
        // The device list is in place before the older stream is cut, so there is no gap.
        for (const old of change.superseded) old.close();
        if (change.newOwner || diff.changed || !wasKnown) this.changed();
        return;
      }
      case 'awaiting-list':
        this.#schedule(resource, HANDOVER_GRACE_MS, () => {
          if (!plugins.ready) this.#allUnhealthy(resource);
        });
        return;
      case 'gone':
        if (!this.ledger.hasPool(resource)) this.ledger.knowResource(resource);
        this.#allUnhealthy(resource);
        this.#nodeEvent(
          'Warning',
          'PluginDisconnected',
          `Device plugin for ${resource} disconnected: ${plugins.stopReason ?? 'no reason given'}`,
        );
        this.#log.info({ resource }, 'Device plugin disconnected');
        this.#removeAfterGrace(plugins);
        return;
    }
  }

  #ownerChanged(plugins: ResourcePlugins, owner: PluginSession, superseded: readonly PluginSession[]): void {
    const others = plugins.sessions().length - 1 + superseded.length;
    if (others > 0)
      this.#nodeEvent(
        'Normal',
        'PluginSuperseded',
        `The device plugin at ${owner.socketPath} now speaks for ${plugins.resource}`,
      );
    const { preStartRequired, releaseRequired } = owner.options;
    if (releaseRequired) this.#releaseRequired.add(plugins.resource);
    else this.#releaseRequired.delete(plugins.resource);
    this.releases.pluginChanged(plugins.resource);
    this.#state
      .append({
        type: 'resource',
        resource: plugins.resource,
        // The watcher finds its plugins by itself.
        endpoint: plugins.remembered,
        preStartRequired,
        ...(releaseRequired ? { releaseRequired } : {}),
      })
      .catch(() => undefined); // the state reports it; the socket is merely not dialled at the next start
  }

  #listApplied(resource: string, diff: ListDiff, wasKnown: boolean): void {
    if (!diff.changed && wasKnown) return;
    const capacity = this.ledger.capacity(resource);
    this.#log.info(
      { resourceName: resource, totalCount: capacity?.capacity ?? 0, healthyCount: capacity?.healthy ?? 0 },
      'Processed device updates for resource',
    );
    const now = this.clock.now();
    if (wasKnown && this.#firstListed.get(resource) !== now) {
      for (const ids of [diff.added, diff.removed, diff.becameHealthy, diff.becameUnhealthy]) {
        for (const id of ids) this.#touchDevice(resource, id, now);
      }
    }
    this.#state.touch();
    this.#listEvents(resource, diff);
    this.#tellPods(diff);
  }

  #listEvents(resource: string, diff: ListDiff): void {
    const some = (ids: readonly string[]): string =>
      ids.length <= 5 ? ids.join(', ') : `${ids.slice(0, 5).join(', ')} and ${String(ids.length - 5)} more`;
    const of = (count: number): string => `${resource}: ${String(count)} ${count === 1 ? 'device' : 'devices'}`;
    if (diff.added.length > 0 || diff.removed.length > 0) {
      const parts = [
        ...(diff.added.length > 0 ? [`${String(diff.added.length)} added (${some(diff.added)})`] : []),
        ...(diff.removed.length > 0 ? [`${String(diff.removed.length)} removed (${some(diff.removed)})`] : []),
      ];
      this.#nodeEvent('Normal', 'DevicesChanged', `${resource}: ${parts.join(', ')}`);
    }
    if (diff.becameUnhealthy.length > 0)
      this.#nodeEvent(
        'Warning',
        'DeviceUnhealthy',
        `${of(diff.becameUnhealthy.length)} became unhealthy: ${some(diff.becameUnhealthy)}`,
      );
    if (diff.becameHealthy.length > 0)
      this.#nodeEvent(
        'Normal',
        'DeviceHealthy',
        `${of(diff.becameHealthy.length)} became healthy: ${some(diff.becameHealthy)}`,
      );
  }

  #allUnhealthy(resource: string): void {
    const diff = this.ledger.markAllUnhealthy(resource);
    if (!diff.changed) return;
    this.#log.info({ resource }, 'Mark all resources Unhealthy for resource');
    // The health of every one of them is unknown from now on.
    this.#since.delete(resource);
    this.#firstListed.set(resource, this.clock.now());
    this.#state.touch();
    this.#tellPods(diff);
    this.changed();
  }

  #tellPods(diff: ListDiff): void {
    for (const podUid of new Set(diff.affected.map((affected) => affected.podUid))) {
      for (const listener of this.#healthListeners) listener(podUid);
    }
  }

  #removeAfterGrace(plugins: ResourcePlugins): void {
    const { resource } = plugins;
    this.#schedule(resource, this.#stoppedGraceMs, () => {
      if (plugins.stoppedAt === undefined) return;
      this.#plugins.delete(resource);
      this.#since.delete(resource);
      this.#firstListed.delete(resource);
      this.ledger.forgetResource(resource);
      this.#nodeEvent(
        'Warning',
        'ResourceRemoved',
        `${resource} was removed from the node: its device plugin stayed away for ${String(this.#stoppedGraceMs / 1000)} s`,
      );
      this.#state.append({ type: 'resource-removed', resource }).catch(() => undefined);
      this.changed();
    });
  }

  #schedule(resource: string, delayMs: number, action: () => void): void {
    this.#cancelTimer(resource);
    this.#timers.set(
      resource,
      this.clock.setTimeout(() => {
        this.#timers.delete(resource);
        action();
      }, delayMs),
    );
  }

  #cancelTimer(resource: string): void {
    this.#timers.get(resource)?.();
    this.#timers.delete(resource);
  }

  #touchDevice(resource: string, id: string, now: number): void {
    let since = this.#since.get(resource);
    if (since === undefined) this.#since.set(resource, (since = new Map<string, number>()));
    since.set(id, now);
  }

  #nodeEvent(type: 'Normal' | 'Warning', reason: Parameters<EventSink['record']>[2], message: string): void {
    this.#events.record({ kind: 'Node', name: this.#nodeName }, type, reason, message);
  }
}
