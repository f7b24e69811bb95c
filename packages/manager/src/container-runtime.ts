/**
 * What a container runtime must do. Pods know only this interface, so another runtime is one more file in `runtimes/`.
 *
 * A runtime keeps what it needs to find its containers again after the manager died: pods ask for them with `recover`
 * and compare with what their own records say. A container is named by pod uid, container name and attempt: attempt 0
 * is the first start, each restart counts one up.
 */
import type { Container, Pod } from '@devmgr/core';
import type { ContainerOptions } from './ports.ts';

/** One start of one container. */
export interface ContainerKey {
  readonly podUid: string;
  readonly container: string;
  /** 0 for the first start; equals the container's restart count. */
  readonly attempt: number;
}

export interface ContainerStart {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  /** What the device plugins gave this container. */
  readonly options: ContainerOptions;
}

/** How a container ended. */
export interface ContainerEnd {
  /** As a shell tells it: 128 + n when signal n ended the process. */
  readonly exitCode: number;
  /** The signal that ended the process, where there was one. */
  readonly signal?: number;
  /** `ContainerStatusUnknown`: it is gone and nobody saw how (kubelet: exit code 137). */
  readonly reason: 'Completed' | 'Error' | 'ContainerStatusUnknown';
  readonly message?: string;
  /** Milliseconds since the epoch. */
  readonly finishedAt: number;
}

/** A container that runs, or ran a moment ago. */
export interface ContainerInstance {
  /** `<runtime>://<id>`, unique among all containers of all times. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Resolves once nothing of the container runs any more, children of its process included. Never rejects. */
  readonly ended: Promise<ContainerEnd>;
  /**
   * Asks it to end (SIGTERM) and kills it after `graceMs`; 0 kills at once. May be called again, with a shorter time.
   * Watch `ended` for the result. Never throws.
   */
  stop(graceMs: number): void;
}

/** What `recover` found of one container: its latest attempt. */
export type RecoveredContainer = {
  readonly container: string;
  readonly attempt: number;
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
} & (
  | { readonly state: 'running'; readonly instance: ContainerInstance }
  | { readonly state: 'ended'; readonly end: ContainerEnd }
  /** Prepared, but the manager died before the command was let go: the same attempt can be made again. */
  | { readonly state: 'never-started' }
);

export interface ReadLogOptions {
  /** Goes on until the attempt has ended and everything was read. */
  readonly follow: boolean;
  /** Only so many lines from the end; all that is kept when undefined. */
  readonly tailLines?: number;
  readonly signal: AbortSignal;
}

export interface ContainerRuntime {
  /** Short name, e.g. `process`; prefix of container ids. */
  readonly name: string;
  /** One sentence for the user about what this runtime does not enforce; undefined when it enforces everything. */
  readonly notice: string | undefined;
  /**
   * Starts one attempt. Resolves once the command was let go and enough is recorded to find it again. Rejects with
   * {@link ContainerStartError} when nothing runs.
   */
  start(request: ContainerStart): Promise<ContainerInstance>;
  /** The latest attempt of every container of a pod that the runtime knows of, after a restart of the manager. */
  recover(podUid: string): Promise<readonly RecoveredContainer[]>;
  /** Output of one attempt; nothing when it was never started or its output is not kept any more. */
  readLog(key: ContainerKey, options: ReadLogOptions): AsyncIterable<Uint8Array>;
  /** Kills what is left of a pod and forgets it, output included. Nothing to do is fine. */
  removePod(podUid: string): Promise<void>;
  /** Removes, as `removePod` does, every pod that is not in `podUids`: for leftovers found at start. */
  retainPods(podUids: ReadonlySet<string>): Promise<void>;
  /** Stops watching; containers go on running and can be recovered. `ended` of running ones never resolves then. */
  close(): Promise<void>;
}

/** The runtime could not start a container: `reason` is the waiting reason of its status, `message` says why. */
export class ContainerStartError extends Error {
  override readonly name = 'ContainerStartError';
  readonly reason: 'CreateContainerError' | 'RunContainerError';

  constructor(
    reason: 'CreateContainerError' | 'RunContainerError',
    message: string,
    options: { cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
  }
}
