import { Ledger } from '@devmgr/core';
import { describe, expect, it } from 'vitest';
import { admit, allocate, counts, devices, recorded, refusal } from './ledger-kit.ts';

const R = 'example.com/r';
const R2 = 'example.com/r2';

describe('device lists and capacity', () => {
  it('scenarios 47, 48: capacity and allocatable follow the lists, each resource by itself', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R2, devices('E1:H'));
    const sequence: [string[], readonly [number, number]][] = [
      [
        ['D1:H', 'D2:H', 'D3:U'],
        [3, 2],
      ],
      [
        ['D1:H', 'D2:H'],
        [2, 2],
      ],
      [
        ['D1:H', 'D2:U', 'D3:U'],
        [3, 1],
      ],
      [
        ['D2:U', 'D3:U'],
        [2, 0],
      ],
    ];
    for (const [list, expected] of sequence) {
      ledger.replaceDevices(R, devices(...list));
      expect(counts(ledger, R)).toEqual(expected);
      expect(counts(ledger, R2)).toEqual([1, 1]);
    }
  });

  it('scenario 50: a disconnected plugin keeps its capacity and has nothing allocatable', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H', 'D2:U', 'D3:H'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    const diff = ledger.markAllUnhealthy(R);
    expect(diff).toMatchObject({ becameUnhealthy: ['D1', 'D3'], changed: true });
    expect(diff.affected).toEqual([{ podUid: 'p', container: 'c', deviceId: 'D1' }]);
    expect(counts(ledger, R)).toEqual([3, 0]);
    expect([...ledger.devices(R)].map(({ id, health, listed }) => [id, health, listed])).toEqual([
      ['D1', 'Unknown', true],
      ['D2', 'Unknown', true],
      ['D3', 'Unknown', true],
    ]);
    expect(ledger.markAllUnhealthy(R).changed).toBe(false);
    expect(ledger.replaceDevices(R, devices('D1:H', 'D2:U', 'D3:H'))).toMatchObject({
      added: [],
      removed: [],
      becameHealthy: ['D1', 'D3'],
    });
    expect(counts(ledger, R)).toEqual([3, 2]);
  });

  it('scenario 54: a device in use stays allocatable, and its health counts on when the pod is gone', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    expect(counts(ledger, R)).toEqual([1, 1]);
    ledger.replaceDevices(R, devices('D1:U'));
    expect(counts(ledger, R)).toEqual([1, 0]);
    expect(ledger.podUids()).toEqual(['p']);
    ledger.releasePod('p');
    expect(counts(ledger, R)).toEqual([1, 0]);
    expect(ledger.capacity(R)).toMatchObject({ allocated: 0, free: 0, unhealthy: 1 });
  });

  it('scenario 55: allocatable devices are the healthy ones, in use or not', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H', 'D2:H', 'D3:U'));
    ledger.replaceDevices(R2, devices('E1:H'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    expect(ledger.healthyIds(R)).toEqual(['D1', 'D2']);
    expect(ledger.healthyIds(R2)).toEqual(['E1']);
    ledger.replaceDevices(R, devices('D1:H', 'D2:H', 'D3:H'));
    expect(ledger.healthyIds(R)).toEqual(['D1', 'D2', 'D3']);
  });

  it('scenario 56: healthy devices of chosen resources and ids', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H', 'D2:H', 'D3:U'));
    ledger.replaceDevices(R2, devices('E1:H'));
    const select = (wanted: Record<string, string[]>): Record<string, string[]> =>
      Object.fromEntries(
        [...ledger.allocatableDevices(new Map(Object.entries(wanted).map(([name, ids]) => [name, new Set(ids)])))].map(
          ([name, found]) => [name, found.map(({ id }) => id)],
        ),
      );
    expect(select({})).toEqual({});
    expect(select({ [R]: ['D1', 'nobody'], 'example.com/unknown': ['X'] })).toEqual({ [R]: ['D1'] });
    expect(select({ [R]: ['nobody'], [R2]: ['E1'] })).toEqual({ [R]: [], [R2]: ['E1'] });
    expect([...ledger.allocatableDevices()].map(([name, found]) => [name, found.map(({ id }) => id)])).toEqual([
      [R, ['D1', 'D2']],
      [R2, ['E1']],
    ]);
  });

  it('scenario 57: only the exact string Healthy is healthy', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(
      R,
      ['healthy', '', 'UNHEALTHY', 'Degraded', 'Healthy '].map((health, index) => ({
        id: `D${String(index)}`,
        health,
        numaNodes: [],
      })),
    );
    expect(counts(ledger, R)).toEqual([5, 0]);
    expect(ledger.device(R, 'D3')).toMatchObject({ health: 'Degraded', healthy: false });
  });

  it('scenario 58: of a device listed twice the last counts, and an empty list leaves the resource known', () => {
    const ledger = new Ledger();
    const diff = ledger.replaceDevices(R, devices('D1:H:0', 'D2:H', 'D1:U:1', 'D1:U:1', 'D2:U', 'D2:H'));
    expect(diff).toMatchObject({ added: ['D1', 'D2'], becameHealthy: [], becameUnhealthy: [] });
    expect(counts(ledger, R)).toEqual([2, 1]);
    expect(ledger.device(R, 'D1')).toMatchObject({ healthy: false, numaNodes: [1] });
    expect(ledger.replaceDevices(R, [])).toMatchObject({ removed: ['D1', 'D2'], changed: true });
    expect(counts(ledger, R)).toEqual([0, 0]);
    expect(ledger.isKnown(R)).toBe(true);
    expect(ledger.replaceDevices(R, []).changed).toBe(false);
  });

  it('scenario 60: a vanished device stays with its pod and is not given out when it returns', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H', 'D2:H'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    const gone = ledger.replaceDevices(R, devices('D2:H'));
    expect(gone.removed).toEqual(['D1']);
    expect(gone.affected).toEqual([{ podUid: 'p', container: 'c', deviceId: 'D1' }]);
    expect(counts(ledger, R)).toEqual([1, 1]);
    expect(ledger.capacity(R)?.allocated).toBe(1);
    expect([...ledger.devices(R)].map(({ id, listed, health }) => [id, listed, health])).toEqual([
      ['D1', false, 'Unknown'],
      ['D2', true, 'Healthy'],
    ]);
    expect(ledger.allocation('p', 'c', R)?.deviceIds).toEqual(new Map([[-1, ['D1']]]));

    const back = ledger.replaceDevices(R, devices('D1:H', 'D2:H'));
    expect(back.added).toEqual(['D1']);
    expect(back.affected).toEqual([{ podUid: 'p', container: 'c', deviceId: 'D1' }]);
    expect(admit(ledger, { pod: 'q', resource: R, count: 1 })).toEqual(['D2']);
    expect(refusal(ledger, { pod: 'x', resource: R, count: 1 })).toContain('Available: 0');
    ledger.releasePod('p');
    expect(admit(ledger, { pod: 'x', resource: R, count: 1 })).toEqual(['D1']);
  });

  it('forgets a vanished device with its last holder', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H', 'D2:H'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    ledger.replaceDevices(R, devices('D2:H'));
    ledger.releasePod('p');
    expect(ledger.device(R, 'D1')).toBeUndefined();
    expect([...ledger.devices(R)].map(({ id }) => id)).toEqual(['D2']);
  });

  it('says what a list changed, in the order of the list, and nothing for the same list again', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H:0', 'D2:U:0', 'D3:H:0', 'D4:U:0', 'D5:H:0'));
    const version = ledger.version;
    expect(ledger.replaceDevices(R, devices('D5:H:0', 'D4:U:0', 'D3:H:0', 'D2:U:0', 'D1:H:0'))).toMatchObject({
      changed: false,
      affected: [],
    });
    expect(ledger.version).toBe(version);
    const diff = ledger.replaceDevices(R, devices('D9:H', 'D8:U', 'D2:H:0', 'D1:U:0', 'D3:H:1', 'D4:Degraded:0'));
    expect(diff).toEqual({
      added: ['D9', 'D8'],
      removed: ['D5'],
      becameHealthy: ['D2'],
      becameUnhealthy: ['D1'],
      topologyChanged: ['D3'],
      affected: [],
      changed: true,
    });
    expect(ledger.version).toBeGreaterThan(version);
    expect(ledger.numaShares(R)).toEqual(
      expect.arrayContaining([
        { numaNodes: [0], listed: 3, free: 1 },
        { numaNodes: [1], listed: 1, free: 1 },
        { numaNodes: [], listed: 2, free: 1 },
      ]),
    );
  });

  it('lists devices in natural order, wherever new ones come in', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D10', 'D9', 'D1', 'D2:H:1'));
    ledger.replaceDevices(R, devices('D10', 'D9', 'D1', 'D2:H:1', 'D3', 'D11:H:0', 'D0'));
    expect([...ledger.devices(R)].map(({ id }) => id)).toEqual(['D0', 'D1', 'D2', 'D3', 'D9', 'D10', 'D11']);
    expect(admit(ledger, { pod: 'p', resource: R, count: 4 })).toEqual(['D0', 'D1', 'D2', 'D3']);
  });

  it('keeps no trace of devices that come and go under ever new names', () => {
    const ledger = new Ledger();
    for (let round = 0; round < 50; round += 1) {
      ledger.replaceDevices(
        R,
        Array.from({ length: 100 }, (_, index) => ({
          id: `${String(round)}-${String(index)}`,
          health: 'Healthy',
          numaNodes: [round],
        })),
      );
      expect([...ledger.devices(R)]).toHaveLength(100);
      expect(ledger.numaShares(R)).toEqual([{ numaNodes: [round], listed: 100, free: 100 }]);
    }
  });

  it('takes back devices that were gone while the list was short', () => {
    const ledger = new Ledger();
    const all = Array.from({ length: 200 }, (_, index) => `D${String(index)}`);
    ledger.replaceDevices(R, devices(...all));
    admit(ledger, { pod: 'p', resource: R, count: 2 });
    ledger.replaceDevices(R, devices('D7', 'D8'));
    expect([...ledger.devices(R)].map(({ id }) => id)).toEqual(['D0', 'D1', 'D7', 'D8']);
    ledger.replaceDevices(R, devices(...[...all].reverse()));
    expect([...ledger.devices(R)].map(({ id }) => id)).toEqual(all);
    expect(ledger.capacity(R)).toMatchObject({ capacity: 200, allocated: 2, free: 198 });
  });

  it('hands out thousands of devices in natural order across NUMA nodes', () => {
    const ledger = new Ledger();
    const ids = Array.from({ length: 5000 }, (_, index) => `D${String(index)}`);
    const list = ids.map((id, index) => ({ id, health: 'Healthy', numaNodes: [(index * 7) % 3] }));
    ledger.replaceDevices(R, [...list.slice(2500).reverse(), ...list.slice(0, 2500)]);
    const taken: string[] = [];
    for (let pod = 0; taken.length < ids.length; pod += 1) {
      taken.push(...admit(ledger, { pod: String(pod), resource: R, count: Math.min(37, ids.length - taken.length) }));
    }
    expect(taken).toEqual(ids);
    ledger.releasePod('60');
    ledger.releasePod('3');
    expect(admit(ledger, { pod: 'x', resource: R, count: 74 })).toEqual([
      ...ids.slice(3 * 37, 4 * 37),
      ...ids.slice(60 * 37, 61 * 37),
    ]);
  });

  it('ignores negative and repeated NUMA nodes', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1:H:-1', 'D2:H:1,1,0', 'D3:H:0,-7'));
    allocate(ledger, { pod: 'p', resource: R, count: 3 });
    expect(ledger.allocation('p', 'c', R)?.deviceIds).toEqual(
      new Map([
        [-1, ['D1']],
        [0, ['D2', 'D3']],
        [1, ['D2']],
      ]),
    );
  });
});

