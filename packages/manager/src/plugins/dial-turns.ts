import type { Clock } from '../ports.ts';

/** Dials to one socket at the same time. A herd of them would only time out together. */
const MOST_AT_ONCE = 8;

export interface TurnRequest {
  /** Whether the dial is not wanted any more. */
  readonly isOutdated: () => boolean;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** `go`: dial, and call `leave` when that is over. */
export type Turn =
  { readonly outcome: 'go'; readonly leave: () => void } | { readonly outcome: 'outdated' | 'aborted' | 'late' };

interface Waiter {
  readonly isOutdated: () => boolean;
  readonly settle: (turn: Turn) => void;
}

/**
 * Turns for dialling one socket. The newest request goes first: once it has led to a connection the older ones are
 * outdated and need no dial at all.
 */
export class DialTurns {
  readonly #waiting: Waiter[] = [];
  #running = 0;

  /** Nobody dials or waits. */
  get idle(): boolean {
    return this.#running === 0 && this.#waiting.length === 0;
  }

  /** Never rejects. */
  take({ isOutdated, timeoutMs, clock, signal }: TurnRequest): Promise<Turn> {
    if (signal.aborted) return Promise.resolve({ outcome: 'aborted' });
    if (this.#running < MOST_AT_ONCE) return Promise.resolve(this.#go());
    return new Promise((resolve) => {
      const settle = (turn: Turn): void => {
        const index = this.#waiting.indexOf(waiter);
        if (index >= 0) this.#waiting.splice(index, 1);
        cancelTimer();
        signal.removeEventListener('abort', abort);
        resolve(turn);
      };
      const abort = (): void => {
        settle({ outcome: 'aborted' });
      };
      const waiter: Waiter = { isOutdated, settle };
      const cancelTimer = clock.setTimeout(() => {
        settle({ outcome: 'late' });
      }, timeoutMs);
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  /** To be called when a connection was made: lets those go that need none any more. */
  dismissOutdated(): void {
    for (const waiter of [...this.#waiting]) if (waiter.isOutdated()) waiter.settle({ outcome: 'outdated' });
  }

  #go(): Turn {
    this.#running += 1;
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      this.#running -= 1;
      this.#waiting.at(-1)?.settle(this.#go());
    };
    return { outcome: 'go', leave };
  }
}
