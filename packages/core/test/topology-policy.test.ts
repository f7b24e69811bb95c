import {
  countNodes,
  decideTopology,
  fitterHint,
  hintLists,
  mergeHints,
  nodesOf,
  numaMask,
  NumaMachine,
  parseTopologyOptions,
  type ResourceHints,
  type TopologyHint,
  type TopologyRules,
  widestNeed,
  compareWidth,
} from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hints, machineOf, mask, mergeByProduct, PAIRED_DISTANCES, word } from './topology-kit.ts';

type Policy = TopologyRules['policy'];

/** What providers that each have one resource say, decided; null for one that says nothing. */
function decide(
  policy: Policy,
  providers: readonly (readonly string[] | null)[],
  machine = machineOf(2),
  preferClosestNumaNodes = false,
): string {
  const { admit, hint } = decideTopology(
    { policy, options: { preferClosestNumaNodes }, machine },
    providers.map((list): ResourceHints => new Map([['r', list === null ? null : hints(...list)]])),
  );
  return `${admit ? '' : 'refused '}${word(hint)}`;
}

const ANY: readonly Policy[] = ['best-effort', 'restricted'];

describe('masks', () => {
  it('hold nodes 0 to 63 and no others', () => {
    expect(nodesOf(numaMask([63, 0, 31, 32, 0]))).toEqual([0, 31, 32, 63]);
    expect(countNodes(numaMask([63, 0, 31, 32]))).toBe(4);
    expect(countNodes((1n << 64n) - 1n)).toBe(64);
    for (const node of [-1, 64, 0.5]) expect(() => numaMask([node])).toThrow('bit number must be in range 0-63');
  });
});

