import {
  backOffRestarting,
  RestartBackOff,
  type Container,
  type ContainerStatus,
  type Pod,
  type RestartPolicy,
} from '@devmgr/core';
import {
  ContainerStartError,
  type ContainerEnd,
  type ContainerInstance,
  type RecoveredContainer,
} from '../container-runtime.ts';
import { isAborted, sleep } from '../wake-up.ts';
import { namespaceOf, podReference, timestamp, uidOf, type PodServices } from './pod-services.ts';
import { waitingStatus } from './pod-status.ts';

export type ContainerRole = 'init' | 'sidecar' | 'app';

/** Where a container goes on after the manager was away. */
export interface ContainerPast {
  /** What the runtime found; undefined when it knows nothing of the container. */
  readonly found: RecoveredContainer | undefined;
  /** Start it anew whatever became of it, as after a reboot. */
  readonly rerun: boolean;
}

/**
 * Keeps one container going: starts it, waits for its end, starts it again as its restart policy says with the
 * kubelet's back-off.
 *
 * Invariants
 * - At most one instance runs; the next is started only after `ended` of the one before.
 * - `status.restartCount` is the attempt that ran last; the next attempt is one more.
 * - After `stop` or `detach` nothing is started; after `detach` the status does not change either.
 */
export class ContainerWorker {
  readonly container: Container;
  readonly role: ContainerRole;
  /** Resolves when it runs for the first time, or ended for good. */
  readonly started: Promise<void>;
  readonly #services: PodServices;
  readonly #pod: () => Pod;
  readonly #policy: RestartPolicy;
  readonly #changed: (weight: 'durable' | 'passing') => void;
  readonly #backOff = new RestartBackOff();
  readonly #quit = new AbortController();
  /** Resolves when detached. */
  readonly #left: Promise<undefined>;
  #leave: () => void = () => undefined;
  #markStarted: () => void = () => undefined;
  #status: ContainerStatus;
  #instance: ContainerInstance | undefined;
  #stopAtMs: number | undefined;
  #detached = false;
  #done: Promise<ContainerEnd | undefined> | undefined;

