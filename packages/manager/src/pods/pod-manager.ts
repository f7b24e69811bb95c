import { isDeepStrictEqual } from 'node:util';
import { DevmgrError, type ObjectMeta, type Pod } from '@devmgr/core';
import type { ContainerRuntime } from '../container-runtime.ts';
import type {
  Clock,
  DeviceAdmission,
  EventSink,
  LeaseMessage,
  LeaseRequest,
  LeaseService,
  Logger,
  LogOptions,
  PodService,
  StateWriter,
  VersionCounter,
  WatchListener,
} from '../ports.ts';
import { LeaseManager } from './lease-manager.ts';
import { newPod } from './new-pod.ts';
import { readPodLogs } from './pod-logs.ts';
import { addPod, isLease, isTerminal, timestamp, uidOf, type PodServices } from './pod-services.ts';
import { PodStore } from './pod-store.ts';
import { PodWorker } from './pod-worker.ts';

export interface PodManagerOptions {
  readonly admission: DeviceAdmission;
  readonly runtime: ContainerRuntime;
  readonly store: StateWriter;
  readonly events: EventSink;
  readonly versions: VersionCounter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
}

/**
 * The pods and leases of this node.
 *
 * Invariants
 * - What `create`, `apply` and `remove` answered is on disk.
 * - Each pod has one worker from creation until its object is gone; pods never wait for one another here.
 * - A name belongs to a pod until its object is gone.
 */
export class PodManager implements PodService, LeaseService {
  readonly #services: PodServices;
  readonly #leases: LeaseManager;
  readonly #nodeName: string;
  readonly #workers = new Map<string, PodWorker>();
  readonly #stopListening: () => void;
  #stopped = false;