describe('topology policies', () => {
  it('scenario 127: providers that agree, or do not care', () => {
    for (const policy of [...ANY, 'single-numa-node'] as const) {
      expect(decide(policy, [['0p'], ['0p']])).toBe('0p');
      expect(decide(policy, [null, ['1p']])).toBe('1p');
      expect(decide(policy, [['0p', '1p'], ['1p']])).toBe('1p');
      expect(
        decide(policy, [
          ['0p', '1p'],
          ['0p', '01n'],
        ]),
      ).toBe('0p');
    }
    for (const policy of ANY) {
      expect(
        decide(
          policy,
          [
            ['0n', '012p'],
            ['0p', '012p'],
          ],
          machineOf(4),
        ),
      ).toBe('012p');
    }
  });

  it('scenario 128: nobody cares, nothing is possible, nobody agrees', () => {
    const rules = { policy: 'restricted', options: { preferClosestNumaNodes: false }, machine: machineOf(2) } as const;
    for (const providers of [[], [null], [new Map()], [new Map([['r', null]])], [null, new Map([['r', null]])]]) {
      expect(decideTopology(rules, providers)).toEqual({ admit: true, hint: hints('01p')[0] });
    }
    expect(decide('restricted', [[]])).toBe('refused 01n');
    expect(decide('restricted', [['0p'], ['1p']])).toBe('refused 01n');
    expect(decide('best-effort', [[]])).toBe('01n');
    expect(decide('best-effort', [['0p'], ['1p']])).toBe('01n');
  });

  it('scenario 129: a hint that is not preferred, or preferred nodes that differ, make the result not preferred', () => {
    expect(decide('best-effort', [['0p'], ['0n']])).toBe('0n');
    expect(decide('best-effort', [['0p'], ['01p']])).toBe('0n');
    expect(decide('restricted', [['0p'], ['01p']])).toBe('refused 0n');
  });

  it('scenario 130: the best of those that are not preferred', () => {
    const wide = ['0123n', '01n'];
    const best = (other: readonly string[], closest = false): string =>
      decide('best-effort', [wide, other], machineOf(4, PAIRED_DISTANCES), closest);
    expect(best(['01n'])).toBe('01n');
    expect(best(['03n'])).toBe('03n');
    expect(best(['12n'])).toBe('12n');
    expect(best(['23n'])).toBe('23n');
    expect(best(['12n', '23n'])).toBe('12n');
    expect(best(['12n', '23n'], true)).toBe('23n');
    expect(best(['123n', '12n', '13n', '23n'])).toBe('12n');
    expect(best(['123n', '12n', '13n', '23n'], true)).toBe('23n');
  });

  it('scenario 131: the closer of equally wide nodes, and the narrower before the closer', () => {
    for (const policy of ANY) {
      const twice = (...list: string[]): string => decide(policy, [list, list], machineOf(5, FIVE), true);
      expect(twice('04p', '02p')).toBe('02p');
      expect(twice('4p', '02p')).toBe('4p');
    }
    // Where the distances say otherwise than the numbers.
    expect(decide('restricted', [['04p', '02p']], machineOf(5, FAR_02), true)).toBe('04p');
    expect(decide('restricted', [['04p', '02p']], machineOf(5, FAR_02), false)).toBe('02p');
    expect(decide('single-numa-node', [['4p', '2p']], machineOf(5, FAR_02), true)).toBe('2p');
  });

  it('scenario 132: a single node, or nothing', () => {
    const single = (...providers: (readonly string[] | null)[]): string => decide('single-numa-node', providers);
    expect(single(null)).toBe('*p');
    expect(single([])).toBe('refused *n');
    expect(single(['0p'], ['1p'])).toBe('refused *n');
    expect(single(['0p'], ['0n'])).toBe('refused *n');
    expect(single(['01p'], ['0p', '1p', '01n'])).toBe('refused *n');
    expect(single(['0p', '1p', '01n'], null)).toBe('0p');
    expect(decide('single-numa-node', [['0p']], machineOf(1))).toBe('*p');
  });

  const COMPARED: readonly [string, number, string | null, string, 'current' | 'candidate'][] = [
    ['candidate without nodes, no current', -1, null, 'n', 'current'],
    ['candidate without nodes', -1, '0p', 'n', 'current'],
    ['no current, preferred', -1, null, '0p', 'candidate'],
    ['no current, not preferred', -1, null, '0n', 'candidate'],
    ['only the candidate is preferred', -1, '0n', '0p', 'candidate'],
    ['only the current is preferred', -1, '0p', '0n', 'current'],
    ['both preferred, alike', -1, '0p', '0p', 'current'],
    ['both preferred, candidate narrower', -1, '01p', '0p', 'candidate'],
    ['both preferred, current narrower', -1, '0p', '01p', 'current'],
    ['1.1', 1, '01n', '01n', 'current'],
    ['1.2', 1, '12n', '01n', 'candidate'],
    ['1.3', 1, '01n', '12n', 'current'],
    ['2.1', 2, '01n', '0n', 'current'],
    ['2.1 wider', 2, '01n', '012n', 'current'],
    ['2.2', 2, '01n', '01n', 'current'],
    ['2.3', 2, '12n', '01n', 'candidate'],
    ['2.4', 2, '01n', '12n', 'current'],
    ['3a', 2, '0n', '012n', 'current'],
    ['3b', 2, '0n', '01n', 'candidate'],
    ['3ca.1', 3, '0n', '01n', 'candidate'],
    ['3ca.2', 3, '0n', '12n', 'candidate'],
    ['3ca.3', 4, '01n', '123n', 'candidate'],
    ['3cb', 4, '123n', '01n', 'current'],
    ['3cc.1', 4, '012n', '012n', 'current'],
    ['3cc.2', 4, '012n', '123n', 'current'],
    ['3cc.3', 4, '123n', '012n', 'candidate'],
  ];
  it.each(COMPARED)('scenario 133: compare, %s', (_name, widest, current, candidate, expected) => {
    const merged = (text: string) => ({ mask: mask(text.slice(0, -1)), preferred: text.endsWith('p') });
    const now = current === null ? undefined : merged(current);
    const next = merged(candidate);
    expect(fitterHint(now, next, widest, compareWidth)).toBe(expected === 'current' ? now : next);
  });

  it('scenario 134: how wide the resource in greatest need is', () => {
    expect(widestNeed([hints('01n', '012n'), hints('012n', '0123n')])).toBe(3);
    expect(widestNeed([])).toBe(0);
    expect(widestNeed([hints('*p'), hints('*n')])).toBe(0);
  });

  it('scenario 135: the shorter average distance, at equal distances the lower nodes', () => {
    const machine = machineOf(4, PAIRED_DISTANCES);
    expect(machine.compareCloseness(mask('01'), mask('03'))).toBeLessThan(0);
    expect(machine.compareCloseness(mask('03'), mask('23'))).toBeGreaterThan(0);
    expect(machine.compareCloseness(mask('23'), mask('01'))).toBeGreaterThan(0);
    expect(machine.compareCloseness(mask('02'), mask('02'))).toBe(0);
    expect(machine.compareCloseness(mask('3'), mask('01'))).toBeLessThan(0);
    expect(machine.averageDistance(mask('01'))).toBe(10.5);
    expect(machine.averageDistance(0n)).toBe(0);
  });

  it('reads distances by place on a machine with gaps, and by number when each number has a column', () => {
    const gaps = new NumaMachine([
      { id: 5, distances: [20, 10] },
      { id: 0, distances: [10, 20] },
    ]);
    expect(gaps.nodes).toEqual([0, 5]);
    expect(gaps.averageDistance(numaMask([0, 5]))).toBe(15);
    const byNumber = new NumaMachine([
      { id: 0, distances: [10, 99, 30] },
      { id: 2, distances: [30, 99, 10] },
    ]);
    expect(byNumber.averageDistance(numaMask([0, 2]))).toBe(20);
    expect([byNumber.hasDistances, machineOf(2).hasDistances]).toEqual([true, false]);
  });

  it('scenario 136: options and their texts', () => {
    const read = (name: string, value: string): unknown => {
      const parsed = parseTopologyOptions(new Map([[name, value]]));
      return parsed.ok ? parsed.options : parsed.message;
    };
    expect(parseTopologyOptions(new Map())).toEqual({
      ok: true,
      options: { preferClosestNumaNodes: false, maxAllowableNumaNodes: 8 },
    });
    expect(read('max-allowable-numa-nodes', '12')).toMatchObject({ maxAllowableNumaNodes: 12 });
    expect(read('max-allowable-numa-nodes', '7')).toBe(
      'the minimum value of "max-allowable-numa-nodes" should not be less than 8',
    );
    expect(read('max-allowable-numa-nodes', 'many')).toBe(
      'unable to convert policy option to integer "max-allowable-numa-nodes": strconv.Atoi: parsing "many": invalid syntax',
    );
    expect(read('max-allowable-numa-nodes', '99999999999999999999')).toBe(
      'unable to convert policy option to integer "max-allowable-numa-nodes": strconv.Atoi: parsing "99999999999999999999": value out of range',
    );
    for (const yes of ['1', 't', 'T', 'true', 'TRUE', 'True'])
      expect(read('prefer-closest-numa-nodes', yes)).toMatchObject({ preferClosestNumaNodes: true });
    expect(read('prefer-closest-numa-nodes', 'False')).toMatchObject({ preferClosestNumaNodes: false });
    expect(read('prefer-closest-numa-nodes', 'yes')).toBe(
      'bad value for option "prefer-closest-numa-nodes": strconv.ParseBool: parsing "yes": invalid syntax',
    );
    expect(read('prefer-nothing', 'true')).toBe('unknown Topology Manager Policy option: "prefer-nothing"');
  });
});

