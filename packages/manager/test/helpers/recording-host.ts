import { HEALTHY, type Device } from '@devmgr/core';
import type { PluginHost, PluginSession } from '../../src/ports.ts';

/** What a session told the host, in order. */
export type HostCall =
  | { readonly type: 'requested'; readonly resource: string }
  | { readonly type: 'connected'; readonly session: PluginSession }
  | { readonly type: 'reported'; readonly session: PluginSession; readonly devices: readonly Device[] }
  | { readonly type: 'ended'; readonly session: PluginSession; readonly reason: string };

/**
 * A host that writes down what it is told and keeps house like the device manager: the newest session that listed speaks
 * for its resource, an older one of the same path is closed then, and the end of a session that does not speak changes
 * nothing.
 */
export class RecordingHost implements PluginHost {
  readonly calls: HostCall[] = [];
  /** Called after each call was written down. */
  onCall: (call: HostCall) => void = () => undefined;
  readonly #owners = new Map<string, { session: PluginSession; devices: readonly Device[]; live: boolean }>();
  readonly #known = new Set<string>();
  readonly #live = new Set<PluginSession>();

  registrationRequested(resource: string): void {
    this.#note({ type: 'requested', resource });
  }

  pluginConnected(session: PluginSession): void {
    this.#live.add(session);
    this.#note({ type: 'connected', session });
  }

  devicesReported(session: PluginSession, devices: readonly Device[]): void {
    const { resource, socketPath } = session;
    const owner = this.#owners.get(resource);
    if (owner === undefined || !owner.live || owner.session.id <= session.id) {
      this.#owners.set(resource, { session, devices, live: true });
      for (const other of this.#live) {
        if (other.resource === resource && other.socketPath === socketPath && other.id < session.id) other.close();
      }
    }
    this.#note({ type: 'reported', session, devices });
  }

  pluginEnded(session: PluginSession, reason: string): void {
    this.#live.delete(session);
    this.#known.add(session.resource);
    const owner = this.#owners.get(session.resource);
    if (owner?.session === session) owner.live = false;
    this.#note({ type: 'ended', session, reason });
  }

  /** Numbers the node would show; undefined while the resource is not known. */
  capacity(resource: string): { readonly capacity: number; readonly allocatable: number } | undefined {
    const owner = this.#owners.get(resource);
    if (owner === undefined) return this.#known.has(resource) ? { capacity: 0, allocatable: 0 } : undefined;
    const healthy = owner.devices.filter(({ health }) => health === HEALTHY).length;
    return { capacity: owner.devices.length, allocatable: owner.live ? healthy : 0 };
  }

  deviceIds(resource: string): readonly string[] {
    return this.#owners.get(resource)?.devices.map(({ id }) => id) ?? [];
  }

  /** Sessions that were connected, oldest first. */
  get sessions(): readonly PluginSession[] {
    return this.calls.flatMap((call) => (call.type === 'connected' ? [call.session] : []));
  }

  get liveSessions(): readonly PluginSession[] {
    return [...this.#live];
  }

  /** Lists reported, oldest first. */
  get lists(): readonly (readonly Device[])[] {
    return this.calls.flatMap((call) => (call.type === 'reported' ? [call.devices] : []));
  }

  /** Reasons why sessions ended, oldest first. */
  get ends(): readonly string[] {
    return this.calls.flatMap((call) => (call.type === 'ended' ? [call.reason] : []));
  }

  #note(call: HostCall): void {
    this.calls.push(call);
    this.onCall(call);
  }
}
