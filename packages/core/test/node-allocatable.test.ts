import { Ledger, sanitizeNodeAllocatable } from '@devmgr/core';
import { describe, expect, it } from 'vitest';
import { admit, devices } from './ledger-kit.ts';

describe('sanitizeNodeAllocatable', () => {
  it('scenario 91: raises what is missing or too low for a pod that holds devices, and never lowers', () => {
    const ledger = new Ledger();
    for (const resource of ['example.com/r1', 'example.com/r2']) {
      ledger.replaceDevices(resource, devices('D1', 'D2'));
      admit(ledger, { pod: 'p', resource, count: 1 });
    }
    const node = new Map([['example.com/r2', 2]]);
    const known = (pod: string): boolean => ledger.podAllocations(pod).length > 0;
    expect(sanitizeNodeAllocatable(node, ledger.allocatedCounts(), known('p'))).toEqual(
      new Map([
        ['example.com/r2', 2],
        ['example.com/r1', 1],
      ]),
    );
    expect(node.size).toBe(1);
    const enough = new Map(ledger.allocatedCounts());
    expect(sanitizeNodeAllocatable(enough, ledger.allocatedCounts(), true)).toBe(enough);
    expect(sanitizeNodeAllocatable(node, ledger.allocatedCounts(), known('q'))).toBe(node);
    expect(sanitizeNodeAllocatable(new Map([['example.com/r1', 0]]), ledger.allocatedCounts(), true)).toEqual(
      new Map([
        ['example.com/r1', 1],
        ['example.com/r2', 1],
      ]),
    );
  });
});
