import type { NumaShare, ResourceCapacity } from './capacity.ts';
import { DeviceEntry, type DeviceHolder, NO_HOLDERS, UNKNOWN_HEALTH } from './device-entry.ts';
import { DeviceGroup, normalizeNumaNodes } from './device-group.ts';
import { type Device, HEALTHY } from './device.ts';
import { emptyDiff, type ListDiff, noteAffected } from './list-diff.ts';
import { compareKeyed } from './natural-order.ts';
import type { Release } from './release.ts';

/** Fewer dead entries than this are not worth a new order. */
const MIN_DEAD_TO_DROP = 64;

/**
 * All devices of one resource: what the plugin lists, who holds what, what is reserved. Part of the ledger; nobody else
 * writes to it.
 *
 * Invariants:
 * - A reservation ends only by {@link unreserve}, a holding only by {@link unhold}, a release only by
 *   {@link setRelease}; no list, disconnect or removal of the resource touches any.
 * - A device that is not listed, held, reserved or being released does not exist for any reader, though its entry may stay a while.
 * - Every counter is the sum over the entries of what {@link DevicePool.#count} says of each; an entry changes only between `#count(entry, -1)`
 *   and `#count(entry, 1)`.
 * - Groups and order are valid unless entries wait to be put in order (`#stale`); readers in order go through `#arrange`.
 *
 * Cost: a change of one device is O(1) but for the free set (O(log32 n)); a list is one pass; a new order, O(n), follows
 * only a list (or restored allocations) with new devices or new topology.
 */
export class DevicePool {
  readonly resource: string;
  /** Known as a device plugin resource of its own accord; false when only allocations or reservations keep the pool. */
  registered = false;
  readonly #entries = new Map<string, DeviceEntry>();
  readonly #groups = new Map<string, DeviceGroup>();
  /** All entries but the `#fresh` ones, in natural order. */
  #order: DeviceEntry[] = [];
  #fresh: DeviceEntry[] = [];
  /** The last list, and the entry of each of its devices; empty when something else has changed what is listed. */
  #lastList: readonly Device[] = [];
  #lastEntries: readonly DeviceEntry[] = [];
  #stale = false;
  #lists = 0;
  #listed = 0;
  #healthy = 0;
  #held = 0;
  #reserved = 0;
  #reservedAlone = 0;
  #free = 0;
  #gone = 0;
  #releasing = 0;
  #returning = 0;

  constructor(resource: string) {
    this.resource = resource;
  }

  /** Nobody holds or reserves anything here, and nothing is being released. */
  get idle(): boolean {
    return this.#held === 0 && this.#reserved === 0 && this.#releasing === 0;
  }

  get freeCount(): number {
    return this.#free;
  }

  /** Devices being released, whatever their health. */
  get releasingCount(): number {
    return this.#releasing;
  }

  /** Devices that are free as soon as their release has succeeded, those in quarantine left out. */
  get returningCount(): number {
    return this.#returning;
  }

  get healthyCount(): number {
    return this.#healthy;
  }

  capacity(): ResourceCapacity {
    return {
      capacity: this.#listed,
      allocatable: this.#healthy,
      healthy: this.#healthy,
      unhealthy: this.#listed - this.#healthy,
      allocated: this.#held,
      reserved: this.#reservedAlone,
      free: this.#free,
    };
  }

