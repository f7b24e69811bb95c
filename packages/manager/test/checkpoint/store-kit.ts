import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Allocation, Pod } from '@devmgr/core';
import { afterEach } from 'vitest';
import { StateStore, type StateStoreOptions } from '../../src/checkpoint/state-store.ts';
import type { Clock, Logger, RecoveredState, SnapshotSource } from '../../src/ports.ts';

export const silentLog: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

/** Time that only moves when a test says so. */
export class ManualClock implements Clock {
  #nowMs = 1_800_000_000_000;
  #timers: { dueMs: number; callback: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimeout(callback: () => void, delayMs: number): () => void {
    const timer = { dueMs: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(durationMs: number): void {
    this.#nowMs += durationMs;
    const due = this.#timers.filter(({ dueMs }) => dueMs <= this.#nowMs);
    this.#timers = this.#timers.filter(({ dueMs }) => dueMs > this.#nowMs);
    for (const { callback } of due) callback();
  }

  get timers(): number {
    return this.#timers.length;
  }
}

const directories: string[] = [];
const stores = new Set<StateStore>();

afterEach(async () => {
  for (const store of stores) await store.close();
  stores.clear();
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

export interface Place {
  readonly root: string;
  readonly devicePluginDir: string;
  readonly stateDir: string;
  readonly checkpoint: string;
  readonly previousCheckpoint: string;
}

/** A fresh place for state, removed after the test. */
export async function newPlace(): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), 'devmgr-state-'));
  directories.push(root);
  const devicePluginDir = join(root, 'device-plugins');
  const stateDir = join(root, 'devmgr');
  return {
    root,
    devicePluginDir,
    stateDir,
    checkpoint: join(devicePluginDir, 'kubelet_internal_checkpoint'),
    previousCheckpoint: join(stateDir, 'checkpoint.previous'),
  };
}

/** Opens the state of a place with a clock that stands still unless one is given. The store is closed after the test. */
export async function openStore(
  place: Place,
  options: Partial<StateStoreOptions> = {},
): Promise<{ store: StateStore; recovered: RecoveredState }> {
  const opened = await StateStore.open({
    devicePluginDir: place.devicePluginDir,
    stateDir: place.stateDir,
    clock: new ManualClock(),
    log: silentLog,
    bootId: 'boot-1',
    ...options,
  });
  stores.add(opened.store);
  return opened;
}

export function allocation(
  podUid: string,
  container: string,
  resource: string,
  devices: Record<string, readonly string[]>,
  response: Uint8Array = new Uint8Array(),
): Allocation {
  const deviceIds = new Map(Object.entries(devices).map(([node, ids]) => [Number(node), ids]));
  return { podUid, container, resource, deviceIds, response };
}

export function pod(uid: string, name = `pod-${uid}`): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid },
    spec: { containers: [{ name: 'c' }] },
  };
}

/** A source that knows the ids that are healthy now. */
export function healthy(resources: Record<string, readonly string[]>): SnapshotSource {
  return {
    resources: () =>
      Object.entries(resources).map(([resource, healthyIds]) => ({
        resource,
        healthyIds,
        endpoint: null,
        preStartRequired: false,
      })),
  };
}
