import { BitTree } from './bit-tree.ts';
import type { DeviceEntry } from './device-entry.ts';

/**
 * The devices of one pool that sit on exactly the same NUMA nodes. A NUMA-aware choice treats them alike, so it looks
 * at groups (a handful) instead of devices (perhaps 100,000).
 *
 * Invariants: `members` is in natural order and `members[entry.slot] === entry`; a slot is in the free set exactly when
 * that entry is free; `listed` counts the members that are listed.
 */
export class DeviceGroup {
  /** Ascending, each once, none negative; empty for devices without topology. */
  readonly numaNodes: readonly number[];
  readonly members: DeviceEntry[] = [];
  listed = 0;
  #free = new BitTree(0);

  constructor(numaNodes: readonly number[]) {
    this.numaNodes = numaNodes;
  }

  get freeCount(): number {
    return this.#free.size;
  }

  /** Takes over what the entry says about itself now. */
  note(entry: DeviceEntry): void {
    if (entry.slot < 0) return;
    if (entry.free) this.#free.add(entry.slot);
    else this.#free.delete(entry.slot);
  }

  /** Starts a new order: members are then appended in natural order, and {@link finish} ends it. */
  restart(): void {
    this.members.length = 0;
    this.listed = 0;
  }

  append(entry: DeviceEntry): void {
    entry.slot = this.members.push(entry) - 1;
    if (entry.listed) this.listed += 1;
  }

  finish(): void {
    this.#free = new BitTree(this.members.length);
    for (const member of this.members) if (member.free) this.#free.add(member.slot);
  }

  /** The first free member at or after a slot. */
  nextFree(slot: number): DeviceEntry | undefined {
    const found = this.#free.next(slot);
    return found < 0 ? undefined : this.members[found];
  }
}

/** NUMA nodes in the form groups are told apart by: ascending, each once; a negative node means none. */
export function normalizeNumaNodes(numaNodes: readonly number[]): readonly number[] {
  return [...new Set(numaNodes)].filter((node) => node >= 0).sort((a, b) => a - b);
}
