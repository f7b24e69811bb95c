import { isDeepStrictEqual } from 'node:util';
import type { ContainerStatus, ObjectMeta, Pod, PodStatus } from '@devmgr/core';
import type { AdmissionResult, EventReason, WaitingForDevices } from '../ports.ts';
import { gracePeriodMs, PodContainers, type PodPast } from './pod-containers.ts';
import { PodRecord } from './pod-record.ts';
import {
  isTerminal,
  podReference,
  releaseDevices,
  retryUntil,
  timestamp,
  tryAppend,
  uidOf,
  withDeviceHealth,
  type PodServices,
} from './pod-services.ts';
import { podStatus, unseenEnd, withCondition, type ConditionChange, type PodView } from './pod-status.ts';

/** Why a pod's work was interrupted. `halt` ends its containers and keeps the pod, `detach` leaves them running too. */
type Interruption = 'remove' | 'halt' | 'detach';

/**
 * One pod from admission to its end. Everything that happens to it happens here, in one line of thought; other pods
 * have their own.
 *
 * Invariants
 * - Containers start only after admission said yes, and devices are given back only after the last process is gone and,
 *   for a pod that ended by itself, after its end was written down (or the disk refused to).
 * - `status.startTime` marks an admitted pod, in memory and on disk.
 * - A terminal pod stays what it is until it is removed.
 */
export class PodWorker {
  /** Resolves when nothing is left to do: removed, halted or detached. */
  readonly done: Promise<void>;
  readonly #services: PodServices;
  readonly #uid: string;
  readonly #record: PodRecord;
  readonly #quit = new AbortController();
  /** Ends retries of durable writes when the manager stops. */
  readonly #giveUp = new AbortController();
  #interruption: Interruption | undefined;
  #graceMs: number | undefined;
  #stopping = false;
  #containers: PodContainers | undefined;
  #released = false;
  #start: (past: PodPast | undefined) => void = () => undefined;

