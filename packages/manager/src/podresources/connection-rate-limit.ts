/** Calls a connection may make a second, and at once after a pause. (kubelet: podresources, DefaultQPS and DefaultBurstTokens) */
const CALLS_PER_SECOND = 100;
const BURST = 10;
/** From this many connections on, those that may make a full burst again are forgotten. */
const SWEEP_AT = 64;

interface Bucket {
  tokens: number;
  /** Monotonic milliseconds at which `tokens` was true. */
  at: number;
}

/**
 * The kubelet's limit on calls of the PodResources API, but for each connection on its own: there, one agent in a tight
 * loop starves all others (kubernetes#132020). Since answers are kept while nothing changes, the sum does not hurt.
 *
 * Invariant: a connection nothing is remembered of has a full bucket.
 */
export class ConnectionRateLimit {
  readonly #buckets = new Map<string, Bucket>();

  /** Connections remembered now. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token of the connection; false when it has none. `nowMs` is monotonic. */
  allow(connection: string, nowMs: number): boolean {
    let bucket = this.#buckets.get(connection);
    if (bucket === undefined) {
      if (this.#buckets.size >= SWEEP_AT) this.#sweep(nowMs);
      this.#buckets.set(connection, (bucket = { tokens: BURST, at: nowMs }));
    }
    bucket.tokens = tokensOf(bucket, nowMs);
    bucket.at = nowMs;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  #sweep(nowMs: number): void {
    for (const [connection, bucket] of this.#buckets) {
      if (tokensOf(bucket, nowMs) >= BURST) this.#buckets.delete(connection);
    }
  }
}

function tokensOf({ tokens, at }: Bucket, nowMs: number): number {
  return Math.min(BURST, tokens + (Math.max(0, nowMs - at) / 1000) * CALLS_PER_SECOND);
}
