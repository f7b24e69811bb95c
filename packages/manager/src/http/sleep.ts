import type { Clock } from '../ports.ts';

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects and leaves no timer or listener behind. */
export async function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.setTimeout(done, delayMs);
    signal.addEventListener('abort', done, { once: true });
  });
}
