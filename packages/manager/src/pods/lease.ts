import { DevmgrError, type ContainerState, type ContainerStatus, type ObjectMeta, type Pod } from '@devmgr/core';
import type { AdmissionResult, ContainerOptions, WaitingForDevices } from '../ports.ts';
import { isAlive, signalProcess, type ProcessIdentity } from '../process-identity.ts';
import { sleep, WakeUp } from '../wake-up.ts';
import { PodRecord } from './pod-record.ts';
import {
  podReference,
  releaseDevices,
  retryUntil,
  timestamp,
  tryAppend,
  uidOf,
  withDeviceHealth,
  type PodServices,
} from './pod-services.ts';
import { podStatus, withCondition } from './pod-status.ts';

/** Identity of the process that uses the lease, as annotations, so that it is on disk with the pod. */
export const PID_ANNOTATION = 'devmgr.io/lease-pid';
export const START_TIME_ANNOTATION = 'devmgr.io/lease-start-time';

const PROCESS_POLL_MS = 1000;

/**
 * Devices on loan to one process that is not ours.
 *
 * Invariants: devices are given back only when the process is known to be gone, or was never named, or its owner said
 * that it is over; `finish` does its work once, whoever asks for it.
 */
export class Lease {
  readonly #services: PodServices;
  readonly #record: PodRecord;
  readonly #uid: string;
  readonly #over = new AbortController();
  /** Ends watching and retries when the manager stops. */
  readonly #quit = new AbortController();
  readonly #wakeUp: WakeUp;
  #process: ProcessIdentity | undefined;
  #finished: Promise<void> | undefined;
  #released = false;

  constructor(services: PodServices, pod: Pod) {
    this.#services = services;
    this.#record = new PodRecord(services, pod);
    this.#uid = uidOf(pod);
    this.#wakeUp = new WakeUp(services.clock);
  }

  get pod(): Pod {
    return this.#record.pod;
  }

  get isActive(): boolean {
    return !this.#released;
  }

  get isAttached(): boolean {
    return this.#process !== undefined;
  }

