import type { Pod } from '@devmgr/core';
import type { Logger, VersionCounter, WatchListener } from '../ports.ts';
import { namespaceOf, uidOf } from './pod-services.ts';

/**
 * The pods as they are now, in order of creation, and who wants to know of changes. Holds immutable objects: a change
 * is another object with another resourceVersion.
 */
export class PodStore {
  readonly #byUid = new Map<string, Pod>();
  readonly #uidByName = new Map<string, string>();
  /** Pods whose end is being written down: still there, but not to be written again. */
  readonly #hidden = new Set<string>();
  /** Pods whose first record is being written: not there yet, but not to be forgotten by a snapshot. */
  readonly #coming = new Map<string, Pod>();
  readonly #listeners = new Set<WatchListener<Pod>>();
  readonly #versions: VersionCounter;
  readonly #log: Logger;

  constructor(options: { versions: VersionCounter; log: Logger }) {
    this.#versions = options.versions;
    this.#log = options.log;
  }

  get(uid: string): Pod | undefined {
    return this.#byUid.get(uid);
  }

  find(namespace: string, name: string): Pod | undefined {
    return this.#byUid.get(this.#uidByName.get(`${namespace}/${name}`) ?? '');
  }

  list(namespace?: string): readonly Pod[] {
    const all = [...this.#byUid.values()];
    return namespace === undefined ? all : all.filter((pod) => namespaceOf(pod) === namespace);
  }

  /** What a snapshot of the state must contain. */
  snapshot(): readonly Pod[] {
    return [...this.#byUid.values(), ...this.#coming.values()].filter((pod) => !this.#hidden.has(uidOf(pod)));
  }

  /** Takes the name of a pod that is about to be created; false when it is taken. Ends with `put` or `cancel`. */
  reserve(pod: Pod): boolean {
    const key = nameKey(pod);
    if (this.#uidByName.has(key)) return false;
    this.#uidByName.set(key, uidOf(pod));
    this.#coming.set(uidOf(pod), pod);
    return true;
  }

  cancel(pod: Pod): void {
    if (!this.#coming.delete(uidOf(pod))) return;
    this.#uidByName.delete(nameKey(pod));
  }

  /** Leaves the pod out of snapshots from now on. */
  hide(uid: string): void {
    this.#hidden.add(uid);
  }

  /** Adds, or replaces the pod of the same uid. Listeners are told. */
  put(pod: Pod): Pod {
    const uid = uidOf(pod);
    const known = this.#byUid.has(uid);
    const stamped = this.#stamp(pod);
    this.#byUid.set(uid, stamped);
    this.#uidByName.set(nameKey(pod), uid);
    this.#coming.delete(uid);
    this.#tell({ type: known ? 'MODIFIED' : 'ADDED', object: stamped });
    return stamped;
  }

  delete(uid: string): void {
    const pod = this.#byUid.get(uid);
    if (pod === undefined) return;
    this.#byUid.delete(uid);
    this.#uidByName.delete(nameKey(pod));
    this.#hidden.delete(uid);
    this.#tell({ type: 'DELETED', object: this.#stamp(pod) });
  }

  watch(listener: WatchListener<Pod>): () => void {
    // A wrapper, so that the same function can listen twice.
    const own: WatchListener<Pod> = (event) => {
      listener(event);
    };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  #stamp(pod: Pod): Pod {
    return { ...pod, metadata: { ...pod.metadata, resourceVersion: this.#versions.next() } };
  }

  #tell(event: Parameters<WatchListener<Pod>>[0]): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error({ err: error }, 'A watcher of pods failed');
      }
    }
  }
}

function nameKey(pod: Pod): string {
  return `${namespaceOf(pod)}/${pod.metadata.name}`;
}