  constructor(services: PodServices, pod: Pod) {
    this.#services = services;
    this.#uid = uidOf(pod);
    this.#record = new PodRecord(services, pod);
    this.done = new Promise<PodPast | undefined>((resolve) => {
      this.#start = resolve;
    })
      .then((past) => this.#live(past))
      .catch((error: unknown) => {
        services.log.error({ pod: pod.metadata.name, podUid: this.#uid, err: error }, 'Keeping a pod failed');
      });
  }

  get #pod(): Pod {
    return this.#record.pod;
  }

  /** False once nothing of it runs and its devices are free. */
  get isActive(): boolean {
    return !this.#released;
  }

  /** Begins; `past` for a pod from before a restart of the manager. */
  launch(past?: PodPast): void {
    if (this.#pod.metadata.deletionTimestamp !== undefined) {
      const remainingMs = Date.parse(this.#pod.metadata.deletionTimestamp) - this.#services.clock.now();
      this.remove(Math.max(0, remainingMs));
    }
    this.#start(past);
  }

  /** Changes the pod's metadata, durably; see {@link PodRecord.amend}. */
  amend(change: Partial<ObjectMeta>): Promise<Pod> {
    return this.#record.amend(change);
  }

  /** The pod was marked as deleted: ends it within `graceMs`. A later call can only shorten that. */
  remove(graceMs: number): void {
    if (this.#interruption === undefined) this.#interruption = 'remove';
    this.#quit.abort();
    this.#graceMs = Math.min(this.#graceMs ?? graceMs, graceMs);
    if (this.#stopping) void this.#containers?.stop(this.#graceMs);
  }

  /** Ends the containers; the pod goes on with the next manager as its restart policy says. */
  async halt(): Promise<void> {
    this.#interruption ??= 'halt';
    this.#quit.abort();
    this.#giveUp.abort();
    await this.done;
  }

  /** Leaves everything as it is; the next manager finds the containers running. */
  async detach(): Promise<void> {
    this.#interruption = 'detach';
    this.#containers?.detach();
    this.#quit.abort();
    this.#giveUp.abort();
    await this.done;
  }

  /** The health of devices that the pod holds has changed. */
  healthChanged(): void {
    if (this.#containers !== undefined && !this.#released) this.#publish('passing');
  }

  async #live(past: PodPast | undefined): Promise<void> {
    if (!isTerminal(this.#pod)) await this.#work(past);
    if (isTerminal(this.#pod)) await this.#release();
    await aborted(this.#quit.signal);
    if (this.#interruption === 'detach') {
      await this.#record.written();
      return;
    }
    this.#stopping = true;
    await this.#containers?.stop(this.#graceMs ?? gracePeriodMs(this.#pod));
    await this.#record.written();
    if (this.#interruption === 'remove') await this.#forget();
  }

  async #work(past: PodPast | undefined): Promise<void> {
    const { signal } = this.#quit;
    const rebooted = this.#mustStartAnew(past);
    const admitted = this.#pod.status?.startTime !== undefined;
    if (!admitted) {
      if (signal.aborted) return;
      const result = await this.#admit();
      if (result === undefined) return;
      if (!result.ok) {
        await this.#refuse(result.reason, result.message);
        return;
      }
    }
    this.#containers = new PodContainers({
      services: this.#services,
      pod: () => this.#pod,
      changed: (weight) => {
        this.#publish(weight);
      },
    });
    if (!admitted) {
      this.#setAdmitted();
      // The mark is on disk before the first container: containers without it tell of an admission cut short.
      await this.#record.written();
    }
    const final = await Promise.race([
      this.#containers.run(past === undefined ? past : { found: past.found, rebooted }, signal),
      aborted(signal),
    ]);
    if (final === undefined) return;
    const status = this.#statusNow(final);
    if (status !== undefined) await this.#record.settle(status);
  }

  /**
   * After a reboot the pod is admitted again, as the kubelet does: its plugins may not be back, its devices may be gone.
   * It loses the mark of an admitted pod first, so that a manager which does not get that far leaves word of it: a pod
   * that has containers and no mark is one of those.
   */
  #mustStartAnew(past: PodPast | undefined): boolean {
    const { startTime, ...unmarked } = this.#pod.status ?? { phase: 'Pending' };
    const found = past?.found ?? [];
    if (startTime === undefined) return found.length > 0 && found.every(({ state }) => state !== 'running');
    if (past?.rebooted !== true) return false;
    this.#record.setStatus(unmarked);
    this.#record.write();
    return true;
  }

  /** Undefined when interrupted; nothing is held then. */
  async #admit(): Promise<AdmissionResult | undefined> {
    const { admission } = this.#services;
    try {
      const result = await admission.admit(this.#pod, {
        signal: this.#quit.signal,
        onWaiting: (waiting) => {
          this.#showWaiting(waiting);
        },
      });
      if (!this.#quit.signal.aborted) return result;
      // Decided in the moment of the interruption: whoever interrupted does not count on it. A pod that stays is
      // admitted again by the next manager, which finds what it holds.
      return undefined;
    } catch (error) {
      if (this.#quit.signal.aborted) return undefined;
      return {
        ok: false,
        reason: 'UnexpectedAdmissionError',
        message: error instanceof Error ? error.message : String(error),
      };
    }
  }

  #showWaiting(waiting: WaitingForDevices): void {
    const condition = { type: 'DevicesReady', status: 'False', reason: waiting.reason } as const;
    this.#setStatus({ conditions: this.#condition({ ...condition, message: waiting.message }) });
    this.#services.events.record(podReference(this.#pod), 'Normal', waiting.reason, waiting.message);
  }

  #setAdmitted(): void {
    this.#setStatus({
      startTime: timestamp(this.#services.clock.now()),
      conditions: this.#condition({ type: 'DevicesReady', status: 'True' }),
    });
    this.#publish('durable');
  }

  async #refuse(reason: string, message: string): Promise<void> {
    const text = `Pod was rejected: ${message}`;
    const now = timestamp(this.#services.clock.now());
    const { initContainerStatuses, containerStatuses } = this.#pod.status ?? {};
    const status: PodStatus = {
      ...this.#pod.status,
      phase: 'Failed',
      reason,
      message: text,
      // After a reboot they may be on record as running.
      ...(initContainerStatuses === undefined
        ? {}
        : { initContainerStatuses: initContainerStatuses.map((status) => unseenEnd(status, now)) }),
      ...(containerStatuses === undefined
        ? {}
        : { containerStatuses: containerStatuses.map((status) => unseenEnd(status, now)) }),
      conditions: this.#condition({ type: 'DevicesReady', status: 'False', reason, message }),
    };
    await this.#record.settle(status);
    // The event carries the admission's own reason, which is not from the list of ours. (kubelet: admission rejection)
    this.#services.events.record(podReference(this.#pod), 'Warning', reason as EventReason, message);
  }

  async #release(): Promise<void> {
    if (await releaseDevices(this.#services, this.#pod, this.#giveUp.signal)) this.#released = true;
  }

  /** The last step of a deletion. */
  async #forget(): Promise<void> {
    const { runtime, pods, log } = this.#services;
    if (!this.#released) await this.#release();
    if (!this.#released) return;
    await runtime.removePod(this.#uid).catch((error: unknown) => {
      log.warn({ podUid: this.#uid, err: error }, 'The files of a pod could not be removed');
    });
    pods.hide(this.#uid);
    const record = { type: 'pod-deleted', podUid: this.#uid } as const;
    if (await retryUntil(this.#services, this.#giveUp.signal, () => tryAppend(this.#services, this.#pod, record))) {
      pods.delete(this.#uid);
    }
  }

  #condition(change: ConditionChange): NonNullable<PodStatus['conditions']> {
    return withCondition(this.#pod.status?.conditions ?? [], change, timestamp(this.#services.clock.now()));
  }

  #setStatus(change: Partial<PodStatus>): void {
    this.#record.setStatus({ phase: 'Pending', ...this.#pod.status, ...change });
  }

  /** Makes the status from what the containers do now; tells watchers when it differs from before. */
  #publish(weight: 'durable' | 'passing'): void {
    const status = this.#statusNow();
    if (status === undefined) return;
    const phaseChanged = status.phase !== this.#pod.status?.phase;
    this.#record.setStatus(status);
    if (weight === 'durable' || phaseChanged) this.#record.write();
  }

  /** The status made from what the containers do now; undefined when it is the one that everybody knows. */
  #statusNow(final?: 'Succeeded' | 'Failed'): PodStatus | undefined {
    if (this.#containers === undefined || isTerminal(this.#pod)) return undefined;
    const view = this.#containers.view();
    const { admission } = this.#services;
    const withHealth = (status: ContainerStatus): ContainerStatus => withDeviceHealth(status, this.#uid, admission);
    const whole: PodView = {
      init: view.init.map(({ status, sidecar }) => ({ status: withHealth(status), sidecar })),
      apps: view.apps.map(withHealth),
      ...(final === undefined ? {} : { final }),
    };
    const status = podStatus(this.#pod.status, whole, timestamp(this.#services.clock.now()));
    return isDeepStrictEqual(status, this.#pod.status) ? undefined : status;
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else
      signal.addEventListener(
        'abort',
        () => {
          resolve(undefined);
        },
        { once: true },
      );
  });
}