  /** The device, unless nothing is known of it any more. */
  get(id: string): DeviceEntry | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined || entry.gone ? undefined : entry;
  }

  /** Every device in natural order, vanished ones that are held or reserved included. */
  *entries(): Iterable<DeviceEntry> {
    this.#arrange();
    for (const entry of this.#order) if (!entry.gone) yield entry;
  }

  /** Devices by the NUMA nodes they are on; groups without devices are left out. */
  groups(): Iterable<DeviceGroup> {
    this.#arrange();
    return this.#groups.values();
  }

  numaShares(): readonly NumaShare[] {
    const shares: NumaShare[] = [];
    for (const { numaNodes, listed, freeCount } of this.groups()) {
      if (listed > 0) shares.push({ numaNodes, listed, free: freeCount });
    }
    return shares;
  }

  /** Takes a plugin's list as the whole truth; of an id listed twice, the last entry counts. */
  replace(devices: readonly Device[]): ListDiff {
    const diff = emptyDiff();
    this.#lists += 1;
    const listedBefore = this.#listed;
    const entries: DeviceEntry[] = new Array<DeviceEntry>(devices.length);
    let confirmed = 0;
    // From the back, so that of duplicates the last comes first and the others can be skipped unread.
    for (let index = devices.length - 1; index >= 0; index -= 1) {
      const device = devices[index];
      if (device === undefined) continue;
      // A list mostly repeats the one before, and whoever decodes it may hand out the same objects again.
      const known = device === this.#lastList[index] ? this.#lastEntries[index] : undefined;
      const entry = known ?? this.#entries.get(device.id) ?? this.#create(device.id, device.numaNodes);
      entries[index] = entry;
      if (entry.seenInList === this.#lists) continue;
      entry.seenInList = this.#lists;
      if (entry.listed) confirmed += 1;
      if (!entry.listed || entry.health !== device.health || !sameNodes(entry.numaNodes, device.numaNodes)) {
        this.#accept(entry, device, diff);
      }
    }
    reverseAll(diff);
    if (confirmed < listedBefore) this.#removeUnseen(diff);
    diff.changed ||= diff.added.length + diff.removed.length > 0;
    if (this.#gone > MIN_DEAD_TO_DROP && this.#gone * 2 > this.#entries.size) this.#stale = true;
    this.#arrange();
    this.#lastList = devices;
    this.#lastEntries = entries;
    return diff;
  }

  /** The plugin is away: what it listed stays listed, with unknown health. */
  markAllUnhealthy(): ListDiff {
    const diff = emptyDiff();
    for (const entry of this.entries()) {
      if (!entry.listed || entry.health === UNKNOWN_HEALTH) continue;
      if (entry.healthy) diff.becameUnhealthy.push(entry.id);
      noteAffected(diff, entry);
      diff.changed = true;
      this.#count(entry, -1);
      entry.health = UNKNOWN_HEALTH;
      entry.healthy = false;
      this.#count(entry, 1);
    }
    return diff;
  }

  hold(id: string, holder: DeviceHolder, numaNodesIfNew: readonly number[] = []): void {
    const entry = this.#entries.get(id) ?? this.#create(id, numaNodesIfNew);
    this.#count(entry, -1);
    entry.holders = [...entry.holders, holder];
    this.#count(entry, 1);
  }

  /** Takes a device back from all containers of a pod. */
  unhold(id: string, podUid: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#count(entry, -1);
    const others = entry.holders.filter((holder) => holder.podUid !== podUid);
    entry.holders = others.length === 0 ? NO_HOLDERS : others;
    this.#count(entry, 1);
  }

  /** Whether somebody holds the device or it is being released. */
  isInHands(id: string): boolean {
    const entry = this.#entries.get(id);
    return entry !== undefined && (entry.holders.length > 0 || entry.release !== undefined);
  }

  /** Begins, changes or (with undefined) ends the release of a device. */
  setRelease(id: string, release: Release | undefined, numaNodesIfNew: readonly number[] = []): void {
    const entry = this.#entries.get(id) ?? (release === undefined ? undefined : this.#create(id, numaNodesIfNew));
    if (entry === undefined) return;
    this.#count(entry, -1);
    entry.release = release;
    this.#count(entry, 1);
  }

  reserve(entry: DeviceEntry, owner: object): void {
    this.#count(entry, -1);
    entry.reservedBy = owner;
    this.#count(entry, 1);
  }

  /** Ends the owner's reservation; someone else's is left alone. */
  unreserve(entry: DeviceEntry, owner: object): void {
    if (entry.reservedBy !== owner) return;
    this.#count(entry, -1);
    entry.reservedBy = undefined;
    this.#count(entry, 1);
  }

  /** The first free devices of these groups in natural order, at most `count`. */
  firstFree(count: number, groups: readonly DeviceGroup[]): DeviceEntry[] {
    const heads = groups.map((group) => ({ group, entry: group.nextFree(0) }));
    const found: DeviceEntry[] = [];
    while (found.length < count) {
      let first: { group: DeviceGroup; entry: DeviceEntry | undefined } | undefined;
      for (const head of heads) {
        if (head.entry === undefined) continue;
        if (first?.entry === undefined || compareKeyed(head.entry, first.entry) < 0) first = head;
      }
      if (first?.entry === undefined) break;
      found.push(first.entry);
      first.entry = first.group.nextFree(first.entry.slot + 1);
    }
    return found;
  }

  #create(id: string, numaNodes: readonly number[]): DeviceEntry {
    const entry = new DeviceEntry(id, numaNodes);
    this.#entries.set(id, entry);
    this.#fresh.push(entry);
    this.#stale = true;
    this.#count(entry, 1);
    return entry;
  }

  /** Takes over what the list says of a device that is new, back, or different. */
  #accept(entry: DeviceEntry, device: Device, diff: ListDiff): void {
    const { listed, healthy, health } = entry;
    const moved = !sameNodes(entry.numaNodes, device.numaNodes);
    this.#count(entry, -1);
    entry.listed = true;
    entry.health = device.health;
    entry.healthy = device.health === HEALTHY;
    entry.numaNodes = device.numaNodes;
    if (moved) entry.group = undefined;
    this.#count(entry, 1);

    diff.changed = true;
    if (moved) this.#stale = true;
    if (!listed) diff.added.push(entry.id);
    else {
      if (entry.healthy && !healthy) diff.becameHealthy.push(entry.id);
      if (!entry.healthy && healthy) diff.becameUnhealthy.push(entry.id);
      if (moved) diff.topologyChanged.push(entry.id);
    }
    if (!listed || health !== entry.health) noteAffected(diff, entry);
  }

  #removeUnseen(diff: ListDiff): void {
    for (const entry of this.#order) {
      if (!entry.listed || entry.seenInList === this.#lists) continue;
      diff.removed.push(entry.id);
      noteAffected(diff, entry);
      this.#unlist(entry);
    }
  }

  /** The resource is no longer one of the node's: nothing is listed. */
  unlistAll(): void {
    this.#lastList = [];
    this.#lastEntries = [];
    for (const entry of this.#entries.values()) if (entry.listed) this.#unlist(entry);
  }

  #unlist(entry: DeviceEntry): void {
    this.#count(entry, -1);
    entry.listed = false;
    entry.healthy = false;
    entry.health = UNKNOWN_HEALTH;
    this.#count(entry, 1);
  }

  /** Adds (1) or takes away (-1) an entry's part in every counter. */
  #count(entry: DeviceEntry, sign: 1 | -1): void {
    const held = entry.holders.length > 0;
    if (entry.listed) this.#listed += sign;
    if (entry.healthy) this.#healthy += sign;
    if (held) this.#held += sign;
    if (entry.reservedBy !== undefined) {
      this.#reserved += sign;
      if (!held) this.#reservedAlone += sign;
    }
    if (entry.release !== undefined) {
      this.#releasing += sign;
      if (entry.healthy && !held && entry.reservedBy === undefined && !entry.release.quarantined)
        this.#returning += sign;
    }
    if (entry.free) this.#free += sign;
    if (entry.gone) this.#gone += sign;
    if (entry.group !== undefined) {
      if (entry.listed) entry.group.listed += sign;
      if (sign === 1) entry.group.note(entry);
    }
  }

  /** Puts order and groups right after new devices or topology, and drops dead entries. */
  #arrange(): void {
    if (!this.#stale) return;
    this.#stale = false;
    this.#order = merge(this.#order, this.#fresh.sort(compareKeyed), (entry) => {
      if (entry.gone) this.#entries.delete(entry.id);
      return !entry.gone;
    });
    this.#gone = 0;
    this.#fresh = [];
    for (const group of this.#groups.values()) group.restart();
    for (const entry of this.#order) {
      entry.group ??= this.#groupOf(entry.numaNodes);
      entry.group.append(entry);
    }
    for (const [key, group] of this.#groups) {
      if (group.members.length === 0) this.#groups.delete(key);
      else group.finish();
    }
  }

  #groupOf(numaNodes: readonly number[]): DeviceGroup {
    const nodes = normalizeNumaNodes(numaNodes);
    const key = nodes.join();
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new DeviceGroup(nodes);
      this.#groups.set(key, group);
    }
    return group;
  }
}

function sameNodes(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

/** Back to the order of the list, which was read from its end. */
function reverseAll(diff: ListDiff): void {
  diff.added.reverse();
  diff.becameHealthy.reverse();
  diff.becameUnhealthy.reverse();
  diff.topologyChanged.reverse();
  diff.affected.reverse();
}

/** Merges two sorted lists, keeping what `keep` accepts. */
function merge(
  a: readonly DeviceEntry[],
  b: readonly DeviceEntry[],
  keep: (entry: DeviceEntry) => boolean,
): DeviceEntry[] {
  const merged: DeviceEntry[] = [];
  let fromB = 0;
  for (const entry of a) {
    let next = b[fromB];
    while (next !== undefined && compareKeyed(next, entry) < 0) {
      if (keep(next)) merged.push(next);
      fromB += 1;
      next = b[fromB];
    }
    if (keep(entry)) merged.push(entry);
  }
  for (; fromB < b.length; fromB += 1) {
    const entry = b[fromB];
    if (entry !== undefined && keep(entry)) merged.push(entry);
  }
  return merged;
}
