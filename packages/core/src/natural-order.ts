/**
 * Natural order: text compared by character, runs of decimal digits by their value, so `gpu-9` comes before `gpu-10`.
 * Where upstream picks "any" device, devmgr picks the first in this order, so the same state gives the same choice.
 */

const DIGITS = /\d+/g;
const HAS_DIGITS = /\d/;
/** The longest digit run whose length fits in one UTF-16 code unit; longer ones still have a fixed place. */
const MAX_RUN = 0xffff;

/**
 * A string whose plain `<` order is the natural order of `text`; equal for texts that differ in leading zeros alone. Each run of digits becomes `0`, its length, and its digits without leading zeros: a longer
 * number is a larger one, and the `0` keeps digits in their place among other characters.
 */
export function naturalKey(text: string): string {
  if (!HAS_DIGITS.test(text)) return text;
  return text.replace(DIGITS, (run) => {
    let start = 0;
    while (start < run.length && run.charCodeAt(start) === 0x30) start += 1;
    const digits = run.slice(start);
    return `0${String.fromCharCode(Math.min(digits.length, MAX_RUN))}${digits}`;
  });
}

/** Total order for `Array.prototype.sort`: natural order; where only leading zeros differ, by code units (`x01`, `x1`). */
export function naturalCompare(a: string, b: string): number {
  return compareKeyed({ id: a, sortKey: naturalKey(a) }, { id: b, sortKey: naturalKey(b) });
}

/** {@link naturalCompare} for things that keep their {@link naturalKey}; for long lists. */
export function compareKeyed(
  a: { readonly id: string; readonly sortKey: string },
  b: { readonly id: string; readonly sortKey: string },
): number {
  if (a.sortKey !== b.sortKey) return a.sortKey < b.sortKey ? -1 : 1;
  if (a.id === b.id) return 0;
  return a.id < b.id ? -1 : 1;
}
