import { messageOf } from '../plugin-log.ts';
import type { HookCall } from './lifecycle-spec.ts';

/** A failure of a hook with a reason that programs read: `throw new HookError('FirmwareTooOld', 'needs 1.2')`. */
export class HookError extends Error {
  override readonly name = 'HookError';
  /** In CamelCase, at most a few words. */
  readonly reason: string;

  constructor(reason: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.reason = reason;
  }
}

export interface HookRun {
  /** Begins the reason of what went wrong: `Init` gives `InitFailed` and `InitTimedOut`. */
  readonly hook: 'Ready' | 'Install' | 'Init' | 'Health' | 'Reset' | 'Release';
  readonly timeoutMs: number;
  readonly attempt: number;
  /** The plugin's, or the device's, life. */
  readonly signal: AbortSignal;
  readonly onProgress?: ((percent: number | undefined, message: string) => void) | undefined;
}

/** One call of an author's hook. */
export interface RunningHook<T> {
  /** Settles at the deadline at the latest; rejects with a {@link HookError}. */
  readonly outcome: Promise<T>;
  /** Resolves when the author's code has really ended, which may be long after. */
  readonly settled: Promise<void>;
}

export function runHook<T>(run: HookRun, hook: (call: HookCall) => T | Promise<T>): RunningHook<T> {
  const { timeoutMs, attempt } = run;
  const deadline = new AbortController();
  const signal = AbortSignal.any([run.signal, deadline.signal]);
  let ended = false;
  const progress = (percent: number | undefined, message = ''): void => {
    if (ended || signal.aborted) return; // late news of an attempt that was given up
    const known = typeof percent === 'number' && Number.isFinite(percent);
    run.onProgress?.(known ? Math.min(100, Math.max(0, Math.round(percent))) : undefined, message);
  };
  const running = (async () => hook({ signal, attempt, progress }))();
  const settled = running.then(
    () => undefined,
    () => undefined,
  );
  const outcome = new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => {
      deadline.abort();
      reject(new HookError(`${run.hook}TimedOut`, `not done within ${String(timeoutMs / 1_000)} seconds`));
    }, timeoutMs);
    const closed = (): void => {
      reject(new HookError('Closing', 'given up, the plugin is closing'));
    };
    if (run.signal.aborted) closed();
    run.signal.addEventListener('abort', closed);
    running.then(resolve, (error: unknown) => {
      reject(
        error instanceof HookError ? error : new HookError(`${run.hook}Failed`, messageOf(error), { cause: error }),
      );
    });
    void settled.then(() => {
      ended = true;
      clearTimeout(timer);
      run.signal.removeEventListener('abort', closed);
    });
  });
  outcome.catch(() => undefined); // Whoever wants to know asks.
  return { outcome, settled };
}
