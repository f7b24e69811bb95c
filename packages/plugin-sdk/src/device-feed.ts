import type { Device } from '@devmgr/core';
import { sameDevices } from './plugin-device.ts';

/**
 * The current list of devices and who waits for the next one.
 *
 * Invariants: `version` grows by one exactly when the list changed; a reader that compares versions therefore sends a
 * list only when it changed, and one that was slow sees the newest list and none of those in between.
 */
export class DeviceFeed {
  #current: readonly Device[] | undefined;
  #ids = new Set<string>();
  #version = 0;
  readonly #waiting = new Set<() => void>();

  /** The newest list; undefined before the first. */
  get current(): readonly Device[] | undefined {
    return this.#current;
  }

  /** Zero before the first list. */
  get version(): number {
    return this.#version;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Takes the whole new list; false when it says what the old one said. */
  replace(devices: readonly Device[]): boolean {
    if (this.#current !== undefined && sameDevices(this.#current, devices)) return false;
    this.#current = devices;
    this.#ids = new Set(devices.map((device) => device.id));
    this.#version += 1;
    for (const wake of [...this.#waiting]) wake();
    return true;
  }

  /** Resolves when the version differs from `version`, or when `signal` aborts. */
  async changedSince(version: number, signal: AbortSignal): Promise<void> {
    if (this.#version !== version || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }
}