  /** Aborts when the lease is over or is being ended. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** One try to get the devices. Rejects when `signal` aborts. */
  async admit(
    signal: AbortSignal,
    onWaiting: (waiting: WaitingForDevices) => void,
    impatient: boolean,
  ): Promise<AdmissionResult> {
    const either = AbortSignal.any([signal, this.#over.signal]);
    const result = await this.#services.admission.admit(this.pod, { signal: either, onWaiting, impatient });
    either.throwIfAborted();
    return result;
  }

  /** After a successful admission: PreStartContainer and what the plugins answered. Shows the lease as running, durably. */
  async grant(signal: AbortSignal): Promise<ContainerOptions> {
    const either = AbortSignal.any([signal, this.#over.signal]);
    const { admission, clock } = this.#services;
    const options = await admission.prepareStart(this.pod, this.#containerName, either);
    either.throwIfAborted();
    const now = timestamp(clock.now());
    const conditions = withCondition(this.pod.status?.conditions ?? [], { type: 'DevicesReady', status: 'True' }, now);
    this.#record.setStatus({ phase: 'Pending', ...this.pod.status, startTime: now, conditions });
    this.#publish({ running: { startedAt: now } });
    this.#record.write();
    await this.#record.written();
    either.throwIfAborted();
    return options;
  }

  showWaiting(reason: WaitingForDevices['reason'] | 'WaitingForDevices', message: string): void {
    const { clock, events } = this.#services;
    const change = { type: 'DevicesReady', status: 'False', reason, message } as const;
    const conditions = withCondition(this.pod.status?.conditions ?? [], change, timestamp(clock.now()));
    this.#record.setStatus({ phase: 'Pending', ...this.pod.status, conditions });
    if (reason !== 'WaitingForDevices') events.record(podReference(this.pod), 'Normal', reason, message);
  }

  /** Names the process, durably, and ends the lease when it is gone. Rejects with CONFLICT when it does not run or another one was named. */
  async attach(identity: ProcessIdentity): Promise<void> {
    const { name } = this.pod.metadata;
    if (this.#process !== undefined || this.#over.signal.aborted) {
      throw new DevmgrError('CONFLICT', `lease "${name}" is over or in use by another process`);
    }
    if (!isAlive(identity)) {
      throw new DevmgrError('CONFLICT', `there is no process ${String(identity.pid)} with that start time`);
    }
    this.#process = identity;
    try {
      const annotations = {
        ...this.pod.metadata.annotations,
        [PID_ANNOTATION]: String(identity.pid),
        [START_TIME_ANNOTATION]: String(identity.startTime),
      };
      await this.#record.amend({ annotations });
    } catch (error) {
      this.#process = undefined;
      throw error;
    }
    void this.#watchProcess(identity);
  }

  /** After a restart of the manager: goes on with the process on record, or ends the lease when there is none. */
  restore(rebooted: boolean): void {
    const { annotations, deletionTimestamp } = this.pod.metadata;
    const identity = {
      pid: Number(annotations?.[PID_ANNOTATION]),
      startTime: Number(annotations?.[START_TIME_ANNOTATION]),
    };
    if (rebooted || !Number.isInteger(identity.pid) || !isAlive(identity)) {
      void this.finish(undefined);
      return;
    }
    this.#process = identity;
    void this.#watchProcess(identity);
    if (deletionTimestamp !== undefined) {
      void this.remove(Math.max(0, Date.parse(deletionTimestamp) - this.#services.clock.now()));
    }
  }

  amend(change: Partial<ObjectMeta>): Promise<Pod> {
    return this.#record.amend(change);
  }

  /** The pod was marked as deleted: its process is asked to end, then killed, then the lease is over. */
  async remove(graceMs: number): Promise<void> {
    const identity = this.#process;
    if (identity !== undefined && isAlive(identity)) {
      this.#services.events.record(podReference(this.pod), 'Normal', 'Killing', 'Stopping the process of the lease');
      signalProcess(identity, graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
      const killAtMs = this.#services.clock.monotonicMs() + graceMs;
      while (isAlive(identity) && !this.#quit.signal.aborted) {
        const remainingMs = killAtMs - this.#services.clock.monotonicMs();
        if (remainingMs <= 0) signalProcess(identity, 'SIGKILL');
        await sleep(this.#services.clock, Math.min(PROCESS_POLL_MS, Math.max(remainingMs, 20)), this.#quit.signal);
      }
      if (this.#quit.signal.aborted) return;
    }
    await this.finish(undefined);
  }

  /** Gives the devices back and removes the pod; both durable when resolved, unless the manager stops before. */
  finish(exitCode: number | undefined): Promise<void> {
    this.#finished ??= this.#finish(exitCode);
    // After the line above: whoever hears of it may call this again.
    this.#over.abort();
    return this.#finished;
  }

  /** The manager stops: a lease in use goes on and is taken up by the next manager. */
  async stop(): Promise<void> {
    if (!this.isAttached) await Promise.race([this.finish(undefined), sleep(this.#services.clock, 5000)]);
    this.#quit.abort();
    await this.#record.written();
  }

  healthChanged(): void {
    const status = this.#status;
    if (this.#released || status === undefined) return;
    this.#publish(status.state);
  }

  get #containerName(): string {
    return this.pod.spec.containers[0]?.name ?? '';
  }

  get #status(): ContainerStatus | undefined {
    return this.pod.status?.containerStatuses?.[0];
  }

  async #watchProcess(identity: ProcessIdentity): Promise<void> {
    while (isAlive(identity)) {
      await this.#wakeUp.wait(PROCESS_POLL_MS, this.#quit.signal);
      if (this.#quit.signal.aborted) return;
    }
    await this.finish(undefined);
  }

  async #finish(exitCode: number | undefined): Promise<void> {
    const services = this.#services;
    const { running } = this.#status?.state ?? {};
    if (running !== undefined) {
      const known = exitCode !== undefined;
      const finishedAt = timestamp(services.clock.now());
      const reason = known ? (exitCode === 0 ? 'Completed' : 'Error') : 'ContainerStatusUnknown';
      const terminated = { exitCode: exitCode ?? 137, reason, startedAt: running.startedAt, finishedAt };
      this.#publish({ terminated }, exitCode === 0 ? 'Succeeded' : 'Failed');
    }
    this.#released = await releaseDevices(services, this.pod, this.#quit.signal);
    if (!this.#released) return;
    await this.#record.written();
    services.pods.hide(this.#uid);
    const record = { type: 'pod-deleted', podUid: this.#uid } as const;
    const pod = this.pod;
    if (await retryUntil(services, this.#quit.signal, () => tryAppend(services, pod, record))) {
      services.pods.delete(this.#uid);
    }
  }

  #publish(state: ContainerState, final?: 'Succeeded' | 'Failed'): void {
    const old = this.#status;
    if (old === undefined) return;
    const runs = state.running !== undefined;
    const status = withDeviceHealth({ ...old, state, ready: runs, started: runs }, this.#uid, this.#services.admission);
    const view = { init: [], apps: [status], ...(final === undefined ? {} : { final }) };
    this.#record.setStatus(podStatus(this.pod.status, view, timestamp(this.#services.clock.now())));
  }
}
