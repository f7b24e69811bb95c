import { copyFile, open, rename, rm, stat, truncate, type FileHandle } from 'node:fs/promises';
import type { Clock } from '../ports.ts';
import { WakeUp } from '../wake-up.ts';
import type { ReadLogOptions } from '../container-runtime.ts';
import { findTail } from './log-tail.ts';
import { watchPath } from './path-watch.ts';

export interface LogLimits {
  /** A file that grew larger is rotated. */
  readonly maxBytes: number;
  /** Files that are kept, the current one included. At least 2. */
  readonly maxFiles: number;
}

const CHUNK_BYTES = 64 * 1024;
/** How long a follower sleeps when the system does not tell it of new output. */
const FOLLOW_POLL_MS = 500;
/** How many chunks a rotation runs after a process that writes faster than they are copied. */
const MAX_CATCH_UP_ROUNDS = 256;

/**
 * The output of one attempt: a file that its processes append to by themselves, and older parts `.1` (newest), `.2`, ….
 *
 * The processes hold the file open (so that output goes on when the manager is gone), which leaves one way to rotate:
 * copy the file, then cut it to nothing. They append, so they go on at its new end. What is written between the last
 * look at the size and the cut is lost: microseconds, once per `maxBytes`.
 *
 * Invariants: `#rotations` counts the cuts made by this object; a reader's place is (rotation, offset) and so survives
 * a rotation under its feet; rotation and reading exclude one another.
 */
export class ContainerLog {
  readonly path: string;
  readonly #limits: LogLimits;
  readonly #clock: Clock;
  #rotations = 0;
  #lock: Promise<unknown> = Promise.resolve();

  constructor(path: string, limits: LogLimits, clock: Clock) {
    this.path = path;
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Rotates when the file is larger than allowed; true when it did. Rejects with the system's error. */
  rotateIfLarge(): Promise<boolean> {
    return this.#exclusive(async () => {
      if ((await sizeOf(this.path)) <= this.#limits.maxBytes) return false;
      const oldest = this.#limits.maxFiles - 1;
      await rm(this.#part(oldest), { force: true });
      for (let part = oldest - 1; part >= 1; part -= 1) {
        await rename(this.#part(part), this.#part(part + 1)).catch(ignoreMissing);
      }
      await copyFile(this.path, this.#part(1));
      await copyRest(this.path, this.#part(1));
      await truncate(this.path, 0);
      this.#rotations += 1;
      return true;
    });
  }

  /** All that is kept, oldest first, or its last lines; goes on while `follow` and not `isOver()`. */
  async *read(options: ReadLogOptions & { readonly isOver: () => boolean }): AsyncGenerator<Uint8Array> {
    const { signal } = options;
    const wakeUp = new WakeUp(this.#clock);
    let place = await this.#exclusive(() => this.#start(options.tailLines));
    // Kept open: what the container wrote last can be read even when the pod is being removed.
    const current = await open(this.path, 'r').catch(() => undefined);
    const watcher = options.follow
      ? watchPath(this.path, () => {
          wakeUp.wake();
        })
      : undefined;
    try {
      while (!signal.aborted) {
        // Asked before reading: what was written before the end is then surely read.
        const over = options.isOver();
        const step = await this.#exclusive(() => this.#readAt(place, current));
        place = step.next;
        if (step.chunk !== undefined) yield step.chunk;
        else if (step.atEnd && (over || !options.follow)) return;
        else if (step.atEnd) await wakeUp.wait(FOLLOW_POLL_MS, signal);
      }
    } finally {
      watcher?.close();
      await current?.close();
    }
  }

  async #start(tailLines: number | undefined): Promise<Place> {
    const parts: { part: number; sizeBytes: number }[] = [];
    for (let part = this.#limits.maxFiles - 1; part >= 0; part -= 1) {
      const sizeBytes = await sizeOf(this.#part(part));
      if (sizeBytes > 0 || part === 0) parts.push({ part, sizeBytes });
    }
    const from =
      tailLines === undefined
        ? { index: 0, offset: 0 }
        : await findTail(
            parts.map(({ part, sizeBytes }) => ({ path: this.#part(part), sizeBytes })),
            tailLines,
          );
    return { rotation: this.#rotations - (parts[from.index]?.part ?? 0), offset: from.offset };
  }

  async #readAt(
    place: Place,
    current: FileHandle | undefined,
  ): Promise<{ chunk?: Uint8Array; next: Place; atEnd: boolean }> {
    const part = this.#rotations - place.rotation;
    if (part >= this.#limits.maxFiles) {
      return { next: { rotation: this.#rotations - this.#limits.maxFiles + 1, offset: 0 }, atEnd: false };
    }
    const chunk = await (part === 0 ? readFrom(current, place.offset) : readChunk(this.#part(part), place.offset));
    if (chunk !== undefined) {
      return { chunk, next: { rotation: place.rotation, offset: place.offset + chunk.length }, atEnd: false };
    }
    if (part > 0) return { next: { rotation: place.rotation + 1, offset: 0 }, atEnd: false };
    return { next: place, atEnd: true };
  }

  #part(part: number): string {
    return part === 0 ? this.path : `${this.path}.${String(part)}`;
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#lock.then(work, work);
    this.#lock = result.catch(() => undefined);
    return result;
  }
}

/** Place in the output: how many rotations had been made when this part was the current file, and where in it. */
interface Place {
  readonly rotation: number;
  readonly offset: number;
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

async function readChunk(path: string, offset: number): Promise<Uint8Array | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return await readFrom(file, offset);
  } finally {
    await file.close();
  }
}

async function readFrom(file: FileHandle | undefined, offset: number): Promise<Uint8Array | undefined> {
  if (file === undefined) return undefined;
  const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, offset);
  return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
}

/** Appends to `to` what `from` has gained since it was copied, until it gains nothing more (or does not stop gaining). */
async function copyRest(from: string, to: string): Promise<void> {
  const target = await open(to, 'a');
  try {
    let offset = await sizeOf(to);
    for (let round = 0; round < MAX_CATCH_UP_ROUNDS; round += 1) {
      const chunk = await readChunk(from, offset);
      if (chunk === undefined) return;
      await target.appendFile(chunk);
      offset += chunk.length;
    }
  } finally {
    await target.close();
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}
