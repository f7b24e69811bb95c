import {
  containerRequests,
  decideTopology,
  type Device,
  deviceHints,
  type DeviceShare,
  Ledger,
  ledgerHints,
  mergeHints,
  nodesOf,
  NumaMachine,
  type Pod,
  podRequest,
} from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admit, allocate, devices, devicesOn, recorded } from './ledger-kit.ts';
import { hints, hintsByDevice, machineOf, word, words } from './topology-kit.ts';

const R = 'example.com/r';
const S = 'example.com/s';
const TWO = machineOf(2);

/** Hints of a container (or, without one, of the pod) for one resource, as words. */
function hinted(
  ledger: Ledger,
  count: number,
  {
    pod = 'p',
    container = 'c',
    machine = TWO,
  }: { pod?: string; container?: string | null; machine?: NumaMachine } = {},
): readonly string[] | null | undefined {
  const resources = new Map([[R, count]]);
  const request = container === null ? { podUid: pod, resources } : { podUid: pod, container, resources };
  return words(ledgerHints(ledger, machine, request).get(R));
}

function ledgerOf(list: readonly Device[], ...before: Parameters<Ledger['restore']>[0]): Ledger {
  const ledger = new Ledger();
  ledger.restore(before);
  ledger.replaceDevices(R, list);
  return ledger;
}

/** Two devices a node: Dev1 and Dev3 on node 0, Dev2 and Dev4 on node 1. */
const FOUR = devices('Dev1:H:0', 'Dev2:H:1', 'Dev3:H:0', 'Dev4:H:1');

const unit = (limits: Readonly<Record<string, number>>) => ({ resources: { limits } });
function pod(app: readonly Readonly<Record<string, number>>[], init: readonly object[] = []): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', uid: 'p' },
    spec: {
      initContainers: init.map((container, index) => ({ name: `i${String(index)}`, ...container })),
      containers: app.map((limits, index) => ({ name: `c${String(index)}`, ...unit(limits) })),
    },
  };
}

