import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitTree } from '../src/bit-tree.ts';

describe('BitTree', () => {
  it('walks its members in ascending order whatever was added and deleted', () => {
    // Clustered, so that words fill up and empty again: members come from a window of the capacity.
    const sized = fc
      .constantFrom(1, 31, 32, 33, 70, 1023, 1024, 1025, 40_000)
      .chain((capacity) => fc.tuple(fc.constant(capacity), fc.nat(capacity - 1)))
      .chain(([capacity, start]) => {
        const member = fc.integer({ min: start, max: Math.min(capacity - 1, start + 80) });
        const anywhere = fc.nat(capacity - 1);
        const change = fc.tuple(fc.boolean(), fc.oneof({ weight: 5, arbitrary: member }, anywhere));
        return fc.tuple(fc.constant(capacity), fc.array(change, { maxLength: 200, size: 'max' }));
      });
    fc.assert(
      fc.property(sized, ([capacity, changes]) => {
        const tree = new BitTree(capacity);
        const model = new Set<number>();
        for (const [add, member] of changes) {
          if (add) {
            tree.add(member);
            model.add(member);
          } else {
            tree.delete(member);
            model.delete(member);
          }
        }
        const walked: number[] = [];
        for (let member = tree.next(0); member >= 0; member = tree.next(member + 1)) walked.push(member);
        expect(walked).toEqual([...model].sort((a, b) => a - b));
        expect(tree.size).toBe(model.size);
        for (const [, member] of changes) expect(tree.has(member)).toBe(model.has(member));
      }),
      { numRuns: 300 },
    );
  });

  it('has nothing to walk when empty or without capacity', () => {
    expect(new BitTree(0).next(0)).toBe(-1);
    expect(new BitTree(5000).next(0)).toBe(-1);
    expect(new BitTree(5000).next(5000)).toBe(-1);
  });
});