describe('the merge', () => {
  const MACHINE = new NumaMachine([
    { id: 0, distances: [10, 11, 20, 21] },
    { id: 1, distances: [11, 10, 22, 12] },
    { id: 3, distances: [20, 22, 10, 11] },
    { id: 6, distances: [21, 12, 11, 10] },
  ]);
  const nodes = fc.subarray([0, 1, 3, 6]);
  const anyHint = fc.record({
    mask: fc.option(nodes.map(numaMask), { freq: 8 }),
    preferred: fc.boolean(),
  });
  const anyLists = fc.array(fc.array(anyHint, { maxLength: 6 }), { maxLength: 4 });

  it('gives what trying every choice gives', () => {
    fc.assert(
      fc.property(anyLists, fc.boolean(), (lists, closest) => {
        const order = closest ? MACHINE.compareCloseness.bind(MACHINE) : compareWidth;
        const plain = mergeByProduct(lists, MACHINE, (a, b) => order(a, b) < 0);
        expect(word(mergeHints(lists, MACHINE, order))).toBe(word(plain.hint));
      }),
      { numRuns: 10_000 },
    );
  });

  it('gives what trying every choice gives for every policy, whatever providers say', () => {
    const anyProvider = fc.option(
      fc.array(fc.option(fc.array(anyHint, { maxLength: 5 })), { maxLength: 2 }).map((lists) => {
        const named = lists.map((list, index): [string, readonly TopologyHint[] | null] => [String(index), list]);
        return new Map(named);
      }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...ANY, 'single-numa-node' as const),
        fc.array(anyProvider, { maxLength: 3 }),
        (policy, providers) => {
          let lists = hintLists(providers);
          if (policy === 'single-numa-node')
            lists = lists.map((list) =>
              list.filter((hint) => hint.preferred && (hint.mask === null || nodesOf(hint.mask).length === 1)),
            );
          const plain: TopologyHint = mergeByProduct(lists, MACHINE, (a, b) => compareWidth(a, b) < 0).hint;
          const decided = decideTopology(
            { policy, options: { preferClosestNumaNodes: false }, machine: MACHINE },
            providers,
          );
          expect(decided.admit).toBe(policy === 'best-effort' || plain.preferred);
          const anywhere = policy === 'single-numa-node' && plain.mask === MACHINE.all;
          expect(word(decided.hint)).toBe(word(anywhere ? { ...plain, mask: null } : plain));
        },
      ),
      { numRuns: 5_000 },
    );
  });

  it('does not depend on the order of lists or hints', () => {
    fc.assert(
      fc.property(anyLists, (lists) => {
        const reversed = lists.map((list) => [...list].reverse()).reverse();
        expect(word(mergeHints(reversed, MACHINE))).toBe(word(mergeHints(lists, MACHINE)));
      }),
      { numRuns: 2_000 },
    );
  });

  it('stays within bounds where the product has billions of choices', () => {
    const every = (count: number, preferred: (size: number) => boolean): TopologyHint[] =>
      Array.from({ length: 2 ** count - 1 }, (_, index) => {
        const set = BigInt(index + 1);
        return { mask: set, preferred: preferred(countNodes(set)) };
      });
    // 255^4 choices; only the first list is content with single nodes.
    const eight = [every(8, (size) => size === 1), ...Array.from({ length: 3 }, () => every(8, (size) => size === 2))];
    expect(word(mergeHints(eight, machineOf(8)))).toBe('0n');
    const sixteen = [1, 2, 3].map((width) => every(16, (size) => size === width));
    expect(word(mergeHints(sixteen, machineOf(16)))).toBe('0n');
    // Above the bound what is preferred is found all the same, and the rest is given up.
    const far = Array.from({ length: 40 }, (_, node) => numaMask([node]));
    const many = far.map((mask, node) => ({ mask, preferred: node > 37 }));
    expect(mergeHints([many, many], machineOf(64))).toEqual({ mask: numaMask([38]), preferred: true });
    const none = many.map((hint) => ({ ...hint, preferred: false }));
    expect(mergeHints([none, none], machineOf(64))).toEqual({ mask: machineOf(64).all, preferred: false });
  });
});

/** Five nodes, all equally far. */
const FIVE = Array.from({ length: 5 }, (_, from) => Array.from({ length: 5 }, (__, to) => (from === to ? 10 : 11)));
/** The same, but nodes 0 and 2 farther apart. */
const FAR_02 = FIVE.map((row, from) => row.map((distance, to) => (from + to === 2 && from !== to ? 20 : distance)));
