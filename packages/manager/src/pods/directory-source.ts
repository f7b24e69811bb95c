import { createHash } from 'node:crypto';
import { statSync, watch, type FSWatcher } from 'node:fs';
import { mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError, type Pod } from '@devmgr/core';
import type { Clock, EventSink, Logger, PodService } from '../ports.ts';
import { isAborted, WakeUp } from '../wake-up.ts';
import { parseManifests, type Manifest } from './manifest-parser.ts';

/** How often the directory is read when the system does not tell of changes. (kubelet: fileCheckFrequency) */
const RESCAN_MS = 20_000;
/** The same while the directory is missing, when nothing can be watched. */
const RESCAN_MISSING_MS = 1000;
/** Editors and `kubectl`-like tools write in several steps: look once they are done. */
const SETTLE_MS = 100;
/** Far more than a Pod needs; what is larger was put here by mistake. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** As on the kubelet's static pods. */
const SOURCE_ANNOTATION = 'kubernetes.io/config.source';
const HASH_ANNOTATION = 'kubernetes.io/config.hash';
/** Which directory the pod comes from, so that another directory's pods are left alone. */
const DIRECTORY_ANNOTATION = 'devmgr.io/manifest-dir';
const FILE_ANNOTATION = 'devmgr.io/manifest-file';

export interface DirectorySourceOptions {
  /** Created when missing. */
  readonly dir: string;
  readonly pods: Pick<PodService, 'create' | 'remove' | 'list' | 'get' | 'watch'>;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Logger;
  /** The object that events about files are of. */
  readonly nodeName: string;
}

interface WantedPod {
  readonly namespace: string;
  readonly name: string;
  readonly hash: string;
  readonly manifest: Record<string, unknown>;
  readonly file: string;
}

/**
 * Keeps the pods that the files of a directory describe: a new file's pods are created, a removed one's deleted, a
 * changed one's deleted and created anew, since the spec of a pod cannot change. A pod that somebody deletes while its
 * file is there comes back. (kubelet: static pods)
 *
 * Invariants: only pods that carry this directory's annotations are ever deleted; while a file cannot be used, the pods
 * that came from it stay; scans never overlap.
 */
