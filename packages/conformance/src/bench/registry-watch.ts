import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const LOOK_EVERY_MS = 200;

/** Looks for new sockets in a plugins_registry directory, as the kubelet's plugin watcher does. A missing directory is an empty one. */
export class RegistryWatch {
  readonly #dir: string;
  readonly #found: (path: string) => Promise<void>;
  /** Path to what tells one file from another: numbers alone are given to new files again. */
  readonly #known = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(dir: string, found: (path: string) => Promise<void>) {
    this.#dir = dir;
    this.#found = found;
  }

  /** Starts looking; every socket that is there is new. */
  start(): void {
    this.#known.clear();
    this.#timer ??= setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look());
    }, LOOK_EVERY_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#looking;
  }

  async #look(): Promise<void> {
    if (this.#timer === undefined) return;
    const names = await readdir(this.#dir).catch(() => []);
    for (const name of names) {
      const path = join(this.#dir, name);
      const file = await lstat(path, { bigint: true }).catch(() => undefined);
      if (name.startsWith('.') || file?.isSocket() !== true) continue;
      const identity = `${String(file.ino)} ${String(file.birthtimeNs)}`;
      if (this.#known.get(path) === identity) continue;
      this.#known.set(path, identity);
      await this.#found(path).catch(() => this.#known.delete(path)); // looked at again the next time
    }
  }
}
