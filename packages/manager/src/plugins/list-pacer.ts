import type { Clock } from '../ports.ts';

/** Lists (of up to LIST_UNIT_BYTES) that are passed on without any waiting, however fast they come. */
const BURST = 32;
/** What a quiet stream gains back: one list every so many milliseconds, at most BURST. */
const REFILL_MS = 25;
/** Larger lists cost as many units as they fill. */
const LIST_UNIT_BYTES = 512 * 1024;
/** A stream that outruns even the throwing away of its lists is read more slowly: a pause after so much of it. */
const PAUSE_AFTER_MESSAGES = 64;
const PAUSE_AFTER_BYTES = 16 * 1024 * 1024;
const PAUSE_MS = 10;

/**
 * Stands between one ListAndWatch stream and the device manager, so that a plugin that floods takes a bounded share of
 * the process and everybody else's turn comes.
 *
 * Invariants:
 * - lists are delivered in the order they came, at most one per turn of the event loop;
 * - in ordinary traffic (bursts up to 32, otherwise 40 a second) every list is delivered;
 * - beyond that lists are skipped, each skipped one being followed by a delivered one: every list is the whole truth, so
 *   only the latest counts. Skipped lists are never decoded.
 */
export class ListPacer {
  readonly #clock: Clock;
  readonly #deliver: (bytes: Uint8Array) => void;
  /** Paid for, to be delivered in order. */
  readonly #queue: Uint8Array[] = [];
  /** Not paid for: the latest list of a flood. */
  #latest: Uint8Array | undefined;
  #budget = BURST;
  #refilledAt: number;
  #scheduled: (() => void) | undefined;
  #skippedMessages = 0;
  #skippedBytes = 0;

  /** `deliver` is called in turns of the event loop of its own, and by `flush`. */
  constructor(clock: Clock, deliver: (bytes: Uint8Array) => void) {
    this.#clock = clock;
    this.#deliver = deliver;
    this.#refilledAt = clock.monotonicMs();
  }

  /** Takes one message. Returns for how many milliseconds the stream should not be read: 0 unless it floods. */
  offer(bytes: Uint8Array): number {
    this.#refill();
    const skipped = this.#latest;
    if (skipped === undefined && this.#budget > 0) this.#queue.push(this.#pay(bytes));
    else this.#latest = bytes;
    this.#schedule();
    if (skipped === undefined) return 0;
    this.#skippedMessages += 1;
    this.#skippedBytes += skipped.byteLength;
    if (this.#skippedMessages < PAUSE_AFTER_MESSAGES && this.#skippedBytes < PAUSE_AFTER_BYTES) return 0;
    this.#skippedMessages = 0;
    this.#skippedBytes = 0;
    return PAUSE_MS;
  }

  /** Delivers what is still waiting, at once and in order: the stream is over. */
  flush(): void {
    this.#cancel();
    const rest = this.#latest === undefined ? this.#queue.splice(0) : [...this.#queue.splice(0), this.#latest];
    this.#latest = undefined;
    for (const bytes of rest) this.#deliver(bytes);
  }

  /** Forgets what is still waiting: nobody is interested any more. */
  drop(): void {
    this.#cancel();
    this.#queue.length = 0;
    this.#latest = undefined;
  }

  #schedule(): void {
    if (this.#scheduled !== undefined) return;
    if (this.#queue.length > 0) {
      const immediate = setImmediate(() => {
        this.#tick();
      });
      this.#scheduled = () => {
        clearImmediate(immediate);
      };
    } else if (this.#latest !== undefined) {
      const waitMs = Math.max(1, (1 - this.#budget) * REFILL_MS - (this.#clock.monotonicMs() - this.#refilledAt));
      this.#scheduled = this.#clock.setTimeout(() => {
        this.#tick();
      }, waitMs);
    }
  }

  #tick(): void {
    this.#scheduled = undefined;
    this.#refill();
    if (this.#queue.length === 0 && this.#latest !== undefined && this.#budget > 0) {
      this.#queue.push(this.#pay(this.#latest));
      this.#latest = undefined;
    }
    const next = this.#queue.shift();
    if (next !== undefined) this.#deliver(next);
    this.#schedule();
  }

  #pay(bytes: Uint8Array): Uint8Array {
    this.#budget -= Math.max(1, Math.ceil(bytes.byteLength / LIST_UNIT_BYTES));
    return bytes;
  }

  #refill(): void {
    const units = Math.floor((this.#clock.monotonicMs() - this.#refilledAt) / REFILL_MS);
    if (units <= 0) return;
    this.#refilledAt += units * REFILL_MS;
    this.#budget = Math.min(BURST, this.#budget + units);
  }

  #cancel(): void {
    this.#scheduled?.();
    this.#scheduled = undefined;
  }
}