  constructor(options: PodManagerOptions) {
    const { versions, nodeName, ...rest } = options;
    this.#nodeName = nodeName;
    this.#services = {
      ...rest,
      pods: new PodStore({ versions, log: options.log }),
      devicesFreed: () => {
        this.#leases.devicesFreed();
      },
    };
    this.#leases = new LeaseManager({ services: this.#services, nodeName });
    this.#stopListening = options.admission.onHealthChange((podUid) => {
      this.#workers.get(podUid)?.healthChanged();
      this.#leases.healthChanged(podUid);
      this.#leases.devicesFreed();
    });
  }

  /** Takes up the pods of the manager before this one, and removes what unknown pods left behind. Call once, before anything else. */
  async restore(pods: readonly Pod[], options: { rebooted: boolean }): Promise<void> {
    const { runtime } = this.#services;
    await runtime.retainPods(new Set(pods.map(uidOf)));
    for (const recorded of pods) {
      const pod = this.#services.pods.put(recorded);
      if (isLease(pod)) {
        this.#leases.restore(pod, options);
        continue;
      }
      if (isTerminal(pod)) this.#keep(pod).launch();
      else this.#keep(pod).launch({ found: await runtime.recover(uidOf(pod)), rebooted: options.rebooted });
    }
  }

  async create(namespace: string, manifest: unknown): Promise<Pod> {
    this.#refuseWhenStopped();
    const pod = newPod(manifest, { namespace, nodeName: this.#nodeName, now: this.#services.clock.now() });
    return await this.#create(pod);
  }

  async apply(
    namespace: string,
    manifest: unknown,
  ): Promise<{ pod: Pod; outcome: 'created' | 'unchanged' | 'configured' }> {
    this.#refuseWhenStopped();
    const wanted = newPod(manifest, { namespace, nodeName: this.#nodeName, now: this.#services.clock.now() });
    const present = this.get(namespace, wanted.metadata.name);
    if (present === undefined) return { pod: await this.#create(wanted), outcome: 'created' };
    const name = `pod "${present.metadata.name}"`;
    if (present.metadata.deletionTimestamp !== undefined) {
      throw new DevmgrError('CONFLICT', `${name} is being deleted`, { remedy: 'Apply it again once it is gone.' });
    }
    if (isLease(present)) throw new DevmgrError('CONFLICT', `${name} is a lease of "devmgr run"`);
    if (!isDeepStrictEqual(present.spec, wanted.spec)) {
      throw new DevmgrError(
        'CONFLICT',
        `${name} exists with a different spec, and the spec of a pod cannot be changed`,
        {
          remedy: 'Delete the pod, then apply the manifest again.',
        },
      );
    }
    const { labels, annotations } = wanted.metadata;
    const changed = {
      ...(labels === undefined ? {} : { labels: { ...present.metadata.labels, ...labels } }),
      ...(annotations === undefined ? {} : { annotations: { ...present.metadata.annotations, ...annotations } }),
    };
    if (isDeepStrictEqual({ ...present.metadata, ...changed }, present.metadata)) {
      return { pod: present, outcome: 'unchanged' };
    }
    return { pod: await this.#amend(present, changed), outcome: 'configured' };
  }

  get(namespace: string, name: string): Pod | undefined {
    return this.#services.pods.find(namespace, name);
  }

  list(namespace?: string): readonly Pod[] {
    return this.#services.pods.list(namespace);
  }

  async remove(namespace: string, name: string, options: { gracePeriodSeconds?: number }): Promise<Pod> {
    this.#refuseWhenStopped();
    const pod = this.get(namespace, name);
    if (pod === undefined) throw notFound(name);
    const seconds = Math.max(0, options.gracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30);
    const before = pod.metadata.deletionGracePeriodSeconds;
    if (before !== undefined && before <= seconds) return pod;
    const marked = await this.#amend(pod, {
      deletionTimestamp: timestamp(this.#services.clock.now() + seconds * 1000),
      deletionGracePeriodSeconds: seconds,
    });
    if (isLease(marked)) this.#leases.remove(uidOf(marked), seconds * 1000);
    else this.#workers.get(uidOf(marked))?.remove(seconds * 1000);
    return marked;
  }

  watch(listener: WatchListener<Pod>): () => void {
    return this.#services.pods.watch(listener);
  }

  async *logs(namespace: string, name: string, options: LogOptions): AsyncGenerator<Uint8Array, void, undefined> {
    const pod = this.get(namespace, name);
    if (pod === undefined) throw notFound(name);
    yield* readPodLogs(this.#services, pod, options);
  }

  acquire(request: LeaseRequest, signal: AbortSignal): AsyncIterable<LeaseMessage> {
    this.#refuseWhenStopped();
    return this.#leases.acquire(request, signal);
  }

  attach(uid: string, process: { pid: number; startTime: number }): Promise<void> {
    return this.#leases.attach(uid, process);
  }

  end(uid: string, exitCode: number | undefined): Promise<void> {
    return this.#leases.end(uid, exitCode);
  }

  /** All pods, for a snapshot of the state. */
  snapshot(): readonly Pod[] {
    return this.#services.pods.snapshot();
  }

  /** True while a pod or lease may hold devices: anything held by a uid that is not active may be freed. */
  isActive(uid: string): boolean {
    return this.#workers.get(uid)?.isActive ?? this.#leases.isActive(uid);
  }

  /** `namespace/name` of a pod or lease; undefined when there is none of that uid. */
  nameOf(uid: string): string | undefined {
    const metadata = this.#services.pods.get(uid)?.metadata;
    return metadata === undefined ? undefined : `${metadata.namespace ?? 'default'}/${metadata.name}`;
  }

  /** Ends all work. Containers are ended unless `keepRunning`; the pods stay, for the next manager. Idempotent. */
  async stop({ keepRunning }: { keepRunning: boolean }): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopListening();
    const workers = [...this.#workers.values()];
    await Promise.all([
      this.#leases.stop(),
      ...workers.map((worker) => (keepRunning ? worker.detach() : worker.halt())),
    ]);
    await this.#services.runtime.close();
  }

  async #create(pod: Pod): Promise<Pod> {
    const created = await addPod(this.#services, pod);
    const worker = this.#keep(created);
    if (!this.#stopped) worker.launch();
    return created;
  }

  #amend(pod: Pod, change: Partial<ObjectMeta>): Promise<Pod> {
    const owner = isLease(pod) ? this.#leases : this.#workers.get(uidOf(pod));
    if (owner === undefined) return Promise.reject(notFound(pod.metadata.name));
    return owner instanceof LeaseManager ? owner.amend(uidOf(pod), change) : owner.amend(change);
  }

  #keep(pod: Pod): PodWorker {
    const uid = uidOf(pod);
    const worker = new PodWorker(this.#services, pod);
    this.#workers.set(uid, worker);
    void worker.done.then(() => {
      if (this.#services.pods.get(uid) === undefined) this.#workers.delete(uid);
    });
    return worker;
  }

  #refuseWhenStopped(): void {
    if (this.#stopped) throw new DevmgrError('CONFLICT', 'the manager is stopping');
  }
}

function notFound(name: string): DevmgrError {
  return new DevmgrError('NOT_FOUND', `pods "${name}" not found`);
}
