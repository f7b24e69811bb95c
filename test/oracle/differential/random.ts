/** Repeatable random numbers: the same seed gives the same sequence on every machine. (mulberry32) */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Neighbouring seeds begin far apart.
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly [T, ...T[]]): T;
  pick<T>(items: readonly T[]): T | undefined;
  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.next() * items.length)];
  }

  /** `count` of the items, in their order. */
  some<T>(items: readonly T[], count: number): T[] {
    const left = [...items.keys()];
    const chosen = new Set<number>();
    while (chosen.size < count && left.length > 0) {
      const [index] = left.splice(Math.floor(this.next() * left.length), 1);
      if (index !== undefined) chosen.add(index);
    }
    return items.filter((_, index) => chosen.has(index));
  }
}
