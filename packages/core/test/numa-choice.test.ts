import { type Device, filterByAffinity, Ledger } from '@devmgr/core';
import { describe, expect, it } from 'vitest';
import { admit, allocate, devices, devicesOn, recorded } from './ledger-kit.ts';

const R = 'example.com/r';

function ledgerOf(list: readonly Device[]): Ledger {
  const ledger = new Ledger();
  ledger.replaceDevices(R, list);
  return ledger;
}

/** The devices one container gets. */
function chosen(list: readonly Device[], count: number, affinity: number[], prefers?: string[]): readonly string[] {
  return allocate(ledgerOf(list), {
    pod: 'p',
    resource: R,
    count,
    affinity,
    ...(prefers === undefined ? {} : { prefers }),
  }).ids;
}

const named = (...numbers: number[]): string[] => numbers.map((number) => `Dev${String(number)}`);

/**
 * Eight devices, some held by an init container of the pod that asks (so reusable), some by another pod; what the
 * plugin is asked.
 */
function askedWith(list: readonly Device[], taken: number[], reusable: number[], count: number, affinity?: number[]) {
  const ledger = new Ledger();
  const others = taken.filter((number) => !reusable.includes(number));
  ledger.restore([recorded('p', 'init', R, named(...reusable)), recorded('other', 'c', R, named(...others))]);
  ledger.replaceDevices(R, list);
  ledger.settleContainer('p', 'init', 'init');
  const { asked } = allocate(ledger, { pod: 'p', resource: R, count, affinity: affinity ?? null, prefers: [] });
  return asked;
}

