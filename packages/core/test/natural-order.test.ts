import { naturalCompare } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('naturalCompare', () => {
  it('compares numbers inside ids by value', () => {
    const ids = ['gpu-10', 'gpu-9', 'gpu-1', 'gpu', 'gpu-1-2', 'gpu-1-10', 'GPU-3', '2', '10', 'gpu-x', ''];
    expect([...ids].sort(naturalCompare)).toEqual([
      '',
      '2',
      '10',
      'GPU-3',
      'gpu',
      'gpu-1',
      'gpu-1-2',
      'gpu-1-10',
      'gpu-9',
      'gpu-10',
      'gpu-x',
    ]);
  });

  it('tells ids apart that differ in leading zeros alone, and sorts numbers longer than any integer type', () => {
    expect(naturalCompare('x01', 'x1')).toBe(-1);
    expect(naturalCompare('x1', 'x01')).toBe(1);
    expect(naturalCompare('x001y2', 'x1y10')).toBe(-1);
    expect(naturalCompare(`x${'9'.repeat(40)}`, `x1${'0'.repeat(40)}`)).toBe(-1);
    expect(naturalCompare('x0', 'x00')).not.toBe(0);
  });

  it('is a total order over any strings', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-b0-2]{0,6}$/));
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        expect(naturalCompare(a, b) + naturalCompare(b, a)).toBe(0);
        expect(naturalCompare(a, b) === 0).toBe(a === b);
        if (naturalCompare(a, b) <= 0 && naturalCompare(b, c) <= 0) {
          expect(naturalCompare(a, c)).toBeLessThanOrEqual(0);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('orders prefixed numbers as numbers', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (a, b) => {
        expect(naturalCompare(`dev-${String(a)}`, `dev-${String(b)}`)).toBe(Math.sign(a - b));
      }),
    );
  });
});
