import { bad, good, type Outcome } from '../check.ts';

/** The complaints about a number of things. */
export class Complaints {
  readonly lines: readonly string[];
  readonly #looked: number;

  constructor(lines: readonly string[], looked: number) {
    this.lines = lines;
    this.#looked = looked;
  }

  /** Good with one text when there are none, else bad with the other and the complaints, a few of many. */
  outcome(whenGood: string, whenBad: string): Outcome {
    if (this.lines.length === 0)
      return good(this.#looked > 1 ? `${whenGood} (${String(this.#looked)} looked at)` : whenGood);
    const shown = this.lines.slice(0, MOST_LINES);
    const more = this.lines.length - shown.length;
    return bad(whenBad, more > 0 ? [...shown, `and ${String(more)} more`] : shown);
  }
}

const MOST_LINES = 5;

/** Looks at each of some things; `complain` answers what is wrong with one, or nothing. The same complaint counts once. */
export function each<T>(things: readonly T[], complain: (thing: T) => string | undefined): Complaints {
  const lines = new Set<string>();
  for (const thing of things) {
    const complaint = complain(thing);
    if (complaint !== undefined) lines.add(complaint);
  }
  return new Complaints([...lines], things.length);
}
