import type { Clock, Logger, PluginSession } from '../ports.ts';
import type { RecordNodeEvent } from './registration-server.ts';

/** The kubelet's back-off after a failed operation. */
const FIRST_BACK_OFF_MS = 500;
const LONGEST_BACK_OFF_MS = 122_000;

export interface WatchedSocketOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: RecordNodeEvent;
  /** Registers the plugin behind the path; undefined means that it is connected by other means. */
  readonly register: (signal: AbortSignal, onEnded: () => void) => Promise<PluginSession | undefined>;
}

interface Registered {
  readonly identity: string;
  readonly session: PluginSession | undefined;
  /** The value of `#touches` when the registration began. */
  readonly touches: number;
}

/**
 * One path of the registry directory, driven towards what lies there.
 *
 * Invariants:
 * - One operation at a time; what changes meanwhile is looked at when it is over.
 * - A socket (by identity) is registered at most once. When its stream ends it is not dialled again: only a new socket is.
 * - Failures are retried with growing pauses; a new socket at the path starts afresh.
 */
export class WatchedSocket {
  readonly #options: WatchedSocketOptions;
  #desired: string | undefined;
  #registered: Registered | undefined;
  #operation: { readonly identity: string; readonly abort: AbortController; readonly done: Promise<void> } | undefined;
  #touches = 0;
  #failures = 0;
  #retryAt = 0;
  #cancelRetry: (() => void) | undefined;

  constructor(options: WatchedSocketOptions) {
    this.#options = options;
  }

  /** A socket lies at the path. (kubelet: desired state of world) */
  get desired(): boolean {
    return this.#desired !== undefined;
  }

  /** Its plugin is registered. (kubelet: actual state of world) */
  get actual(): boolean {
    return this.#registered !== undefined;
  }

  /** Nothing lies there and nothing is going on: the object can be dropped. */
  get idle(): boolean {
    return this.#desired === undefined && this.#registered === undefined && this.#operation === undefined;
  }

  /** Says what lies at the path now: the identity of a socket, or undefined. Acts on it without waiting. */
  observe(identity: string | undefined): void {
    if (identity !== this.#desired) {
      this.#desired = identity;
      this.#failures = 0;
      this.#retryAt = 0;
      if (this.#operation !== undefined && this.#operation.identity !== identity) this.#operation.abort.abort();
    }
    this.#advance();
  }

  /**
   * The file system says that something was made or removed at the path. Needed besides `observe` because a socket that is
   * replaced within one tick of the kernel's clock can have the same identity: if its stream has ended, it is a new one.
   */
  touch(): void {
    this.#touches += 1;
    this.#retryAt = 0;
  }

  /** Ends the operation, closes the session. */
  async close(): Promise<void> {
    this.observe(undefined);
    while (this.#operation !== undefined) await this.#operation.done;
  }

  #advance(): void {
    if (this.#operation !== undefined) return;
    const registered = this.#registered;
    if (registered !== undefined && (registered.identity !== this.#desired || this.#replacedUnseen(registered))) {
      registered.session?.close();
      this.#registered = undefined;
    }
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    if (this.#desired === undefined || this.#registered !== undefined) return;
    const waitMs = this.#retryAt - this.#options.clock.monotonicMs();
    if (waitMs > 0) {
      this.#cancelRetry = this.#options.clock.setTimeout(() => {
        this.#advance();
      }, waitMs);
      return;
    }
    const abort = new AbortController();
    const identity = this.#desired;
    const done = this.#register(identity, abort.signal).finally(() => {
      this.#operation = undefined;
      this.#advance();
    });
    this.#operation = { identity, abort, done };
  }

  #replacedUnseen({ session, touches }: Registered): boolean {
    return session?.live === false && touches !== this.#touches;
  }

  /** Never rejects. */
  async #register(identity: string, signal: AbortSignal): Promise<void> {
    const { path, clock, log, events } = this.#options;
    const touches = this.#touches;
    try {
      const session = await this.#options.register(signal, () => {
        this.#advance();
      });
      this.#registered = { identity, session, touches };
    } catch (error) {
      if (this.#desired !== identity) return; // whatever went wrong, that socket is no more
      const message = error instanceof Error ? error.message : String(error);
      const backOffMs = Math.min(FIRST_BACK_OFF_MS * 2 ** this.#failures, LONGEST_BACK_OFF_MS);
      this.#failures += 1;
      this.#retryAt = clock.monotonicMs() + backOffMs;
      log.warn({ socketPath: path, err: message, retryInMs: backOffMs }, 'Failed to register a plugin');
      events('Warning', 'PluginRefused', message);
    }
  }
}
