/** Short ways to write hints in tests, and the plain ways to compute them that the quick ones are held against. */
import {
  type Device,
  type HintList,
  type MergedHint,
  nodesOf,
  numaMask,
  NumaMachine,
  type NumaMask,
  type TopologyHint,
} from '@devmgr/core';

/** A mask from digits: `013` for nodes 0, 1 and 3. */
export function mask(digits: string): NumaMask {
  return numaMask(Array.from(digits, Number));
}

/** Hints from words: `01p` for nodes 0 and 1, preferred; `2n` for node 2, not preferred; `*p` for anywhere. */
export function hints(...words: readonly string[]): TopologyHint[] {
  return words.map((word) => ({
    mask: word.startsWith('*') ? null : mask(word.slice(0, -1)),
    preferred: word.endsWith('p'),
  }));
}

/** The reverse of {@link hints}, in the same order; a list as it is for null. */
export function words(list: HintList | undefined): readonly string[] | null | undefined {
  return list?.map(word) ?? (list === null ? null : undefined);
}

export function word({ mask, preferred }: TopologyHint): string {
  return `${mask === null ? '*' : nodesOf(mask).join('')}${preferred ? 'p' : 'n'}`;
}

/** A machine with nodes 0 to count-1. */
export function machineOf(count: number, distances?: readonly (readonly number[])[]): NumaMachine {
  return new NumaMachine(
    Array.from({ length: count }, (_, id) => {
      const row = distances?.[id];
      return row === undefined ? { id } : { id, distances: row };
    }),
  );
}

/** Nodes in pairs: a node is near to its twin and farther from the others. */
export const PAIRED_DISTANCES = [
  [10, 11, 12, 12],
  [11, 10, 12, 12],
  [12, 12, 10, 11],
  [12, 12, 11, 10],
];

/** All of the product, one after the other, each compared with the best so far. */
export function mergeByProduct(
  lists: readonly (readonly TopologyHint[])[],
  machine: NumaMachine,
  isFitter: (a: NumaMask, b: NumaMask) => boolean,
): { hint: MergedHint; combinations: number } {
  const bits = (value: NumaMask): number => nodesOf(value).length;
  let widest = 0;
  for (const list of lists) {
    const widths = list.flatMap(({ mask }) => (mask === null ? [] : [bits(mask)]));
    if (widths.length > 0) widest = Math.max(widest, Math.min(...widths));
  }
  let best: MergedHint | undefined;
  let combinations = 0;
  const consider = (mask: NumaMask, preferred: boolean): void => {
    if (mask === 0n) return;
    const candidate = { mask, preferred };
    if (best === undefined) best = candidate;
    else if (best.preferred !== preferred) best = preferred ? candidate : best;
    else {
      const fitter = isFitter(mask, best.mask) ? candidate : best;
      if (preferred) best = fitter;
      else if (bits(best.mask) > widest) best = fitter;
      else if (bits(best.mask) === widest) best = bits(mask) === widest ? fitter : best;
      else if (bits(mask) > widest) return;
      else if (bits(mask) === widest || bits(mask) > bits(best.mask)) best = candidate;
      else if (bits(mask) === bits(best.mask)) best = fitter;
    }
  };
  const walk = (index: number, chosen: readonly TopologyHint[]): void => {
    const list = lists[index];
    if (list !== undefined) {
      for (const hint of list) walk(index + 1, [...chosen, hint]);
      return;
    }
    combinations += 1;
    const masks = chosen.flatMap(({ mask }) => (mask === null ? [] : [mask]));
    const common = masks.reduce((all, mask) => all & mask, machine.all);
    consider(common, chosen.every(({ preferred }) => preferred) && masks.every((mask) => mask === masks[0]));
  };
  walk(0, []);
  return { hint: best ?? { mask: machine.all, preferred: false }, combinations };
}

/** Looks at every device for every set of nodes. */
export function hintsByDevice(question: {
  machineNodes: readonly number[];
  count: number;
  listed: readonly Pick<Device, 'numaNodes'>[];
  available: readonly Pick<Device, 'numaNodes'>[];
  reusable: readonly Pick<Device, 'numaNodes'>[];
}): TopologyHint[] {
  const bearing = question.machineNodes.filter((node) =>
    question.listed.some(({ numaNodes }) => numaNodes.includes(node)),
  );
  const nodes = bearing.length > 0 ? bearing : question.machineNodes;
  const touching = (devices: readonly Pick<Device, 'numaNodes'>[], set: readonly number[]): number =>
    devices.filter(({ numaNodes }) => numaNodes.some((node) => set.includes(node))).length;
  const found: number[][] = [];
  let smallest = nodes.length;
  const consider = (set: number[]): void => {
    if (touching(question.listed, set) >= question.count) smallest = Math.min(smallest, set.length);
    const bound = question.reusable.filter(({ numaNodes }) => numaNodes.length > 0);
    if (touching(bound, set) < bound.length) return;
    if (bound.length + touching(question.available, set) >= question.count) found.push(set);
  };
  const choose = (set: number[], from: number, size: number): void => {
    if (set.length === size) consider(set);
    else for (let next = from; next < nodes.length; next += 1) choose([...set, nodes[next] ?? 0], next + 1, size);
  };
  for (let size = 1; size <= nodes.length; size += 1) choose([], 0, size);
  return found.map((set) => ({ mask: numaMask(set), preferred: set.length === smallest }));
}