describe('device hints', () => {
  it('scenario 115: devices without topology have no preference', () => {
    expect(hinted(ledgerOf(devices('Dev1', 'Dev2')), 1)).toBe(null);
    expect(hinted(ledgerOf([]), 1)).toBe(null);
    expect(hinted(ledgerOf(devices('Dev1:H:-1')), 1)).toBe(null);
    expect(hinted(new Ledger(), 1)).toBe(undefined);
  });

  it('scenario 116: only nodes that bear devices are looked at', () => {
    expect(hinted(ledgerOf(devices('Dev1', 'Dev2:H:1')), 1)).toEqual(['1p']);
    expect(hinted(ledgerOf(devices('Dev1', 'Dev2:H:1')), 2)).toEqual([]);
  });

  it('scenario 117: one device a node', () => {
    const ledger = ledgerOf(devices('Dev1:H:0', 'Dev2:H:1'));
    expect(hinted(ledger, 1)).toEqual(['0p', '1p', '01n']);
    expect(hinted(ledger, 2)).toEqual(['01p']);
  });

  it('scenario 118: preferred is what an empty machine could do', () => {
    const ledger = ledgerOf(FOUR);
    expect(hinted(ledger, 2)).toEqual(['0p', '1p', '01n']);
    admit(ledger, { pod: 'other', resource: R, count: 1, affinity: [0] });
    admit(ledger, { pod: 'other', container: 'd', resource: R, count: 1, affinity: [1] });
    expect(hinted(ledger, 2)).toEqual(['01n']);
  });

  it('scenario 119: each resource has hints of its own', () => {
    const ledger = ledgerOf(FOUR);
    ledger.replaceDevices(S, devices('a', 'b'));
    ledger.replaceDevices('example.com/t', devices('a:H:1'));
    const all = ledgerHints(ledger, TWO, {
      podUid: 'p',
      container: 'c',
      resources: new Map([
        ['example.com/t', 1],
        [S, 1],
        ['unknown.example/x', 1],
        [R, 3],
      ]),
    });
    expect(new Map([...all].map(([resource, list]) => [resource, words(list)]))).toEqual(
      new Map([
        ['example.com/t', ['1p']],
        [S, null],
        [R, ['01p']],
      ]),
    );
  });

  it('scenario 120: impossible, and recorded already', () => {
    expect(hinted(ledgerOf(FOUR), 6)).toEqual([]);
    const two = recorded('p', 'c', R, ['Dev1', 'Dev3']);
    expect(hinted(ledgerOf(FOUR, two), 2)).toEqual(['0p', '01n']);
    expect(hinted(ledgerOf(FOUR, two), 4)).toEqual([]);
    const four = recorded('p', 'c', R, ['Dev1', 'Dev2', 'Dev3', 'Dev4']);
    expect(hinted(ledgerOf(FOUR, four), 2)).toEqual([]);
    expect(hinted(ledgerOf(FOUR, four), 4)).toEqual(['01p']);
    // Where the resource is on one node alone, as in the scenario, that node is the only answer.
    const onlyNode0 = devicesOn(0, 1, 3);
    expect(hinted(ledgerOf(onlyNode0, recorded('p', 'c', R, ['Dev1', 'Dev2'])), 2)).toEqual(['0p']);
  });

  it('regenerates hints from where recorded devices are listed now, healthy or not', () => {
    const record = recorded('p', 'c', R, { 0: ['Dev1'] });
    expect(hinted(ledgerOf(devices('Dev1:U:1', 'Dev2:H:0'), record), 1)).toEqual(['1p', '01n']);
    expect(hinted(ledgerOf(devices('Dev2:H:0'), record), 1)).toEqual([]);
  });

  it('scenario 121: hints of a pod as a whole', () => {
    const ledger = ledgerOf(FOUR);
    ledger.replaceDevices(S, FOUR);
    const podHints = (wanted: Pod): unknown => {
      const all = ledgerHints(ledger, TWO, { podUid: 'p', resources: podRequest(wanted) });
      return [...all.keys()].sort().map((resource) => words(all.get(resource)));
    };
    const each = (list: string[]): string[][] => [list, list];
    const mixed = { [R]: 1, [S]: 1, 'unknown.example/x': 1 };
    expect(podHints(pod([mixed, mixed]))).toEqual(each(['0p', '1p', '01n']));
    expect(podHints(pod([{ [R]: 1, [S]: 1 }], [unit({ [R]: 2, [S]: 1 }), unit({ [S]: 2 })]))).toEqual(
      each(['0p', '1p', '01n']),
    );
    ledger.releasePod('p');
    for (const resource of [R, S]) admit(ledger, { pod: 'other', resource, count: 2, affinity: [0] });
    expect(
      podHints(
        pod([
          { [R]: 1, [S]: 1 },
          { [R]: 1, [S]: 1 },
        ]),
      ),
    ).toEqual(each(['1p', '01n']));
    ledger.releasePod('other');
    for (const resource of [R, S]) {
      admit(ledger, { pod: 'other', resource, count: 1, affinity: [0] });
      admit(ledger, { pod: 'other', container: 'd', resource, count: 1, affinity: [1] });
    }
    expect(
      podHints(
        pod([
          { [R]: 1, [S]: 1 },
          { [R]: 1, [S]: 1 },
        ]),
      ),
    ).toEqual(each(['01n']));
  });

  it('regenerates the hints of a pod from all of its containers', () => {
    const ledger = ledgerOf(FOUR, recorded('p', 'a', R, ['Dev1']), recorded('p', 'b', R, ['Dev1', 'Dev3']));
    expect(hinted(ledger, 2, { container: null })).toEqual(['0p', '01n']);
    expect(hinted(ledger, 3, { container: null })).toEqual([]);
    expect(hinted(ledger, 1, { container: 'other' })).toEqual(['1p', '01n']);
  });

  it('scenario 122: what a pod as a whole asks for', () => {
    const wants = (app: number[], init: (number | { sidecar: number })[] = []): unknown =>
      podRequest(
        pod(
          app.map((count) => ({ [R]: count })),
          init.map((part) =>
            typeof part === 'number'
              ? unit({ [R]: part })
              : { restartPolicy: 'Always', ...unit({ [R]: part.sidecar }) },
          ),
        ),
      ).get(R);
    expect(wants([1, 1], [2, 2])).toBe(2);
    expect(wants([1, 1], [2, 3])).toBe(3);
    expect(wants([3, 3], [2, 2])).toBe(6);
    expect(wants([1], [{ sidecar: 2 }, 3])).toBe(5);
    expect(wants([1], [3, { sidecar: 2 }])).toBe(3);
    expect(podRequest(pod([{}])).size).toBe(0);
  });

  it('scenario 123: nodes that bear devices, of those the machine has', () => {
    const machine = new NumaMachine([0, 3, 5, 7].map((id) => ({ id })));
    const nodes = (...list: string[]): unknown => hinted(ledgerOf(devices(...list)), 1, { machine });
    expect(nodes('a:H:3', 'b:H:5')).toEqual(['3p', '5p', '35n']);
    expect(nodes('a:H:3', 'b')).toEqual(['3p']);
    expect(nodes('a:H:99', 'b:H:5')).toEqual(['5p']);
    expect(nodes('a:H:99,5', 'b:H:99')).toEqual(['5p']);
    // Nothing the machine has: every node of it is tried, and none will do.
    expect(nodes('a:H:99', 'b:H:4294967296')).toEqual([]);
    expect(deviceHints({ machineNodes: [0, 3], count: 0, listed: [], available: [], reusable: [] }).map(word)).toEqual([
      '0p',
      '3p',
      '03n',
    ]);
  });

  it('scenario 124: many nodes without devices cost nothing; what is reused must be part of it', () => {
    const machine = machineOf(34);
    const ledger = ledgerOf(devices('Dev1:H:0', 'Dev2:H:1'));
    expect(hinted(ledger, 1, { machine })).toEqual(['0p', '1p', '01n']);
    admit(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1, affinity: [0] });
    expect(hinted(ledger, 1, { machine })).toEqual(['0p', '01n']);
    expect(hinted(ledger, 2, { machine })).toEqual(['01p']);
    // Where nothing else is left the node of what is reused is the only one.
    const alone = ledgerOf(devices('Dev1:H:0'));
    admit(alone, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1 });
    expect(hinted(alone, 1, { machine })).toEqual(['0p']);
    expect(hinted(alone, 1, { machine, pod: 'q' })).toEqual([]);
    // Without topology it binds nothing.
    const loose = ledgerOf(devices('Dev1', 'Dev2:H:1'));
    admit(loose, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1, affinity: [0] });
    expect(loose.reusableDevices('p', R)[0]?.id).toBe('Dev2');
    loose.releasePod('p');
    admit(loose, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 2 });
    expect(hinted(loose, 1)).toEqual(['1p']);
  });

  it('scenario 125: hints of other providers are respected', () => {
    const machine = machineOf(34);
    const ledger = ledgerOf(FOUR);
    const ours = ledgerHints(ledger, machine, { podUid: 'p', container: 'c', resources: new Map([[R, 1]]) });
    const others = (...list: string[]) => new Map([['cpu', hints(...list)]]);
    const memory = (...list: string[]) => new Map([['memory', hints(...list)]]);
    for (const policy of ['best-effort', 'restricted'] as const) {
      const rules = { policy, options: { preferClosestNumaNodes: false }, machine };
      const merged = (...list: string[]): string => {
        const { admit, hint } = decideTopology(rules, [ours, others(...list), memory(...list)]);
        return `${String(admit)} ${word(hint)}`;
      };
      expect(merged('0p', '01n')).toBe('true 0p');
      expect(merged('1p', '01n')).toBe('true 1p');
      const onFar = ledgerOf(devices('a:H:3', 'b:H:7'));
      const far = ledgerHints(onFar, machine, { podUid: 'p', container: 'c', resources: new Map([[R, 1]]) });
      const { admit, hint } = decideTopology(rules, [far, others('3p', '7p', '37n'), memory('7p')]);
      expect([admit, word(hint)]).toEqual([true, '7p']);
    }
  });

  it('scenario 126: lists and hints in turn, a thousand devices', () => {
    const list = Array.from({ length: 1000 }, (_, index) => ({
      id: `Dev${String(index)}`,
      health: 'Healthy',
      numaNodes: [index % 2],
    }));
    const ledger = ledgerOf(list);
    for (let round = 0; round < 50; round += 1) {
      ledger.replaceDevices(R, list.slice(0, 1000 - round * 20));
      expect(hinted(ledger, 400)).toEqual(round <= 10 ? ['0p', '1p', '01n'] : round <= 30 ? ['01p'] : []);
    }
  });
});

