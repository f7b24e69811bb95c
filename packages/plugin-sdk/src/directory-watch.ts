import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';

/**
 * Coming and going of the files of one directory as hints. The directory may be missing, vanish and be replaced; `ensure`, called now and
 * then, moves the watch to whatever is at the path. Without inotify (limit reached, odd file system) there are simply
 * no hints: whoever uses this must look by itself as well.
 */
export class DirectoryWatch {
  readonly #dir: string;
  readonly #hint: () => void;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #closed = false;

  constructor(dir: string, hint: () => void) {
    this.#dir = dir;
    this.#hint = hint;
  }

  /** Watches the directory that is at the path now, if there is one. Never rejects. */
  async ensure(): Promise<void> {
    const found = await stat(this.#dir, { bigint: true }).catch(() => undefined);
    const identity = found?.isDirectory() === true ? `${String(found.dev)}:${String(found.ino)}` : undefined;
    if (this.#closed || identity === this.#watched) return;
    this.#release();
    if (identity === undefined) return;
    try {
      const watcher = watch(this.#dir, (event) => {
        // Everything but coming, going and renaming is a `change`, every write to /dev/null among them.
        if (event === 'rename') this.#hint();
      });
      watcher.on('error', () => {
        if (this.#watcher === watcher) this.#release();
      });
      this.#watcher = watcher;
      this.#watched = identity;
      // What happened between the caller's last look and the watch would otherwise go unnoticed.
      this.#hint();
    } catch {
      this.#watched = identity; // Do not try the same directory again and again; looking now and then does the work.
    }
  }

  close(): void {
    this.#closed = true;
    this.#release();
  }

  #release(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
  }
}
