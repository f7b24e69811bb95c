import { randomBytes } from 'node:crypto';
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { readBootId } from '../boot-id.ts';
import { writeDurably } from '../durable-file.ts';
import { messageOf } from '../plugin-log.ts';
import type { PluginLog } from '../plugin-log.ts';

export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  /** Empty when unknown. */
  readonly uid: string;
}

/** A device that was handed out and not yet given back. */
export interface Grant {
  /** Milliseconds of Unix time. */
  readonly atMs: number;
  /** Who has it, once that was seen. */
  readonly pod?: PodRef | undefined;
}

/** A release that was begun and has not succeeded. */
export interface PendingRelease {
  readonly id: string;
  readonly deviceIds: readonly string[];
  readonly pod?: PodRef | undefined;
  /** `released` has succeeded: what is left is to reset these devices. */
  readonly toReset?: readonly string[] | undefined;
}

/** What outlives the process. */
interface LifeRecord {
  installed: { key: string; bootId: string | undefined } | undefined;
  /** The installer's process, so that a plugin that was killed can end what it left behind. */
  installer: { pid: number; startTime: string } | undefined;
  /** Device to the key under which its `init` succeeded. */
  initialized: Map<string, string>;
  grants: Map<string, Grant>;
  releases: Map<string, PendingRelease>;
  /** Ids of releases that succeeded, newest last: a manager that missed the answer asks again. */
  released: string[];
}

const MAX_REMEMBERED_RELEASES = 500;

/**
 * The state of a plugin's devices, in memory and, where there is a file, on disk.
 *
 * Invariants: a `save` that resolved wrote everything that was changed before it was called; writes follow one another;
 * the file is the whole old or the whole new state.
 */
export class LifeState implements LifeRecord {
  installed: LifeRecord['installed'];
  installer: LifeRecord['installer'];
  initialized = new Map<string, string>();
  grants = new Map<string, Grant>();
  releases = new Map<string, PendingRelease>();
  released: string[] = [];
  readonly path: string | undefined;
  /** What was loaded was saved since the machine started: containers of then may still run. */
  isOfThisBoot = false;
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  /** Without a directory nothing outlives the process. */
  constructor(dir: string | undefined, resource: string) {
    this.path = dir === undefined ? undefined : join(dir, `${resource.replaceAll('/', '_')}.json`);
  }

  /** Reads the file, if there is one. One that cannot be understood is set aside and said so in the log: better late devices than none. Rejects when it cannot be read. */
  async load(log: PluginLog): Promise<void> {
    if (this.path === undefined) return;
    const text = await readFile(this.path, 'utf8').catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (text === undefined) return;
    try {
      this.#take(JSON.parse(text) as Saved);
    } catch (error) {
      const aside = `${this.path}.unreadable-${randomBytes(3).toString('hex')}`;
      await rename(this.path, aside);
      log.error(
        { path: this.path, aside, cause: messageOf(error) },
        'the state of the devices cannot be read, starting without',
      );
    }
  }

  /** Makes everything changed so far durable. Rejects with the system's error; what was changed stays changed in memory. */
  save(): Promise<void> {
    const { path } = this;
    if (path === undefined) return Promise.resolve();
    // One write may serve many: those who ask while one is under way share the next.
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined;
      const written = writeDurably(path, this.#text(), 0o600);
      this.#writing = written.catch(() => undefined);
      return written;
    });
    return this.#next;
  }

  rememberReleased(id: string): void {
    this.released.push(id);
    if (this.released.length > MAX_REMEMBERED_RELEASES) this.released.shift();
  }

  #text(): string {
    const saved: Saved = {
      version: 1,
      bootId: readBootId(),
      installed: this.installed,
      installer: this.installer,
      initialized: [...this.initialized],
      grants: [...this.grants],
      releases: [...this.releases.values()],
      released: this.released,
    };
    return `${JSON.stringify(saved)}\n`;
  }

  #take(saved: Saved): void {
    if ((saved.version as number) !== 1) throw new Error(`unknown version ${String(saved.version)}`);
    const initialized = new Map(saved.initialized);
    const grants = new Map(saved.grants);
    const releases = new Map(saved.releases.map((release) => [release.id, release]));
    Object.assign(this, { initialized, grants, releases, released: [...saved.released] });
    this.isOfThisBoot = saved.bootId !== undefined && saved.bootId === readBootId();
    this.installed = saved.installed;
    // After a reboot its pid is somebody else's.
    this.installer = this.isOfThisBoot ? saved.installer : undefined;
  }
}

interface Saved {
  readonly version: 1;
  readonly bootId?: string | undefined;
  readonly installed?: LifeRecord['installed'];
  readonly installer?: LifeRecord['installer'];
  readonly initialized: readonly (readonly [string, string])[];
  readonly grants: readonly (readonly [string, Grant])[];
  readonly releases: readonly PendingRelease[];
  readonly released: readonly string[];
}