export class DirectorySource {
  readonly #options: DirectorySourceOptions;
  readonly #wakeUp: WakeUp;
  readonly #closing = new AbortController();
  /** What the last scan had to say about a file, so that it is reported once. */
  #complaints: ReadonlyMap<string, string> = new Map();
  /** The same for the scan that runs now. */
  #found = new Map<string, string>();
  /** `namespace/name` to the file that described the pod last: the annotation is of the day it was created. */
  readonly #fileOfPod = new Map<string, string>();
  #watcher: FSWatcher | undefined;
  #watchedInode: number | undefined;
  #stopWatchingPods: () => void = () => undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: DirectorySourceOptions) {
    this.#options = options;
    this.#wakeUp = new WakeUp(options.clock);
  }

  /** Resolves after the first scan. Rejects when the directory cannot be made. */
  async start(): Promise<void> {
    const { dir, pods } = this.#options;
    try {
      await mkdir(dir, { recursive: true });
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      throw new DevmgrError('CONFIG_INVALID', `manifest directory ${dir} cannot be used: ${cause}`, { cause: error });
    }
    this.#stopWatchingPods = pods.watch(({ type, object }) => {
      if (type === 'DELETED' && this.#isOurs(object)) this.#wakeUp.wake();
    });
    await this.#scan();
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#stopWatchingPods();
    this.#watcher?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const { clock, log } = this.#options;
    const settled = new WakeUp(clock);
    while (!signal.aborted) {
      await this.#wakeUp.wait(this.#watchedInode === undefined ? RESCAN_MISSING_MS : RESCAN_MS, signal);
      await settled.wait(SETTLE_MS, signal);
      if (isAborted(signal)) return;
      await this.#scan().catch((error: unknown) => {
        log.error({ dir: this.#options.dir, err: error }, 'The manifest directory could not be scanned');
      });
    }
  }

  async #scan(): Promise<void> {
    // Armed before reading: what changes meanwhile is seen by one or the other.
    this.#watch();
    this.#found = new Map();
    try {
      await this.#follow();
    } finally {
      this.#complaints = this.#found;
    }
  }

  async #follow(): Promise<void> {
    const { dir } = this.#options;
    let names: string[];
    try {
      names = (await readdir(dir)).filter(isManifestName).sort();
    } catch (error) {
      this.#complain('', `manifest directory ${dir} cannot be read: ${messageOf(error)}`);
      return;
    }
    const wanted = new Map<string, WantedPod>();
    const unusable = new Set<string>();
    for (const file of names) {
      const found = await this.#read(file);
      if (found === undefined) unusable.add(file);
      for (const pod of found ?? []) {
        const key = `${pod.namespace}/${pod.name}`;
        const other = wanted.get(key);
        if (other === undefined) wanted.set(key, pod);
        else this.#complain(file, `${join(dir, file)}: pod "${key}" is described in ${other.file} as well`);
      }
    }
    await this.#removeUnwanted(wanted, unusable);
    for (const pod of wanted.values()) await this.#create(pod);
    for (const [key, { file }] of wanted) this.#fileOfPod.set(key, file);
  }

  /** Undefined when the file cannot be used. */
  async #read(file: string): Promise<WantedPod[] | undefined> {
    const path = join(this.#options.dir, file);
    try {
      const text = await readLimited(path);
      if (text === undefined) return [];
      // Or its writer is not done yet: not a reason to delete what it described.
      if (text.trim() === '') throw new Error(`${path}: is empty`);
      const parsed = parseManifests(text, path);
      if (!parsed.ok) throw new Error(parsed.errors.map(({ message }) => message).join('; '));
      return parsed.manifests.map((manifest) => this.#wantedPod(manifest, file));
    } catch (error) {
      this.#complain(file, error instanceof Error && 'code' in error ? `${path}: ${error.message}` : messageOf(error));
      return undefined;
    }
  }

  #wantedPod({ kind, object, place }: Manifest, file: string): WantedPod {
    if (kind !== 'Pod') throw new Error(`${place}: kind ${kind} is not supported here, only Pod`);
    const metadata = isObject(object['metadata']) ? object['metadata'] : {};
    const { name, namespace, annotations } = metadata;
    if (typeof name !== 'string' || name === '') throw new Error(`${place}: metadata.name must be set`);
    if (!isAbsent(namespace) && typeof namespace !== 'string')
      throw new Error(`${place}: metadata.namespace must be a string`);
    if (!isAbsent(annotations) && !isObject(annotations))
      throw new Error(`${place}: metadata.annotations must be an object`);
    const inNamespace = typeof namespace === 'string' && namespace !== '' ? namespace : 'default';
    const hash = createHash('sha256').update(JSON.stringify(object)).digest('hex').slice(0, 32);
    const marked = {
      ...object,
      metadata: {
        ...metadata,
        namespace: inNamespace,
        annotations: {
          ...(isObject(annotations) ? annotations : {}),
          [SOURCE_ANNOTATION]: 'file',
          [HASH_ANNOTATION]: hash,
          [DIRECTORY_ANNOTATION]: this.#options.dir,
          [FILE_ANNOTATION]: file,
        },
      },
    };
    return { namespace: inNamespace, name, hash, manifest: marked, file };
  }

  async #removeUnwanted(wanted: ReadonlyMap<string, WantedPod>, unusable: ReadonlySet<string>): Promise<void> {
    const { pods, log } = this.#options;
    for (const pod of pods.list().filter((candidate) => this.#isOurs(candidate))) {
      const { name, namespace = 'default', deletionTimestamp, annotations } = pod.metadata;
      const key = `${namespace}/${name}`;
      const now = wanted.get(key);
      const file = this.#fileOfPod.get(key) ?? annotations?.[FILE_ANNOTATION] ?? '';
      if (now === undefined ? unusable.has(file) : now.hash === annotations?.[HASH_ANNOTATION]) continue;
      if (now === undefined) this.#fileOfPod.delete(key);
      if (deletionTimestamp !== undefined) continue;
      log.info({ pod: name, namespace }, 'The manifest of a pod was removed or changed');
      await pods.remove(namespace, name, {}).catch((error: unknown) => {
        log.warn({ pod: name, namespace, err: error }, 'A pod of the manifest directory could not be deleted');
      });
    }
  }

  async #create(wanted: WantedPod): Promise<void> {
    const { pods } = this.#options;
    const { namespace, name, file } = wanted;
    const place = join(this.#options.dir, file);
    const present = pods.get(namespace, name);
    if (present !== undefined) {
      // Its deletion, once done, wakes the next scan.
      if (this.#isOurs(present)) return;
      this.#complain(file, `${place}: pod "${namespace}/${name}" exists already and does not come from this directory`);
      return;
    }
    try {
      await pods.create(namespace, wanted.manifest);
    } catch (error) {
      this.#complain(file, `${place}: ${messageOf(error)}`);
    }
  }

  #isOurs(pod: Pod): boolean {
    const { annotations } = pod.metadata;
    return annotations?.[SOURCE_ANNOTATION] === 'file' && annotations[DIRECTORY_ANNOTATION] === this.#options.dir;
  }

  /** One event and one log line per file and text, until the file is good again. */
  #complain(file: string, message: string): void {
    if (this.#found.has(file)) return;
    this.#found.set(file, message);
    if (this.#complaints.get(file) === message) return;
    this.#options.log.warn({ file, err: message }, 'A manifest cannot be used');
    this.#options.events.record({ kind: 'Node', name: this.#options.nodeName }, 'Warning', 'ManifestInvalid', message);
  }

  /** Watching is a hint. A directory that was replaced is another one: the old watcher would stay silent. */
  #watch(): void {
    const { dir } = this.#options;
    const inode = statSync(dir, { throwIfNoEntry: false })?.ino;
    if (this.#watcher !== undefined && inode === this.#watchedInode) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watchedInode = inode;
    if (inode === undefined) return;
    try {
      this.#watcher = watch(dir, { persistent: false }, () => {
        this.#wakeUp.wake();
      });
      this.#watcher.on('error', () => {
        this.#watchedInode = undefined;
      });
    } catch {
      this.#watchedInode = undefined;
    }
  }
}

/** Dot files and what editors leave behind are not manifests, nor is anything without a known ending. */
function isManifestName(name: string): boolean {
  return !/^[.#]/.test(name) && /\.(?:yaml|yml|json)$/.test(name);
}

/** Undefined when it is not a file, or went away meanwhile. */
async function readLimited(path: string): Promise<string | undefined> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) return undefined;
  if (stat.size > MAX_FILE_BYTES) {
    throw new Error(`${path}: has ${String(stat.size)} bytes; manifests may have ${String(MAX_FILE_BYTES)}`);
  }
  const file = await open(path, 'r');
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
