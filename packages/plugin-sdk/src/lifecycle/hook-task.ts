import { BackOff } from '../back-off.ts';
import { WakeUp } from '../wake-up.ts';
import { HookError } from './hook-call.ts';
import type { LifecycleLimits } from './lifecycle-spec.ts';

interface HookTaskOptions {
  readonly limits: LifecycleLimits;
  readonly signal: AbortSignal;
  /** One attempt; rejects with a {@link HookError}. `attempt` counts from 1. */
  readonly attempt: (attempt: number) => Promise<void>;
  /** After each failed attempt. */
  readonly onFailure: (error: HookError, failures: number) => void;
}

/**
 * Something that is to succeed in the end: attempts, one at a time, with growing pauses; rare ones after too many
 * failures in a row. Ends with the first success or when the signal aborts.
 */
export class HookTask {
  readonly #options: HookTaskOptions;
  readonly #wakeUp = new WakeUp();
  readonly #backOff: BackOff;
  #failures = 0;
  #attempts = 0;
  #over: 'done' | 'closed' | undefined;
  #waiters: { resolve: () => void; reject: (error: HookError) => void }[] = [];
  /** Resolves when the task has ended, done or given up. */
  readonly ended: Promise<void>;

  constructor(options: HookTaskOptions) {
    this.#options = options;
    this.#backOff = new BackOff(options.limits.retryFirstMs, options.limits.retryMaxMs);
    this.ended = this.#run();
  }

  /** Does not wait for the next attempt to be due. The answer is that of the attempt under way, or of the next. */
  async now(): Promise<void> {
    if (this.#over === 'done') return;
    if (this.#over === 'closed') throw closing();
    const answer = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
    this.#wakeUp.hint();
    await answer;
  }

  /** Forgets earlier failures and tries at once. */
  retry(): void {
    this.#failures = 0;
    this.#backOff.reset();
    this.#wakeUp.hint();
  }

  async #run(): Promise<void> {
    const { signal, limits, attempt, onFailure } = this.#options;
    const wake = (): void => {
      this.#wakeUp.hint();
    };
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        this.#wakeUp.clear();
        this.#attempts += 1;
        try {
          await attempt(this.#attempts);
          this.#over = 'done';
          for (const { resolve } of this.#waiters.splice(0)) resolve();
          return;
        } catch (error) {
          if (isAborted(signal)) return;
          const failure = error instanceof HookError ? error : new HookError('Unexpected', String(error));
          this.#failures += 1;
          onFailure(failure, this.#failures);
          for (const { reject } of this.#waiters.splice(0)) reject(failure);
        }
        const pauseMs = this.#failures < limits.quarantineAfter ? this.#backOff.next() : limits.quarantineRetryMs;
        await this.#wakeUp.sleep(pauseMs);
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#over ??= 'closed';
      for (const { reject } of this.#waiters.splice(0)) reject(closing());
    }
  }
}

function closing(): HookError {
  return new HookError('Closing', 'given up, the plugin is closing');
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