describe('choosing devices by NUMA affinity', () => {
  it('scenario 97: devices are told apart by the first fitting node', () => {
    const all = devices('dev1:H:1', 'dev2:H:1,2', 'dev3:H:2', 'dev4:H:2');
    expect(filterByAffinity(all.slice(0, 2), new Set([2]))).toEqual({
      aligned: ['dev2'],
      unaligned: ['dev1'],
      noAffinity: [],
    });
    expect(filterByAffinity(all, new Set([2]))).toEqual({
      aligned: ['dev2', 'dev3', 'dev4'],
      unaligned: ['dev1'],
      noAffinity: [],
    });
    expect(filterByAffinity(devices('a', 'b:H:-1', 'c:H:3'), null).noAffinity).toEqual(['a', 'b', 'c']);
    expect(filterByAffinity(devices('a', 'b:H:-1', 'c:H:3'), new Set([0]))).toEqual({
      aligned: [],
      unaligned: ['c'],
      noAffinity: ['a', 'b'],
    });
  });

  it('scenario 98: without topology any device will do', () => {
    expect(chosen(devices('Dev2', 'Dev1'), 1, [0, 1])).toEqual(['Dev1']);
  });

  it('scenario 99: a device on the node comes before one without topology', () => {
    expect(chosen(devices('Dev1', 'Dev2:H:1'), 1, [1])).toEqual(['Dev2']);
  });

  it('scenario 100: one device per node', () => {
    const list = devices('Dev1:H:0', 'Dev2:H:1');
    expect([chosen(list, 1, [0]), chosen(list, 1, [1])]).toEqual([['Dev1'], ['Dev2']]);
  });

  it('scenario 101: two devices per node', () => {
    const list = devices('Dev1:H:0', 'Dev2:H:1', 'Dev3:H:0', 'Dev4:H:1');
    expect([chosen(list, 2, [0]), chosen(list, 2, [1])]).toEqual([
      ['Dev1', 'Dev3'],
      ['Dev2', 'Dev4'],
    ]);
  });

  it('scenario 102: more than the node has spills over', () => {
    const list = devices('Dev1:H:0', 'Dev2:H:1', 'Dev3:H:0', 'Dev4:H:1', 'Dev5:H:0', 'Dev6:H:1');
    expect(chosen(list, 4, [0])).toEqual(['Dev1', 'Dev2', 'Dev3', 'Dev5']);
    expect(chosen(list, 4, [1])).toEqual(['Dev1', 'Dev2', 'Dev4', 'Dev6']);
  });

  it('scenario 103: several nodes in the affinity', () => {
    const list = [0, 1, 2, 3].flatMap((node) => devicesOn(node, node * 2, 2));
    expect(chosen(list, 4, [1, 3])).toEqual(named(2, 3, 6, 7));
  });

  const hundreds = [...devicesOn(0, 0, 100), ...devicesOn(1, 100, 100)];

  it('scenario 104: the preferred devices of the node', () => {
    expect(chosen(hundreds, 5, [0], named(0, 19, 83, 42, 77))).toEqual(named(0, 19, 42, 77, 83));
  });

  it('scenario 105: preferred devices of another node are passed over', () => {
    expect(chosen(hundreds, 5, [0], named(0, 19, 83, 150, 186))).toEqual(named(0, 1, 2, 19, 83));
  });

  it('scenario 106: bogus ids are passed over', () => {
    const ids = chosen(devicesOn(1, 0, 100), 5, [1], [...named(0, 19, 83), 'bogus0', 'bogus1']);
    expect(ids).toEqual(named(0, 1, 2, 19, 83));
  });

  it('scenario 107: preference decides about the rest when the node has too few', () => {
    const list = [...devicesOn(0, 0, 3), ...devicesOn(1, 3, 97)];
    expect(chosen(list, 5, [0], named(0, 1, 2, 42, 83))).toEqual(named(0, 1, 2, 42, 83));
  });

  it('scenario 108: bogus ids among the rest are replaced', () => {
    const list = [...devicesOn(0, 0, 3), ...devicesOn(1, 3, 97)];
    expect(chosen(list, 5, [0], [...named(0, 1, 2, 42), 'bogus0'])).toEqual(named(0, 1, 2, 3, 42));
  });

  it('scenario 109: the plugin is asked about all free devices', () => {
    expect(askedWith(devicesOn(0, 0, 4), [], [], 1)).toEqual({
      step: 'prefer',
      available: named(0, 1, 2, 3),
      mustInclude: [],
      size: 1,
    });
  });

  it('scenarios 110, 111: reused devices must be included, and what others hold is not available', () => {
    expect(askedWith(devicesOn(0, 0, 8), [0, 5], [0, 5], 4)).toEqual({
      step: 'prefer',
      available: named(0, 1, 2, 3, 4, 5, 6, 7),
      mustInclude: named(0, 5),
      size: 4,
    });
    expect(askedWith(devicesOn(0, 0, 8), [0, 1, 4, 5], [0, 5], 4)).toEqual({
      step: 'prefer',
      available: named(0, 2, 3, 5, 6, 7),
      mustInclude: named(0, 5),
      size: 4,
    });
  });

  it('scenarios 112, 113: aligned devices must be included when all of them are needed', () => {
    const list = [...devicesOn(0, 0, 4), ...devicesOn(1, 4, 4)];
    expect(askedWith(list, [1, 6], [1, 6], 6, [0])).toEqual({
      step: 'prefer',
      available: named(0, 1, 2, 3, 4, 5, 6, 7),
      mustInclude: named(0, 1, 2, 3, 6),
      size: 6,
    });
    expect(askedWith(list, [0, 1, 6, 7], [1, 6], 6, [0])).toEqual({
      step: 'prefer',
      available: named(1, 2, 3, 4, 5, 6),
      mustInclude: named(1, 2, 3, 6),
      size: 6,
    });
  });

  it('scenario 114: exactly as many aligned devices as needed are taken without asking', () => {
    const list = [...devicesOn(0, 0, 2), ...devicesOn(1, 2, 2)];
    const { ids, asked } = allocate(ledgerOf(list), { pod: 'p', resource: R, count: 2, affinity: [1], prefers: [] });
    expect([ids, asked]).toEqual([named(2, 3), undefined]);
  });

  it('takes devices of other nodes before those without any', () => {
    expect(chosen(devices('a', 'b:H:1', 'c:H:0'), 2, [0])).toEqual(['b', 'c']);
  });

  it('uses of a preference only what is asked for, each id once', () => {
    const ledger = ledgerOf(devicesOn(0, 0, 6));
    expect(allocate(ledger, { pod: 'p', resource: R, count: 3, prefers: named(5, 5, 4, 0, 1, 2) }).ids).toEqual(
      named(0, 4, 5),
    );
    expect(allocate(ledger, { pod: 'q', resource: R, count: 2, prefers: named(5, 3) }).ids).toEqual(named(1, 3));
  });

  it('follows a device that changes its node', () => {
    const ledger = ledgerOf(devices('Dev1:H:0', 'Dev2:H:0', 'Dev3:H:1'));
    ledger.replaceDevices(R, devices('Dev1:H:1', 'Dev2:H:0', 'Dev3:H:1'));
    expect(admit(ledger, { pod: 'p', resource: R, count: 1, affinity: [0] })).toEqual(['Dev2']);
    expect(admit(ledger, { pod: 'q', resource: R, count: 2, affinity: [1] })).toEqual(['Dev1', 'Dev3']);
  });
});
