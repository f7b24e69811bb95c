import type { Device } from '@devmgr/core';
import type { PluginOrigin, PluginSession, PluginState } from './ports.ts';

interface LiveSession {
  readonly session: PluginSession;
  lastList: readonly Device[] | undefined;
  /** When the first list came, milliseconds since the epoch. */
  listedAt: number | undefined;
}

/** What the end or a list of a session means for the resource's devices. */
export type PluginsChange =
  /** The list stands as it was. */
  | { readonly kind: 'none' }
  /** These are the devices now. `superseded` sessions are no longer needed and are to be closed. */
  | {
      readonly kind: 'list';
      readonly devices: readonly Device[];
      readonly owner: PluginSession;
      readonly newOwner: boolean;
      readonly superseded: readonly PluginSession[];
    }
  /** The owner is gone and its successor has not listed yet: keep the devices for a short while. */
  | { readonly kind: 'awaiting-list' }
  /** Nobody is left who could speak for the devices. */
  | { readonly kind: 'gone' };

/**
 * The sessions of one resource, and which of them speaks for its devices.
 *
 * Invariants
 * - The owner is the newest session that has listed; its last list is the list of the resource.
 * - Other live sessions are standbys: their lists are remembered, their end changes nothing.
 * - When the owner ends, the newest standby takes over with its last list, so that a plugin can be replaced without a
 *   moment in which its devices are gone. (kubelet 1.37: several endpoints a resource, PR #135437)
 * - A session on the same socket as a newer one that has listed is superseded: the path belongs to the newer one.
 */
export class ResourcePlugins {
  readonly resource: string;
  readonly #live = new Map<number, LiveSession>();
  #owner: LiveSession | undefined;
  /** Milliseconds since the epoch; set while no session is live. */
  stoppedAt: number | undefined;
  /** Why the last session ended. */
  stopReason: string | undefined;
  /** Remembered over the end of sessions and over restarts: whether the plugin wants PreStartContainer. */
  preStartRequired = false;
  /** Socket of the last owner. */
  endpoint: string | null = null;
  /** How the last owner came to be; null when it is only known from the checkpoint. */
  origin: PluginOrigin | null = null;

  constructor(resource: string) {
    this.resource = resource;
  }

  /** The socket to dial at the next start; null when somebody else finds it: plugins_registry is watched anyway. */
  get remembered(): string | null {
    return this.origin === 'watcher' ? null : this.endpoint;
  }

  /** The session that serves calls: the owner of the list, else the newest live one. */
  get primary(): PluginSession | undefined {
    if (this.#owner !== undefined) return this.#owner.session;
    return this.#newest(() => true)?.session;
  }

  /** True when a session that has listed is live. */
  get ready(): boolean {
    return this.#owner !== undefined;
  }

  connected(session: PluginSession): void {
    this.#live.set(session.id, { session, lastList: undefined, listedAt: undefined });
    this.stoppedAt = undefined;
    this.stopReason = undefined;
  }

  listed(session: PluginSession, devices: readonly Device[], now: number): PluginsChange {
    const entry = this.#live.get(session.id);
    if (entry === undefined) return { kind: 'none' }; // it has ended, or was superseded
    entry.lastList = devices;
    entry.listedAt ??= now;
    if (this.#owner !== undefined && this.#owner.session.id > session.id) return { kind: 'none' };
    const newOwner = this.#owner !== entry;
    this.#own(entry);
    const superseded: PluginSession[] = [];
    if (newOwner) {
      for (const other of this.#live.values()) {
        if (other.session.id < session.id && other.session.socketPath === session.socketPath)
          superseded.push(other.session);
      }
      for (const other of superseded) this.#live.delete(other.id);
    }
    return { kind: 'list', devices, owner: session, newOwner, superseded };
  }

  ended(session: PluginSession, reason: string, now: number): PluginsChange {
    const entry = this.#live.get(session.id);
    if (entry === undefined) return { kind: 'none' };
    this.#live.delete(session.id);
    if (this.#live.size === 0) {
      this.#owner = undefined;
      this.stoppedAt = now;
      this.stopReason = reason;
      return { kind: 'gone' };
    }
    if (this.#owner !== entry) return { kind: 'none' };
    const heir = this.#newest((candidate) => candidate.lastList !== undefined);
    this.#owner = undefined;
    if (heir?.lastList === undefined) return { kind: 'awaiting-list' };
    this.#own(heir);
    return { kind: 'list', devices: heir.lastList, owner: heir.session, newOwner: true, superseded: [] };
  }

  /** Live sessions, newest first. */
  sessions(): { session: PluginSession; state: PluginState; devices: number; since: number }[] {
    return [...this.#live.values()]
      .sort((a, b) => b.session.id - a.session.id)
      .map((entry) => ({
        session: entry.session,
        state: entry === this.#owner ? 'Connected' : entry.lastList === undefined ? 'Connecting' : 'Standby',
        devices: entry.lastList?.length ?? 0,
        since: entry.session.connectedAt,
      }));
  }

  #own(entry: LiveSession): void {
    this.#owner = entry;
    this.preStartRequired = entry.session.options.preStartRequired;
    this.endpoint = entry.session.socketPath;
    this.origin = entry.session.origin;
  }

  #newest(accept: (entry: LiveSession) => boolean): LiveSession | undefined {
    let newest: LiveSession | undefined;
    for (const entry of this.#live.values()) {
      if (accept(entry) && (newest === undefined || entry.session.id > newest.session.id)) newest = entry;
    }
    return newest;
  }
}
