const WORD_BITS = 32;

/**
 * A set of whole numbers below a fixed size, walked in ascending order. Adding, removing and finding the next member
 * take O(log32 size) (four steps for a million), whatever the set holds.
 *
 * Invariant: bit `i` of level `n + 1` is set exactly when word `i` of level `n` is not zero. Level 0 holds the members.
 */
export class BitTree {
  readonly #levels: Uint32Array[] = [];
  #size = 0;

  /** @param capacity members are `0 … capacity - 1` */
  constructor(capacity: number) {
    let words = Math.ceil(capacity / WORD_BITS);
    do {
      this.#levels.push(new Uint32Array(words));
      words = words <= 1 ? 0 : Math.ceil(words / WORD_BITS);
    } while (words > 0);
  }

  /** How many members there are. */
  get size(): number {
    return this.#size;
  }

  add(member: number): void {
    if (this.has(member)) return;
    this.#size += 1;
    let index = member;
    for (const level of this.#levels) {
      const word = index >>> 5;
      const before = level[word] ?? 0;
      level[word] = before | (1 << (index & 31));
      if (before !== 0) return;
      index = word;
    }
  }

  delete(member: number): void {
    if (!this.has(member)) return;
    this.#size -= 1;
    let index = member;
    for (const level of this.#levels) {
      const word = index >>> 5;
      const after = (level[word] ?? 0) & ~(1 << (index & 31));
      level[word] = after;
      if (after !== 0) return;
      index = word;
    }
  }

  has(member: number): boolean {
    return (((this.#levels[0]?.[member >>> 5] ?? 0) >>> (member & 31)) & 1) === 1;
  }

  /** The smallest member that is at least `from`, or -1. */
  next(from: number): number {
    let index = from;
    for (let depth = 0; depth < this.#levels.length; depth += 1) {
      const level = this.#levels[depth];
      const word = index >>> 5;
      if (level === undefined || word >= level.length) return -1;
      const rest = ((level[word] ?? 0) >>> (index & 31)) << (index & 31);
      if (rest !== 0) return this.#descend(depth, (word << 5) | lowestBit(rest));
      index = word + 1;
    }
    return -1;
  }

  /** The smallest member below bit `index` of level `depth`, which is set. */
  #descend(depth: number, index: number): number {
    let found = index;
    for (let below = depth - 1; below >= 0; below -= 1) {
      found = (found << 5) | lowestBit(this.#levels[below]?.[found] ?? 0);
    }
    return found;
  }
}

/** Position of the lowest set bit of a 32-bit word that is not zero. */
function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
