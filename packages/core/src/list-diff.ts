import type { DeviceEntry } from './device-entry.ts';

/** Someone who holds a device whose health is another than before. */
export interface AffectedHolder {
  readonly podUid: string;
  readonly container: string;
  readonly deviceId: string;
}

/** What a device list, or the end of a plugin, changed. Arrays hold device ids in the order of the list. */
export interface ListDiff {
  /** Not listed before. */
  readonly added: string[];
  /** Listed before and no longer. */
  readonly removed: string[];
  /** Listed before, and healthy only now. */
  readonly becameHealthy: string[];
  /** Listed before as healthy, still listed, healthy no longer. */
  readonly becameUnhealthy: string[];
  /** On other NUMA nodes than before. */
  readonly topologyChanged: string[];
  /** Holders of devices whose health string changed, or that vanished or came back. (KEP-4680) */
  readonly affected: AffectedHolder[];
  /** Whether anything at all is different, a health string that is unhealthy either way included. */
  changed: boolean;
}

export function emptyDiff(): ListDiff {
  return {
    added: [],
    removed: [],
    becameHealthy: [],
    becameUnhealthy: [],
    topologyChanged: [],
    affected: [],
    changed: false,
  };
}

/** Adds a device's holders to those affected. */
export function noteAffected(diff: ListDiff, entry: DeviceEntry): void {
  for (const holder of entry.holders) {
    diff.affected.push({ podUid: holder.podUid, container: holder.container, deviceId: entry.id });
  }
}
