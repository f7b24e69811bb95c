import { constants } from 'node:os';
import type { ContainerEnd, ContainerInstance } from '../container-runtime.ts';
import type { Clock, Logger } from '../ports.ts';
import { signalProcess } from '../process-identity.ts';
import { killSurvivors, type ContainerProcesses } from './process-survivors.ts';

/** How the leader of a container ended, as its parent or its exit file tells. */
export interface LeaderEnd {
  /** Undefined when nobody saw it. */
  readonly exitCode: number | undefined;
  /** Milliseconds since the epoch. */
  readonly finishedAt: number;
  readonly message?: string;
}

/**
 * One container that is a group of processes.
 *
 * Invariants: a signal goes out only after the leader's pid and start time were compared with the kernel's; `ended`
 * resolves after the last process of the container is gone; the time until SIGKILL only ever gets shorter.
 */
export class ProcessContainer implements ContainerInstance {
  readonly id: string;
  readonly startedAt: number;
  readonly ended: Promise<ContainerEnd>;
  readonly #processes: ContainerProcesses;
  readonly #clock: Clock;
  readonly #onSignal: () => void;
  #killAtMs: number | undefined;
  #cancelKill: (() => void) | undefined;
  #gone = false;

  constructor(options: {
    readonly id: string;
    readonly startedAt: number;
    readonly processes: ContainerProcesses;
    readonly leaderEnd: Promise<LeaderEnd>;
    readonly clock: Clock;
    readonly log: Logger;
    /** Told when the container was asked to end, so that whoever watches it looks more closely. */
    readonly onSignal: () => void;
    /** Gives up watching; `ended` then never resolves. */
    readonly closed: AbortSignal;
  }) {
    this.id = options.id;
    this.startedAt = options.startedAt;
    this.#processes = options.processes;
    this.#clock = options.clock;
    this.#onSignal = options.onSignal;
    this.ended = this.#end(options);
  }

  stop(graceMs: number): void {
    if (this.#gone) return;
    const killAtMs = this.#clock.monotonicMs() + Math.max(0, graceMs);
    const first = this.#killAtMs === undefined;
    if (this.#killAtMs !== undefined && this.#killAtMs <= killAtMs) return;
    this.#killAtMs = killAtMs;
    this.#cancelKill?.();
    if (graceMs <= 0) {
      this.#signal('SIGKILL');
      return;
    }
    if (first) this.#signal('SIGTERM');
    this.#cancelKill = this.#clock.setTimeout(() => {
      this.#signal('SIGKILL');
    }, graceMs);
  }

  #signal(signal: NodeJS.Signals): void {
    signalProcess(this.#processes.leader, signal, { group: true });
    this.#onSignal();
  }

  async #end(options: {
    readonly leaderEnd: Promise<LeaderEnd>;
    readonly clock: Clock;
    readonly log: Logger;
    readonly closed: AbortSignal;
  }): Promise<ContainerEnd> {
    const { leaderEnd, clock, log, closed } = options;
    const end = await leaderEnd;
    await killSurvivors(this.#processes, { clock, log, signal: closed });
    if (closed.aborted) await new Promise<never>(() => undefined);
    this.#gone = true;
    this.#cancelKill?.();
    return containerEnd(end);
  }
}

/** Exit code 137 stands for an end nobody saw. (kubelet: ContainerStatusUnknown) */
export function containerEnd(end: LeaderEnd): ContainerEnd {
  const { exitCode, finishedAt } = end;
  const message = end.message === undefined ? {} : { message: end.message };
  if (exitCode === undefined) {
    return {
      exitCode: 137,
      reason: 'ContainerStatusUnknown',
      message: 'The container was gone when the manager looked for it; how it ended is not known.',
      finishedAt,
      ...message,
    };
  }
  // Shells and container runtimes alike: 128 + n means that signal n ended the process.
  const signal = exitCode > 128 && exitCode < 128 + 32 ? { signal: exitCode - 128 } : {};
  return { exitCode, ...signal, reason: exitCode === 0 ? 'Completed' : 'Error', finishedAt, ...message };
}

/** Exit code of a process that a signal ended. */
export function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
