import { stat } from 'node:fs/promises';
import { createClient, podresources } from '@devmgr/wire';
import { messageOf } from '../plugin-log.ts';
import type { PluginLog } from '../plugin-log.ts';
import { WakeUp } from '../wake-up.ts';
import type { LifeState, PodRef } from './life-state.ts';
import type { LifecycleLimits } from './lifecycle-spec.ts';

const LIST_TIMEOUT_MS = 5_000;
/** A pod shows right after its devices were allocated: one is looked for that often, for so long. */
const FRESH_POLL_MS = 250;
const FRESH_MS = 10_000;

/** `devmgr` says itself when devices are given back; a `kubelet` does not. Undefined: nobody knows yet. */
export type ManagerKind = 'devmgr' | 'kubelet' | undefined;

interface HolderOptions {
  readonly resource: string;
  readonly podResourcesSocket: string;
  /** The manager's registration socket; its age is the manager's. */
  readonly managerSocket: string;
  readonly limits: LifecycleLimits;
  readonly state: LifeState;
  readonly signal: AbortSignal;
  readonly log: PluginLog;
  readonly manager: () => ManagerKind;
  /** Devices that a kubelet took back from a pod. Rejects when that could not be made durable. */
  readonly onGone: (deviceIds: readonly string[], pod: PodRef | undefined) => Promise<void>;
}

/**
 * Keeps the book of who holds the devices, by asking PodResources: Allocate tells who gets one, nobody tells who gives
 * it back.
 *
 * Invariants: a device counts as given back only when it was seen with a pod since it was allocated, when a look that
 * began after that does not show it, and when the manager is up long enough to know its pods. One that was never seen
 * may be an init container's, which PodResources does not show, or its pod may be only coming: it is left alone.
 */
export class HolderWatch {
  readonly #options: HolderOptions;
  readonly #wakeUp = new WakeUp();
  /** Devices seen with a pod since they were allocated. */
  readonly #seen = new Set<string>();
  #problem: string | undefined;
  #looking: Promise<unknown> = Promise.resolve();
  #next: Promise<ReadonlyMap<string, PodRef> | undefined> | undefined;
  #hasLooked = false;

  constructor(options: HolderOptions) {
    this.#options = options;
    for (const [id, { pod }] of options.state.grants) if (pod !== undefined) this.#seen.add(id);
  }

  /** Looks now and then, while there is anything to look after, until the signal aborts. Never rejects. */
  async run(): Promise<void> {
    const { signal, state } = this.#options;
    signal.addEventListener('abort', () => {
      this.#wakeUp.hint();
    });
    while (!signal.aborted) {
      this.#wakeUp.clear();
      if (state.grants.size > 0 || !this.#hasLooked) await this.refresh();
      if (!isAborted(signal)) await this.#wakeUp.sleep(this.#pauseMs());
    }
  }

  #pauseMs(): number {
    const { state, limits } = this.#options;
    const since = Date.now() - FRESH_MS;
    const isFresh = [...state.grants].some(([id, { atMs }]) => atMs > since && !this.#seen.has(id));
    return isFresh ? Math.min(FRESH_POLL_MS, limits.holderPollMs) : limits.holderPollMs;
  }

  /** Notes that a device was allocated just now. */
  granted(id: string): void {
    this.#seen.delete(id);
    this.#wakeUp.hint();
  }

  /** Looks now. The answer is who holds which device; undefined when that could not be learnt. Never rejects. */
  refresh(): Promise<ReadonlyMap<string, PodRef> | undefined> {
    // A look under way began too early for whoever asks now; all who ask meanwhile share the next.
    this.#next ??= this.#looking.then(() => {
      this.#next = undefined;
      const looking = this.#look();
      this.#looking = looking;
      return looking;
    });
    return this.#next;
  }

  async #look(): Promise<ReadonlyMap<string, PodRef> | undefined> {
    const { log, resource } = this.#options;
    const startedAtMs = Date.now();
    try {
      const held = await this.#list();
      this.#hasLooked = true;
      this.#problem = undefined;
      await this.#compare(held, startedAtMs);
      return held;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem) log.warn({ resource, cause: problem }, 'who holds the devices cannot be learnt');
      this.#problem = problem;
      return undefined;
    }
  }

  async #list(): Promise<Map<string, PodRef>> {
    const { resource, podResourcesSocket, signal } = this.#options;
    const client = createClient(podresources.PodResourcesListerService, podResourcesSocket);
    try {
      const { podResources } = await client.list({}, { timeoutMs: LIST_TIMEOUT_MS, signal });
      const held = new Map<string, PodRef>();
      for (const { namespace, name, containers } of podResources) {
        for (const { resourceName, deviceIds } of containers.flatMap(({ devices }) => devices)) {
          if (resourceName !== resource) continue;
          for (const id of deviceIds) held.set(id, { namespace, name, uid: '' });
        }
      }
      return held;
    } finally {
      client.close();
    }
  }

  async #compare(held: ReadonlyMap<string, PodRef>, startedAtMs: number): Promise<void> {
    const { state, manager, onGone } = this.#options;
    let changed = false;
    const releasing = new Set([...state.releases.values()].flatMap(({ deviceIds }) => deviceIds));
    for (const [id, pod] of held) {
      const grant = state.grants.get(id);
      // Its release runs already: this is the manager's last word of before.
      if (releasing.has(id)) continue;
      this.#seen.add(id);
      if (grant?.pod?.namespace === pod.namespace && grant.pod.name === pod.name) continue;
      state.grants.set(id, { atMs: grant?.atMs ?? startedAtMs, pod });
      changed = true;
    }
    if (changed) await state.save();
    const kind = manager();
    if (kind === undefined || !(await this.#isManagerSettled())) return;
    const gone = new Map<string, { ids: string[]; pod: PodRef | undefined }>();
    for (const [id, { atMs, pod }] of [...state.grants]) {
      if (held.has(id) || !this.#seen.has(id) || atMs >= startedAtMs) continue;
      // devmgr calls Released when it comes to that; all there is to do here is to keep no stale grants.
      if (kind === 'devmgr') state.grants.delete(id);
      const key = `${pod?.namespace ?? ''}/${pod?.name ?? ''}`;
      const group = gone.get(key) ?? { ids: [], pod };
      group.ids.push(id);
      gone.set(key, group);
    }
    if (kind === 'devmgr') {
      if (gone.size > 0) await state.save();
    } else {
      for (const { ids, pod } of gone.values()) await onGone(ids, pod);
    }
  }

  async #isManagerSettled(): Promise<boolean> {
    const found = await stat(this.#options.managerSocket).catch(() => undefined);
    return found !== undefined && Date.now() - found.mtimeMs >= this.#options.limits.settleMs;
  }
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
