/** Growing pauses between attempts: doubling, capped, and up to a fifth longer by chance so that many plugins do not knock at once. */
export class BackOff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  #nextMs: number;

  constructor(firstMs: number, maxMs: number) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#nextMs = firstMs;
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const delayMs = this.#nextMs;
    this.#nextMs = Math.min(delayMs * 2, this.#maxMs);
    return delayMs * (1 + Math.random() / 5);
  }

  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}
