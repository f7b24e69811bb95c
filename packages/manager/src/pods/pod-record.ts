import { DevmgrError, type ObjectMeta, type Pod } from '@devmgr/core';
import { tryAppend, uidOf, type PodServices } from './pod-services.ts';

/**
 * One pod's object, in memory and on disk.
 *
 * Invariants: records of the pod are written one after the other, each with what is true when its turn comes, so that
 * the last one on disk is never older than one that was answered for; status and metadata are changed apart, neither
 * undoes the other.
 */
export class PodRecord {
  readonly #services: PodServices;
  readonly #uid: string;
  #pod: Pod;
  #writing: Promise<unknown> = Promise.resolve();
  #queued = false;

  constructor(services: PodServices, pod: Pod) {
    this.#services = services;
    this.#uid = uidOf(pod);
    this.#pod = pod;
  }

  /** As it was last seen, even when it is gone by now. */
  get pod(): Pod {
    return this.#pod;
  }

  /** Changes the status; watchers are told, the disk is not. */
  setStatus(status: NonNullable<Pod['status']>): void {
    const current = this.#services.pods.get(this.#uid);
    if (current === undefined) return;
    this.#pod = this.#services.pods.put({ ...current, status });
  }

  /**
   * Ends the pod's story: the status is on disk before anybody sees it, so that no later manager tells another. When the
   * disk refuses it is shown all the same, with an event that says so; nobody may wait for a full disk.
   */
  async settle(status: NonNullable<Pod['status']>): Promise<void> {
    const { pods } = this.#services;
    this.#writing = this.#writing.then(async () => {
      const pod = pods.get(this.#uid);
      if (pod !== undefined) await tryAppend(this.#services, pod, { type: 'pod', pod: { ...pod, status } });
      this.setStatus(status);
    });
    await this.#writing;
  }

  /** Writes the pod soon: changes that pile up while the disk is busy become one record. A failure becomes an event. */
  write(): void {
    if (this.#queued) return;
    this.#queued = true;
    this.#writing = this.#writing.then(async () => {
      this.#queued = false;
      const pod = this.#services.pods.get(this.#uid);
      if (pod !== undefined) await tryAppend(this.#services, pod, { type: 'pod', pod });
    });
  }

  /** Resolves when everything asked for so far was written, or could not be. */
  async written(): Promise<void> {
    await this.#writing;
  }

  /**
   * Changes metadata: first on disk, then in memory. Rejects with STATE_WRITE_FAILED, nothing changed then, or with
   * NOT_FOUND when the pod went away meanwhile.
   */
  amend(change: Partial<ObjectMeta>): Promise<Pod> {
    const { pods, store } = this.#services;
    const current = (): Pod => {
      const pod = pods.get(this.#uid);
      if (pod === undefined) throw new DevmgrError('NOT_FOUND', `pods "${this.#pod.metadata.name}" not found`);
      return { ...pod, metadata: { ...pod.metadata, ...change } };
    };
    const amended = this.#writing.then(async () => {
      await store.append({ type: 'pod', pod: current() });
      this.#pod = pods.put(current());
      return this.#pod;
    });
    this.#writing = amended.catch(() => undefined);
    return amended;
  }
}
