import { type Allocation, deviceIdsOf } from './allocation.ts';
import { AllocationBook } from './allocation-book.ts';
import { AllocationPlan, type PlanLedger } from './allocation-plan.ts';
import type { NumaShare, ResourceCapacity } from './capacity.ts';
import type { DeviceEntry, DeviceState } from './device-entry.ts';
import { DevicePool } from './device-pool.ts';
import type { Device } from './device.ts';
import { emptyDiff, type ListDiff } from './list-diff.ts';
import { compareKeyed, naturalCompare } from './natural-order.ts';
import type { ContainerKind, PlanRequest } from './plan-request.ts';
import type { Release } from './release.ts';

/**
 * Who has which device: what plugins list, what containers hold, what admissions in flight have reserved.
 *
 * Invariants:
 * - A device is with at most one pod; within a pod with several containers only where all but the last are ordinary
 *   init containers, or all are (reuse).
 * - Reservations belong to an open {@link AllocationPlan} and end with it; nothing rebuilds or drops them.
 * - Allocations end by {@link retirePod} (or {@link releasePod}) alone; lists, disconnects and removals leave them.
 * - A device that is being released is in nobody's hands, until {@link endRelease}.
 * - State changes only inside synchronous methods, so between two calls everything holds.
 */
export class Ledger {
  readonly #pools = new Map<string, DevicePool>();
  readonly #book = new AllocationBook();
  /** Ordinary init containers that were settled, by pod in admission: what only they hold may be taken over. */
  readonly #settledInits = new Map<string, Set<string>>();
  readonly #releases = new Map<string, Release>();
  readonly #planLedger: PlanLedger;
  #version = 0;
  #listVersion = 0;

