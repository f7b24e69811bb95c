/**
 * Lets a loop sleep until something may have changed or a time has passed. Hints are never lost: one that arrives
 * while the loop is at work makes its next sleep return at once.
 */
export class WakeUp {
  #hinted = false;
  readonly #sleepers = new Set<() => void>();

  /** Something may have changed. */
  hint(): void {
    this.#hinted = true;
    for (const wake of [...this.#sleepers]) wake();
  }

  /** Forgets hints; call it before looking at the world, so that what changes meanwhile is not missed. */
  clear(): void {
    this.#hinted = false;
  }

  /** Sleeps until a hint, or for `timeoutMs`. */
  async sleep(timeoutMs: number): Promise<void> {
    if (this.#hinted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#sleepers.add(wake);
    });
  }
}
