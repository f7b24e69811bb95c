/** Limits of {@link RestartBackOff}; the defaults are the kubelet's. */
export interface RestartBackOffLimits {
  /** Wait after the second end. Default 10 s. */
  readonly initialMs?: number;
  /** Longest wait. Default 5 min. */
  readonly maxMs?: number;
  /** A run that lasts this long clears the record. Default: twice the longest wait. */
  readonly resetAfterMs?: number;
}

/**
 * How long a container that ended waits before it is started again: the first time not at all, then 10 s, doubling up
 * to 5 min; a container that ran for 10 min starts over. One object per container. (kubelet: CrashLoopBackOff)
 *
 * Invariants: time is passed in and need not be monotonic (a step back counts as no time); the wait never exceeds `maxMs`.
 */
export class RestartBackOff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #resetAfterMs: number;
  #delayMs = 0;
  #restartedAtMs: number | undefined;

  constructor(limits: RestartBackOffLimits = {}) {
    this.#initialMs = limits.initialMs ?? 10_000;
    this.#maxMs = limits.maxMs ?? 300_000;
    this.#resetAfterMs = limits.resetAfterMs ?? 2 * this.#maxMs;
  }

  /** The wait that {@link ended} last gave, in milliseconds. */
  get delayMs(): number {
    return this.#delayMs;
  }

  /** The container ended at `finishedAtMs`: how long to wait from then, in milliseconds. */
  ended(finishedAtMs: number): number {
    const previous = this.#restartedAtMs;
    const fresh = previous === undefined || finishedAtMs - previous > this.#resetAfterMs;
    if (fresh) this.#delayMs = 0;
    else this.#delayMs = this.#delayMs === 0 ? this.#initialMs : this.#delayMs * 2;
    this.#delayMs = Math.min(this.#delayMs, this.#maxMs);
    this.#restartedAtMs = finishedAtMs + this.#delayMs;
    return this.#delayMs;
  }

  /** Forgets everything: the next end is the first. */
  reset(): void {
    this.#delayMs = 0;
    this.#restartedAtMs = undefined;
  }
}