  constructor() {
    this.#planLedger = {
      pool: (resource) => this.#pools.get(resource),
      recorded: ({ podUid, container, resource }) => this.#book.get(podUid, container, resource),
      reusable: (request) => this.#reusable(request),
      reserve: (resource, entries, owner) => {
        this.#reserve(resource, entries, owner);
      },
      unreserve: (resource, entries, owner) => {
        this.#unreserve(resource, entries, owner);
      },
      record: (allocation, owner) => {
        this.#record(allocation, owner);
      },
    };
  }

  /** Grows with each change of anything. */
  get version(): number {
    return this.#version;
  }

  /** Grows with each change of what is listed: devices, their health and nodes, resources. Allocations do not move it. */
  get listVersion(): number {
    return this.#listVersion;
  }

  // ---- Resources and devices ---------------------------------------------------------------------------------

  /** Makes it a device plugin resource, with no devices (0 of 0) unless it has some. */
  knowResource(resource: string): void {
    const pool = this.#pool(resource);
    if (pool.registered) return;
    pool.registered = true;
    this.#listChanged();
  }

  /** Its plugin stayed away: no devices, no capacity. What containers hold and admissions have reserved stays theirs. */
  forgetResource(resource: string): void {
    const pool = this.#pools.get(resource);
    if (pool?.registered !== true) return;
    pool.registered = false;
    pool.unlistAll();
    this.#dropIfUnused(resource);
    this.#listChanged();
  }

  /** Whether a container's limit of this name is devmgr's business: it is registered, or something of it is allocated or being released. */
  isKnown(resource: string): boolean {
    const pool = this.#pools.get(resource);
    if (pool !== undefined && (pool.registered || pool.releasingCount > 0)) return true;
    return this.#book.resources.has(resource);
  }

  /** Whether it is registered and was not removed since. */
  hasPool(resource: string): boolean {
    return this.#pools.get(resource)?.registered === true;
  }

  /** Every known resource, sorted by name. */
  resourceNames(): readonly string[] {
    const names = new Set(this.#book.resources.keys());
    for (const pool of this.#pools.values()) {
      if (pool.registered || pool.releasingCount > 0) names.add(pool.resource);
    }
    return [...names].sort();
  }

  /** Takes one ListAndWatch message: the whole truth about the resource's devices; makes the resource known. */
  replaceDevices(resource: string, devices: readonly Device[]): ListDiff {
    const pool = this.#pool(resource);
    const diff = pool.replace(devices);
    diff.changed ||= !pool.registered;
    pool.registered = true;
    if (diff.changed) this.#listChanged();
    return diff;
  }

  /** The plugin is away: its devices stay listed (capacity), with health `Unknown`, and none is allocatable. */
  markAllUnhealthy(resource: string): ListDiff {
    const diff = this.#pools.get(resource)?.markAllUnhealthy() ?? emptyDiff();
    if (diff.changed) this.#listChanged();
    return diff;
  }

  /** Counts of a registered resource. */
  capacity(resource: string): ResourceCapacity | undefined {
    const pool = this.#pools.get(resource);
    return pool?.registered === true ? pool.capacity() : undefined;
  }

  /** Devices listed and free by the NUMA nodes they are on, for topology hints. */
  numaShares(resource: string): readonly NumaShare[] {
    return this.#pools.get(resource)?.numaShares() ?? [];
  }

  /** Devices in natural order, those included that vanished and are still held or reserved. Not valid across changes. */
  *devices(resource: string): Iterable<DeviceState> {
    for (const entry of this.#pools.get(resource)?.entries() ?? []) yield entry.state();
  }

  device(resource: string, id: string): DeviceState | undefined {
    return this.#pools.get(resource)?.get(id)?.state();
  }

  /** Ids of healthy devices, in use or not, in natural order. */
  healthyIds(resource: string): readonly string[] {
    const ids: string[] = [];
    for (const entry of this.#pools.get(resource)?.entries() ?? []) if (entry.healthy) ids.push(entry.id);
    return ids;
  }

  /** Healthy devices by resource, in use or not; all, or those of the given resources and ids as far as they exist. */
  allocatableDevices(wanted?: ReadonlyMap<string, ReadonlySet<string>>): ReadonlyMap<string, readonly DeviceState[]> {
    const found = new Map<string, readonly DeviceState[]>();
    for (const resource of wanted?.keys() ?? this.resourceNames()) {
      const pool = this.#pools.get(resource);
      if (pool?.registered !== true) continue;
      const ids = wanted?.get(resource);
      const states: DeviceState[] = [];
      for (const entry of pool.entries()) if (entry.healthy && ids?.has(entry.id) !== false) states.push(entry.state());
      found.set(resource, states);
    }
    return found;
  }

  // ---- Allocations ---------------------------------------------------------------------------------------------

  /** Opens a plan; it must end in a final step, `commit` or `release`, or its devices stay reserved. */
  plan(request: PlanRequest): AllocationPlan {
    return new AllocationPlan(request, this.#planLedger);
  }

  allocation(podUid: string, container: string, resource: string): Allocation | undefined {
    return this.#book.get(podUid, container, resource);
  }

  containerAllocations(podUid: string, container: string): readonly Allocation[] {
    return this.#book.ofContainer(podUid, container);
  }

  podAllocations(podUid: string): readonly Allocation[] {
    return this.#book.ofPod(podUid);
  }

  allocations(): readonly Allocation[] {
    return this.#book.all();
  }

  /** Pods something is recorded for. */
  podUids(): readonly string[] {
    return this.#book.podUids();
  }

  /** Devices held, by resource; a resource whose records name no device counts 0. (kubelet: allocatedDevices) */
  allocatedCounts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const resource of this.#book.resources.keys()) {
      counts.set(resource, this.#pools.get(resource)?.capacity().allocated ?? 0);
    }
    return counts;
  }

  /** What the next container of the pod takes before anything else: devices that only settled init containers of it hold. */
  reusableDevices(podUid: string, resource: string): readonly DeviceState[] {
    return this.#reusable({ podUid, resource }).map((entry) => entry.state());
  }

  /**
   * All of a container's resources are committed (or recorded since before): what an ordinary init container holds may
   * from now on be taken over by later containers of the pod; what a sidecar or app container took is its own.
   */
  settleContainer(podUid: string, container: string, kind: ContainerKind): void {
    if (kind !== 'init') return;
    const settled = this.#settledInits.get(podUid);
    if (settled === undefined) this.#settledInits.set(podUid, new Set([container]));
    else settled.add(container);
  }

  /** Admission of the pod is over, well or badly: nothing can be taken over any more. */
  dropReuse(podUid: string): void {
    this.#settledInits.delete(podUid);
  }

  /** {@link retirePod} where nothing is to be released. */
  releasePod(podUid: string): readonly Allocation[] {
    return this.retirePod(podUid, () => undefined).freed;
  }

  /**
   * Takes everything recorded for the pod back; what that was, and what of it is not free yet. Reservations of its open
   * plans stay until those end.
   *
   * @param toRelease Asked about each allocation; undefined: its devices are free. What it answers is asked for the release
   *   of the ids given to it: a device that several containers of the pod had is released once, with the last of them.
   */
  retirePod(
    podUid: string,
    toRelease: (allocation: Allocation) => ((deviceIds: readonly string[]) => Release) | undefined,
  ): { readonly freed: readonly Allocation[]; readonly releases: readonly Release[] } {
    this.#settledInits.delete(podUid);
    const freed = this.#book.removePod(podUid);
    for (const allocation of freed) {
      const pool = this.#pools.get(allocation.resource);
      for (const id of deviceIdsOf(allocation)) pool?.unhold(id, podUid);
    }
    const releases: Release[] = [];
    // From the last on: a device taken over from an init container is with the one that took it.
    for (const allocation of freed.toReversed()) {
      const releaseOf = toRelease(allocation);
      if (releaseOf === undefined) continue;
      const pool = this.#pools.get(allocation.resource);
      const ids = [...deviceIdsOf(allocation)].filter((id) => pool?.isInHands(id) === false).sort(naturalCompare);
      if (ids.length === 0) continue;
      const release = releaseOf(ids);
      this.#begin(release);
      releases.push(release);
    }
    for (const { resource } of freed) this.#dropIfUnused(resource);
    if (freed.length > 0) this.#version += 1;
    return { freed, releases };
  }

  // ---- Releases ------------------------------------------------------------------------------------------------

  release(id: string): Release | undefined {
    return this.#releases.get(id);
  }

  /** In the order in which they began. */
  releases(): readonly Release[] {
    return [...this.#releases.values()];
  }

  /** Devices of a resource that wait for their release, and those of them that are free once it succeeded. */
  releasing(resource: string): { readonly devices: number; readonly returning: number } {
    const pool = this.#pools.get(resource);
    return { devices: pool?.releasingCount ?? 0, returning: pool?.returningCount ?? 0 };
  }

  /** Takes what is known of a release now; of one that is over, nothing. */
  updateRelease(release: Release): void {
    if (!this.#releases.has(release.id)) return;
    this.#begin(release);
    this.#version += 1;
  }

  /** The release succeeded, or is given up: its devices are free. Undefined when it was over already. */
  endRelease(id: string): Release | undefined {
    const release = this.#releases.get(id);
    if (release === undefined) return undefined;
    this.#releases.delete(id);
    const pool = this.#pools.get(release.resource);
    for (const deviceId of release.deviceIds) pool?.setRelease(deviceId, undefined);
    this.#dropIfUnused(release.resource);
    this.#version += 1;
    return release;
  }

  /**
   * Takes over releases from before a restart; call it after {@link restore}. A device that somebody holds, or that
   * another release names, is left out; those of which nothing is left are returned.
   */
  restoreReleases(releases: readonly Release[]): readonly Release[] {
    const obsolete: Release[] = [];
    for (const release of releases) {
      const pool = this.#pools.get(release.resource);
      const deviceIds = release.deviceIds.filter((id) => pool?.isInHands(id) !== true);
      if (deviceIds.length === 0) obsolete.push(release);
      else this.#begin({ ...release, deviceIds });
    }
    this.#version += 1;
    return obsolete;
  }

  #begin(release: Release): void {
    this.#releases.set(release.id, release);
    const pool = this.#pool(release.resource);
    for (const id of release.deviceIds) pool.setRelease(id, release);
  }

  // ---- Recovery ------------------------------------------------------------------------------------------------

  /** Takes over what was recorded before a restart; call it before any list. Of two records for the same container and resource the first counts. */
  restore(allocations: readonly Allocation[]): void {
    for (const allocation of allocations) {
      const { podUid, container, resource, deviceIds } = allocation;
      if (this.#book.get(podUid, container, resource) !== undefined) continue;
      this.#book.add(allocation);
      const pool = this.#pool(resource);
      const nodesOf = new Map<string, number[]>();
      for (const id of deviceIdsOf(allocation)) nodesOf.set(id, []);
      for (const [node, ids] of deviceIds) if (node >= 0) for (const id of ids) nodesOf.get(id)?.push(node);
      for (const [id, numaNodes] of nodesOf) pool.hold(id, { podUid, container }, numaNodes);
    }
    this.#version += 1;
  }

  // ---- For plans -------------------------------------------------------------------------------------------------

  /** What only settled init containers of the pod hold, and is healthy and not reserved. */
  #reusable({ podUid, resource }: Pick<PlanRequest, 'podUid' | 'resource'>): readonly DeviceEntry[] {
    const settled = this.#settledInits.get(podUid);
    const pool = this.#pools.get(resource);
    if (settled === undefined || pool === undefined) return [];
    const reusable = new Set<DeviceEntry>();
    for (const container of settled) {
      const allocation = this.#book.get(podUid, container, resource);
      for (const id of allocation === undefined ? [] : deviceIdsOf(allocation)) {
        const entry = pool.get(id);
        if (entry?.healthy !== true || entry.reservedBy !== undefined) continue;
        if (entry.holders.every((holder) => holder.podUid === podUid && settled.has(holder.container))) {
          reusable.add(entry);
        }
      }
    }
    return [...reusable].sort(compareKeyed);
  }

  #reserve(resource: string, entries: readonly DeviceEntry[], owner: object): void {
    const pool = this.#pool(resource);
    for (const entry of entries) pool.reserve(entry, owner);
    if (entries.length > 0) this.#version += 1;
  }

  #unreserve(resource: string, entries: readonly DeviceEntry[], owner: object): void {
    const pool = this.#pools.get(resource);
    for (const entry of entries) pool?.unreserve(entry, owner);
    this.#dropIfUnused(resource);
    if (entries.length > 0) this.#version += 1;
  }

  #record(allocation: Allocation, owner: object): void {
    const { podUid, container, resource } = allocation;
    const pool = this.#pool(resource);
    this.#book.add(allocation);
    for (const id of deviceIdsOf(allocation)) {
      pool.hold(id, { podUid, container });
      const entry = pool.get(id);
      if (entry !== undefined) pool.unreserve(entry, owner);
    }
    this.#version += 1;
  }

  #listChanged(): void {
    this.#version += 1;
    this.#listVersion += 1;
  }

  #pool(resource: string): DevicePool {
    let pool = this.#pools.get(resource);
    if (pool === undefined) {
      pool = new DevicePool(resource);
      this.#pools.set(resource, pool);
    }
    return pool;
  }

  /** A pool lives as long as its resource is registered, or something of it is held or reserved. */
  #dropIfUnused(resource: string): void {
    const pool = this.#pools.get(resource);
    if (pool !== undefined && !pool.registered && pool.idle) this.#pools.delete(resource);
  }
}
