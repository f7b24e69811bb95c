import { RestartBackOff } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

describe('RestartBackOff', () => {
  test('the first restart is at once, then 10 s, doubling up to 5 min', () => {
    const backOff = new RestartBackOff();
    let now = 0;
    const waits = Array.from({ length: 9 }, () => {
      const wait = backOff.ended((now += SECOND));
      now += wait;
      return wait / SECOND;
    });
    expect(waits).toEqual([0, 10, 20, 40, 80, 160, 300, 300, 300]);
    expect(backOff.delayMs).toBe(300 * SECOND);
  });

  test('a container that ran for more than 10 min starts over', () => {
    const backOff = new RestartBackOff();
    expect(backOff.ended(0)).toBe(0);
    expect(backOff.ended(10 * MINUTE)).toBe(10 * SECOND);
    // Started again at 10:10.
    expect(backOff.ended(20 * MINUTE + 11 * SECOND)).toBe(0);
    expect(backOff.ended(20 * MINUTE + 12 * SECOND)).toBe(10 * SECOND);
    backOff.reset();
    expect(backOff.ended(21 * MINUTE)).toBe(0);
  });

  test('limits can be set', () => {
    const backOff = new RestartBackOff({ initialMs: 1, maxMs: 3, resetAfterMs: 100 });
    expect([1, 2, 4, 8, 12].map((at) => backOff.ended(at))).toEqual([0, 1, 2, 3, 3]);
    expect(backOff.ended(200)).toBe(0);
  });

  test('whatever the clock does, no wait is negative or longer than the limit', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1e9, max: 1e9 })), (times) => {
        const backOff = new RestartBackOff();
        for (const time of times) {
          const wait = backOff.ended(time);
          expect(wait >= 0 && wait <= 300 * SECOND).toBe(true);
        }
      }),
    );
  });
});
