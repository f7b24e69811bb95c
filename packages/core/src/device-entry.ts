import type { DeviceGroup } from './device-group.ts';
import { naturalKey } from './natural-order.ts';
import type { Release } from './release.ts';

/** Health of a device no plugin speaks for now: its plugin is disconnected, or no longer lists it. (KEP-4680: Unknown) */
export const UNKNOWN_HEALTH = 'Unknown';

/** Who has a device. Several only within one pod, by the reuse rules for init containers. */
export interface DeviceHolder {
  readonly podUid: string;
  readonly container: string;
}

/** A device as it is now, for those who look at the ledger from outside. */
export interface DeviceState {
  readonly id: string;
  /** As the plugin sent it, or {@link UNKNOWN_HEALTH}. */
  readonly health: string;
  /** As last listed; of a device known only from its allocation, the nodes recorded there. */
  readonly numaNodes: readonly number[];
  /** In the plugin's current list; false for a device that vanished and is still held or reserved. */
  readonly listed: boolean;
  /** Listed with exactly the health `Healthy`. */
  readonly healthy: boolean;
  /** An admission in flight has it. */
  readonly reserved: boolean;
  readonly holders: readonly DeviceHolder[];
  /** It was given back and waits for this; absent otherwise. */
  readonly release?: Release;
}

/** Shared by every device nobody holds, so that 100,000 idle devices are not 100,000 empty arrays. */
export const NO_HOLDERS: readonly DeviceHolder[] = Object.freeze([]);

/**
 * One device in its pool. Only the pool writes to it, and only between taking it out of its counters and putting it
 * back, so the counters always are the sum over the entries.
 */
export class DeviceEntry {
  readonly id: string;
  /** {@link naturalKey} of the id. */
  readonly sortKey: string;
  health = UNKNOWN_HEALTH;
  numaNodes: readonly number[];
  listed = false;
  healthy = false;
  holders = NO_HOLDERS;
  /** The plan that reserved it; compared by identity. */
  reservedBy: object | undefined = undefined;
  /** Given back, and not to be handed out before this succeeded. */
  release: Release | undefined = undefined;
  /** Number of the last list that named it. */
  seenInList = 0;
  /** Devices of the same NUMA nodes, and the place among them; undefined until the pool is next put in order. */
  group: DeviceGroup | undefined = undefined;
  slot = -1;

  constructor(id: string, numaNodes: readonly number[]) {
    this.id = id;
    this.sortKey = naturalKey(id);
    this.numaNodes = numaNodes;
  }

  /** Can be given to anyone: healthy (which implies listed), held by nobody, reserved by nobody, not being released. */
  get free(): boolean {
    return this.healthy && this.reservedBy === undefined && this.holders.length === 0 && this.release === undefined;
  }

  /** No longer listed, and nobody needs it remembered. */
  get gone(): boolean {
    return !this.listed && this.reservedBy === undefined && this.holders.length === 0 && this.release === undefined;
  }

  state(): DeviceState {
    const state = {
      id: this.id,
      health: this.health,
      numaNodes: this.numaNodes,
      listed: this.listed,
      healthy: this.healthy,
      reserved: this.reservedBy !== undefined,
      holders: this.holders,
    };
    return this.release === undefined ? state : { ...state, release: this.release };
  }
}
