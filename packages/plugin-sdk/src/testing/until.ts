import { setTimeout as delay } from 'node:timers/promises';

/** Waits until `condition` gives something truthy, and gives it back. Rejects with `what` once the deadline has passed. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 15_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false && value !== 0 && value !== '') return value;
    if (performance.now() > deadline) throw new Error(`not within ${String(timeoutMs)} ms: ${what}`);
    await delay(10);
  }
}