describe('hints from numbers of devices', () => {
  const machineNodes = [0, 1, 4, 5];
  const numaNodes = fc.subarray([0, 1, 4, 5, 9], { maxLength: 3 });
  const share = fc.record({ numaNodes, listed: fc.nat(3), free: fc.nat(3), reusable: fc.nat(1) });

  it('are those from looking at every device', () => {
    const expand = (shares: readonly DeviceShare[]): { numaNodes: readonly number[] }[] =>
      shares.flatMap((one) => Array.from({ length: one.count }, () => ({ numaNodes: one.numaNodes })));
    fc.assert(
      fc.property(fc.array(share, { maxLength: 5 }), fc.nat(5), (shares, count) => {
        const part = (key: 'listed' | 'free' | 'reusable', extra = 0): DeviceShare[] =>
          shares.map((one) => ({ numaNodes: one.numaNodes, count: one[key] + extra })).filter((one) => one.count > 0);
        const listed = shares
          .map((one) => ({
            numaNodes: one.numaNodes,
            count: one.listed + one.free + one.reusable,
          }))
          .filter((one) => one.count > 0);
        const question = { machineNodes, count, listed, available: part('free'), reusable: part('reusable') };
        expect(deviceHints(question).map(word)).toEqual(
          hintsByDevice({
            machineNodes,
            count,
            listed: expand(question.listed),
            available: expand(question.available),
            reusable: expand(question.reusable),
          }).map(word),
        );
      }),
      { numRuns: 5_000 },
    );
  });

  it('do not grow with the number of devices', () => {
    const many = (count: number): DeviceShare[] => machineNodes.map((node) => ({ numaNodes: [node], count }));
    const huge = deviceHints({
      machineNodes,
      count: 600_000,
      listed: many(1_000_000),
      available: many(250_000),
      reusable: [],
    });
    expect(huge.map(word)).toEqual(['014n', '015n', '045n', '145n', '0145n']);
  });

  it('end in good time on more nodes than can be looked at', () => {
    const nodes = Array.from({ length: 64 }, (_, node) => node);
    const shares = (count: number): DeviceShare[] => nodes.map((node) => ({ numaNodes: [node], count }));
    const ask = (count: number, available = shares(4)) =>
      deviceHints({ machineNodes: nodes, count, listed: shares(4), available, reusable: [] });
    // Small needs are answered in full: 64 single nodes are preferred, pairs are not.
    expect(ask(4).filter(({ preferred }) => preferred)).toHaveLength(64);
    expect(ask(8).filter(({ preferred }) => preferred)).toHaveLength((64 * 63) / 2);
    // Large ones get one fitting set of the right size, and all nodes.
    const large = ask(100).map(({ mask, preferred }) => [nodesOf(mask ?? 0n).length, preferred]);
    expect(large).toEqual([
      [25, true],
      [64, false],
    ]);
    const fragmented = nodes.map((node) => ({ numaNodes: [node], count: node === 63 ? 4 : 1 }));
    expect(ask(10, fragmented).filter(({ preferred }) => preferred)).toEqual([]);
    expect(ask(300)).toEqual([]);
    const reusable = [{ numaNodes: [7], count: 2 }];
    const bound = deviceHints({ machineNodes: nodes, count: 4, listed: shares(4), available: shares(2), reusable });
    expect(bound.every(({ mask }) => nodesOf(mask ?? 0n).includes(7))).toBe(true);
  });

  it('and their merge are quick on eight nodes with four resources', () => {
    const nodes = Array.from({ length: 8 }, (_, node) => node);
    const resources = [1, 2, 3, 5].map((count) => {
      const listed = nodes.map((node) => ({ numaNodes: [node], count: 4 }));
      const available = nodes.map((node) => ({ numaNodes: [node], count: 1 }));
      return deviceHints({ machineNodes: nodes, count, listed, available, reusable: [] });
    });
    expect(resources.map((list) => list.length)).toEqual([255, 247, 219, 93]);
    expect(word(mergeHints(resources, machineOf(8)))).toBe('01234n');
  });
});

it('an allocation by a hint takes devices of its nodes', () => {
  const ledger = ledgerOf(FOUR);
  const resources = containerRequests(pod([{ [R]: 2 }]))[0]!.resources;
  const machine = TWO;
  const { hint } = decideTopology({ policy: 'restricted', options: { preferClosestNumaNodes: false }, machine }, [
    ledgerHints(ledger, machine, { podUid: 'p', container: 'c0', resources }),
  ]);
  expect(allocate(ledger, { pod: 'p', resource: R, count: 2, affinity: nodesOf(hint.mask!) }).ids).toEqual([
    'Dev1',
    'Dev3',
  ]);
});
