/**
 * One queue a resource: whoever allocates takes a turn in the queues of all its resources at once and is served when it
 * is first in each. A plugin that hangs so holds up only those who ask for its resource.
 *
 * Invariants
 * - Turns are given in order of arrival in each queue, so two callers can never wait for one another.
 * - A turn is over exactly once, also when its owner gave up waiting; those behind are then not held up by it.
 * - A queue without waiters costs nothing: its entry is gone.
 */
export class ResourceQueues {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for a turn in the queues of `resources`; the answer ends the turn (idempotent). Rejects with the signal's reason when it aborts first. */
  async enter(resources: Iterable<string>, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const names = [...new Set(resources)];
    const before = Promise.all(names.flatMap((name) => this.#tails.get(name) ?? []));
    let finish = (): void => undefined;
    const own = new Promise<void>((resolve) => (finish = resolve));
    // Whoever comes next waits for this turn and, even when this one gives up early, for all turns before it.
    const tail = Promise.all([before, own]).then(() => undefined);
    for (const name of names) this.#tails.set(name, tail);
    void tail.then(() => {
      for (const name of names) if (this.#tails.get(name) === tail) this.#tails.delete(name);
    });

    let onAbort = (): void => undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = (): void => {
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', onAbort, { once: true });
    });
    try {
      await Promise.race([before, aborted]);
    } catch (error) {
      finish();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    return finish;
  }

  /** Resources in whose queue somebody has or awaits a turn. */
  get busy(): number {
    return this.#tails.size;
  }
}