describe('known resources', () => {
  it('a resource is known from its plugin or from what is allocated of it', () => {
    const ledger = new Ledger();
    expect(ledger.isKnown(R)).toBe(false);
    expect(ledger.capacity(R)).toBeUndefined();
    ledger.knowResource(R);
    expect(counts(ledger, R)).toEqual([0, 0]);
    expect([ledger.isKnown(R), ledger.hasPool(R)]).toEqual([true, true]);
    ledger.forgetResource(R);
    expect([ledger.isKnown(R), ledger.hasPool(R)]).toEqual([false, false]);

    ledger.restore([recorded('p', 'c', R, ['D1']), recorded('p', 'c', R2, [])]);
    expect(ledger.resourceNames()).toEqual([R, R2]);
    expect([ledger.isKnown(R), ledger.hasPool(R), ledger.isKnown(R2)]).toEqual([true, false, true]);
    expect([...ledger.allocatedCounts()]).toEqual([
      [R, 1],
      [R2, 0],
    ]);
    ledger.releasePod('p');
    expect(ledger.resourceNames()).toEqual([]);
  });

  it('what was restored is held before any list, with the NUMA nodes recorded', () => {
    const ledger = new Ledger();
    ledger.restore([recorded('p', 'c', R, { 0: ['D1'], 1: ['D1', 'D2'] })]);
    ledger.knowResource(R);
    expect([...ledger.devices(R)]).toEqual([
      {
        id: 'D1',
        health: 'Unknown',
        numaNodes: [0, 1],
        listed: false,
        healthy: false,
        reserved: false,
        holders: [{ podUid: 'p', container: 'c' }],
      },
      expect.objectContaining({ id: 'D2', numaNodes: [1], listed: false }),
    ]);
    ledger.restore([recorded('p', 'other', R, ['D4'])]);
    expect(ledger.device(R, 'D4')?.numaNodes).toEqual([]);
    ledger.replaceDevices(R, devices('D1', 'D2', 'D3'));
    expect(ledger.capacity(R)).toMatchObject({ capacity: 3, allocated: 3, free: 1 });
    expect(admit(ledger, { pod: 'q', resource: R, count: 1 })).toEqual(['D3']);
  });

  it('scenario 96: a removed resource with live allocations is still ours, and refused', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R, devices('D1', 'D2'));
    admit(ledger, { pod: 'p', resource: R, count: 1 });
    ledger.forgetResource(R);
    expect(ledger.isKnown(R)).toBe(true);
    expect(ledger.hasPool(R)).toBe(false);
    expect(ledger.capacity(R)).toBeUndefined();
    expect(refusal(ledger, { pod: 'q', resource: R, count: 1 })).toBe(`cannot allocate unregistered device ${R}`);
    expect([...ledger.devices(R)].map(({ id, listed }) => [id, listed])).toEqual([['D1', false]]);
    ledger.replaceDevices(R, devices('D1', 'D2'));
    expect(admit(ledger, { pod: 'q', resource: R, count: 1 })).toEqual(['D2']);
    ledger.releasePod('p');
    ledger.releasePod('q');
    ledger.forgetResource(R);
    expect(ledger.isKnown(R)).toBe(false);
  });
});
