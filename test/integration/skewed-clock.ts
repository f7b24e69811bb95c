import type { Clock } from '../../packages/manager/src/ports.ts';

/** The real time, except that it can be made to leap ahead: what was to happen meanwhile happens at once. */
export class SkewedClock implements Clock {
  #skewMs = 0;
  readonly #pending = new Map<() => void, { readonly due: number; readonly timer: NodeJS.Timeout }>();

  now(): number {
    return Date.now() + this.#skewMs;
  }

  monotonicMs(): number {
    return performance.now() + this.#skewMs;
  }

  setTimeout(callback: () => void, delayMs: number): () => void {
    const run = (): void => {
      this.#pending.delete(run);
      callback();
    };
    const timer = setTimeout(run, Math.min(delayMs, 2 ** 31 - 1)).unref();
    this.#pending.set(run, { due: this.monotonicMs() + delayMs, timer });
    return () => {
      clearTimeout(timer);
      this.#pending.delete(run);
    };
  }

  leap(ms: number): void {
    this.#skewMs += ms;
    const due = [...this.#pending]
      .filter(([, entry]) => entry.due <= this.monotonicMs())
      .sort(([, a], [, b]) => a.due - b.due);
    for (const [run, { timer }] of due) {
      clearTimeout(timer);
      run();
    }
  }
}