  constructor(options: {
    readonly services: PodServices;
    readonly pod: () => Pod;
    readonly container: Container;
    readonly role: ContainerRole;
    /** Whether it is started again when it ends. */
    readonly policy: RestartPolicy;
    /** From before a restart of the manager. */
    readonly previous: ContainerStatus | undefined;
    readonly changed: (weight: 'durable' | 'passing') => void;
  }) {
    this.#services = options.services;
    this.#pod = options.pod;
    this.container = options.container;
    this.role = options.role;
    this.#policy = options.policy;
    this.#changed = options.changed;
    this.#status = options.previous ?? waitingStatus(options.container, 'PodInitializing');
    this.started = new Promise((resolve) => {
      this.#markStarted = resolve;
    });
    this.#left = new Promise((resolve) => {
      this.#leave = () => {
        resolve(undefined);
      };
    });
  }

  get status(): ContainerStatus {
    return this.#status;
  }

  /** True while something of it may run. */
  get isRunning(): boolean {
    return this.#instance !== undefined;
  }

  /**
   * Begins, once; later calls give the same promise. Resolves with the last end when the container is over for good,
   * with undefined when it was stopped or detached before that.
   */
  run(past?: ContainerPast): Promise<ContainerEnd | undefined> {
    this.#done ??= this.#run(past).finally(() => {
      this.#markStarted();
    });
    return this.#done;
  }

  /** Ends it, within `graceMs`; a later call can only shorten that. Resolves when nothing of it runs. */
  async stop(graceMs: number): Promise<void> {
    const stopAtMs = this.#services.clock.monotonicMs() + graceMs;
    this.#stopAtMs = Math.min(this.#stopAtMs ?? stopAtMs, stopAtMs);
    const first = !this.#quit.signal.aborted;
    this.#quit.abort();
    if (this.#instance !== undefined) {
      if (first) this.#event('Normal', 'Killing', `Stopping container ${this.container.name}`);
      this.#instance.stop(graceMs);
    }
    await this.#done;
  }

  /** Leaves it alone from now on. */
  detach(): void {
    this.#detached = true;
    this.#leave();
    this.#quit.abort();
  }

  async #run(past: ContainerPast | undefined): Promise<ContainerEnd | undefined> {
    let attempt = 0;
    let end: ContainerEnd | undefined;
    if (past !== undefined) ({ attempt, end } = this.#resume(past));
    for (;;) {
      if (end === undefined) {
        this.#instance ??= await this.#start(attempt);
        if (this.#instance === undefined) return undefined;
        end = await this.#untilEnd(this.#instance);
        if (end === undefined) return undefined;
        this.#instance = undefined;
      }
      this.#setEnded(attempt, end);
      if (this.#quit.signal.aborted) return undefined;
      if (!this.#mustRestart(end)) return end;
      const delayMs = this.#backOff.ended(end.finishedAt);
      if (delayMs > 0 && !(await this.#waitToRestart(end.finishedAt, delayMs))) return undefined;
      attempt += 1;
      end = undefined;
    }
  }

  /** Where to go on: the attempt to make or to watch, and its end when it ended while nobody looked. */
  #resume({ found, rerun }: ContainerPast): { attempt: number; end: ContainerEnd | undefined } {
    if (found !== undefined) this.#status = { ...this.#status, containerID: found.id };
    const status = this.#status;
    const recorded = status.state.terminated ?? status.lastState.terminated;
    const hasRun = status.state.running !== undefined || recorded !== undefined;
    const lastAttempt = found?.attempt ?? (hasRun ? status.restartCount : -1);
    if (rerun && found?.state !== 'running') {
      this.#setUnseenEnd(found);
      return { attempt: found?.state === 'never-started' ? found.attempt : lastAttempt + 1, end: undefined };
    }
    if (found?.state === 'running') {
      this.#instance = found.instance;
      this.#setRunning(found.attempt, found.instance);
      return { attempt: found.attempt, end: undefined };
    }
    if (found?.state === 'never-started' || (found === undefined && !hasRun)) {
      this.#set(
        { ...status, state: { waiting: { reason: 'ContainerCreating' } }, ready: false, started: false },
        'passing',
      );
      return { attempt: Math.max(0, lastAttempt), end: undefined };
    }
    const known = recorded !== undefined && status.restartCount === lastAttempt && status.state.running === undefined;
    return { attempt: lastAttempt, end: known ? endOf(recorded) : (found?.end ?? this.#unknownEnd()) };
  }

  /** Before a rerun: what ran when the machine went down has ended, and nobody saw how. */
  #setUnseenEnd(found: RecoveredContainer | undefined): void {
    if (this.#status.state.running === undefined) return;
    this.#setEnded(this.#status.restartCount, found?.state === 'ended' ? found.end : this.#unknownEnd());
  }

  #unknownEnd(): ContainerEnd {
    return {
      exitCode: 137,
      reason: 'ContainerStatusUnknown',
      message: 'Nothing is left of the container; how it ended is not known.',
      finishedAt: this.#services.clock.now(),
    };
  }

  /** Tries until it runs; undefined when told to stop. */
  async #start(attempt: number): Promise<ContainerInstance | undefined> {
    const services = this.#services;
    for (let attemptToStart = 1; ; attemptToStart += 1) {
      if (this.#quit.signal.aborted) return undefined;
      if (this.#status.state.terminated === undefined && this.#status.lastState.terminated === undefined) {
        this.#set({ ...this.#status, state: { waiting: { reason: 'ContainerCreating' } } }, 'passing');
      }
      try {
        const pod = this.#pod();
        const { signal } = this.#quit;
        const options = await services.admission.prepareStart(pod, this.container.name, signal, attemptToStart);
        if (isAborted(this.#quit.signal)) return undefined;
        const instance = await services.runtime.start({ pod, container: this.container, attempt, options });
        // Told to stop in the meantime: it gets what is left of its time.
        if (this.#stopAtMs !== undefined) instance.stop(this.#stopAtMs - services.clock.monotonicMs());
        this.#setRunning(attempt, instance);
        this.#event('Normal', 'Started', `Started container ${this.container.name}`);
        return instance;
      } catch (error) {
        if (isAborted(this.#quit.signal) || !(await this.#waitAfterFailedStart(error))) return undefined;
      }
    }
  }

  async #waitAfterFailedStart(error: unknown): Promise<boolean> {
    const { clock } = this.#services;
    const message = error instanceof Error ? error.message : String(error);
    const reason = error instanceof ContainerStartError ? error.reason : 'CreateContainerConfigError';
    const { state, lastState } = this.#status;
    this.#set(
      {
        ...this.#status,
        state: { waiting: { reason, message } },
        lastState: state.terminated === undefined ? lastState : { terminated: state.terminated },
        ready: false,
        started: false,
      },
      'passing',
    );
    this.#event('Warning', 'Failed', `Error: ${message}`);
    // The first end of a container costs no wait, but what cannot be started is not tried again at once.
    const now = clock.now();
    const delayMs = this.#backOff.ended(now) || this.#backOff.ended(now);
    await sleep(clock, delayMs, this.#quit.signal);
    return !this.#quit.signal.aborted;
  }

  async #waitToRestart(finishedAt: number, delayMs: number): Promise<boolean> {
    const { clock } = this.#services;
    const remainingMs = finishedAt + delayMs - clock.now();
    if (remainingMs <= 0) return true;
    const pod = this.#pod();
    const { name } = this.container;
    const owner = { name: pod.metadata.name, namespace: namespaceOf(pod), uid: uidOf(pod) };
    const { terminated } = this.#status.state;
    this.#set(
      {
        ...this.#status,
        state: { waiting: { reason: 'CrashLoopBackOff', message: backOffRestarting(delayMs, name, owner) } },
        lastState: terminated === undefined ? this.#status.lastState : { terminated },
      },
      'passing',
    );
    this.#event('Warning', 'BackOff', `Back-off restarting failed container ${name} in pod ${owner.name}`);
    await sleep(clock, remainingMs, this.#quit.signal);
    return !this.#quit.signal.aborted;
  }

  /** Undefined when detached. */
  async #untilEnd(instance: ContainerInstance): Promise<ContainerEnd | undefined> {
    return await Promise.race([instance.ended, this.#left]);
  }

  #mustRestart(end: ContainerEnd): boolean {
    return this.#policy === 'Always' || (this.#policy === 'OnFailure' && end.exitCode !== 0);
  }

  #setRunning(attempt: number, instance: ContainerInstance): void {
    const { state, lastState } = this.#status;
    this.#set(
      {
        ...this.#status,
        state: { running: { startedAt: timestamp(instance.startedAt) } },
        lastState: state.terminated === undefined ? lastState : { terminated: state.terminated },
        ready: this.role !== 'init',
        started: true,
        restartCount: attempt,
        containerID: instance.id,
      },
      'durable',
    );
    this.#markStarted();
  }

  #setEnded(attempt: number, end: ContainerEnd): void {
    const { running, terminated } = this.#status.state;
    const startedAt = running?.startedAt ?? terminated?.startedAt;
    const { containerID } = this.#status;
    this.#set(
      {
        ...this.#status,
        state: {
          terminated: {
            exitCode: end.exitCode,
            ...(end.signal === undefined ? {} : { signal: end.signal }),
            reason: end.reason,
            ...(end.message === undefined ? {} : { message: end.message }),
            ...(startedAt === undefined ? {} : { startedAt }),
            finishedAt: timestamp(end.finishedAt),
            ...(containerID === undefined ? {} : { containerID }),
          },
        },
        ready: this.role === 'init' && end.exitCode === 0,
        started: false,
        restartCount: attempt,
      },
      'durable',
    );
  }

  #set(status: ContainerStatus, weight: 'durable' | 'passing'): void {
    if (this.#detached) return;
    this.#status = status;
    this.#changed(weight);
  }

  #event(type: 'Normal' | 'Warning', reason: 'Started' | 'Killing' | 'Failed' | 'BackOff', message: string): void {
    const reference = podReference(this.#pod(), { name: this.container.name, isInit: this.role !== 'app' });
    this.#services.events.record(reference, type, reason, message);
  }
}

function endOf(terminated: NonNullable<ContainerStatus['state']['terminated']>): ContainerEnd {
  const { exitCode, signal, reason, message, finishedAt } = terminated;
  return {
    exitCode,
    ...(signal === undefined ? {} : { signal }),
    reason: reason === 'Completed' || reason === 'ContainerStatusUnknown' ? reason : 'Error',
    ...(message === undefined ? {} : { message }),
    finishedAt: Date.parse(finishedAt),
  };
}
