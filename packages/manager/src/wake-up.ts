import type { Clock } from './ports.ts';

/**
 * Lets one or more waiters sleep until something happens, a time is over or they are told to give up: polling with a
 * hint. Waiting never fails; the waiter looks at the world again after it.
 */
export class WakeUp {
  readonly #clock: Clock;
  readonly #waiters = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends every wait that is under way now. */
  wake(): void {
    for (const resume of [...this.#waiters]) resume();
  }

  /** Resolves after `timeoutMs`, at `wake`, or when `signal` aborts, whichever comes first. */
  wait(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const resume = (): void => {
        this.#waiters.delete(resume);
        signal?.removeEventListener('abort', resume);
        cancel();
        resolve();
      };
      this.#waiters.add(resume);
      signal?.addEventListener('abort', resume, { once: true });
      const cancel = this.#clock.setTimeout(resume, timeoutMs);
    });
  }
}

/** For use after an `await`: the compiler takes a look at `signal.aborted` before it for the last word. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Resolves after `ms` or when `signal` aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new WakeUp(clock).wait(ms, signal);
}
