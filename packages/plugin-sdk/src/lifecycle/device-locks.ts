import { HookError } from './hook-call.ts';

/**
 * At most one hook at a time works on a device.
 *
 * Invariants: devices are taken in one order, so that two that want several never wait for each other; do not take
 * devices while holding some.
 */
export class DeviceLocks {
  readonly #busy = new Map<string, Promise<void>>();

  /**
   * Takes all of the devices, for what is `busyWith`; the answer gives them back. Rejects with reason `Busy` when one
   * is not free within `timeoutMs`, and with the signal's abortion.
   */
  async take(ids: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<() => void> {
    const deadlineMs = performance.now() + timeoutMs;
    const taken: (() => void)[] = [];
    const giveBack = (): void => {
      for (const free of taken.splice(0)) free();
    };
    for (const id of [...new Set(ids)].sort()) {
      try {
        taken.push(await this.#takeOne(id, deadlineMs, signal));
      } catch (error) {
        giveBack();
        throw error;
      }
    }
    return giveBack;
  }

  async #takeOne(id: string, deadlineMs: number, signal: AbortSignal): Promise<() => void> {
    for (;;) {
      if (signal.aborted) throw new HookError('Closing', 'given up, the plugin is closing');
      const busy = this.#busy.get(id);
      if (busy === undefined) break;
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw new HookError('Busy', `${id} is still busy with an earlier hook that does not end`);
      await earliest(busy, leftMs, signal);
    }
    let free = (): void => undefined;
    const busy = new Promise<void>((resolve) => {
      free = resolve;
    });
    this.#busy.set(id, busy);
    return () => {
      this.#busy.delete(id);
      free();
    };
  }
}

/** Waits for a promise that never rejects, a time, or the signal, whichever comes first. */
export async function earliest(promise: Promise<unknown>, timeoutMs: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(Math.max(0, timeoutMs), 2 ** 31 - 1));
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
    void promise.then(done);
  });
}
