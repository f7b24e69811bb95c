import { lstat, unlink } from 'node:fs/promises';
import { ServedPlugin } from './serve-plugin.ts';
import { leavingSocketFile } from './socket-file.ts';

/**
 * The lives of a simulated plugin, one after the other, as those of a process that ends and is started again.
 *
 * Invariants: deaths and restarts happen one at a time, in the order they were asked for; after `close` nothing is
 * left, neither a plugin nor a socket file that a death left behind.
 */
export class SimulatedLife {
  readonly #begin: () => ServedPlugin;
  #plugin: ServedPlugin;
  #changing: Promise<void> = Promise.resolve();
  /** Socket files that deaths left behind, by inode. */
  readonly #remains = new Map<bigint, string>();
  #dead = false;
  #closed = false;

  constructor(begin: () => ServedPlugin) {
    this.#begin = begin;
    this.#plugin = begin();
  }

  /** The plugin that lives, or lived last. */
  get plugin(): ServedPlugin {
    return this.#plugin;
  }

  /** True from a death to the next life. */
  get dead(): boolean {
    return this.#dead;
  }

  /** Ends as a killed process does: streams and calls are cut, the socket file stays. */
  async die(): Promise<void> {
    await this.#inTurn(async () => {
      this.#dead = true;
      const path = this.#plugin.socketPath;
      await leavingSocketFile(path, () => this.#plugin.close());
      const left = await lstat(path, { bigint: true }).catch(() => undefined);
      if (left?.isSocket() === true) this.#remains.set(left.ino, path);
    });
  }

  /** Ends cleanly unless dead already, and begins anew after `change`. */
  async restart(change: () => void): Promise<void> {
    await this.#inTurn(async () => {
      await this.#plugin.close();
      if (this.#closed) return;
      change();
      this.#plugin = this.#begin();
      this.#dead = false;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#changing;
    await this.#plugin.close();
    for (const [inode, path] of this.#remains) {
      const found = await lstat(path, { bigint: true }).catch(() => undefined);
      if (found?.ino === inode) await unlink(path).catch(() => undefined);
    }
    this.#remains.clear();
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(change);
    this.#changing = done.catch(() => undefined);
    return done;
  }
}
