import { countNodes, numaMask, popCount, type NumaMask } from './numa-mask.ts';
import { sumSubsets } from './subset-sums.ts';
import type { TopologyHint } from './topology-hint.ts';

/** Devices that are on exactly these NUMA nodes, in any order; no node, or only ones the machine lacks, for none. */
export interface DeviceShare {
  readonly numaNodes: readonly number[];
  readonly count: number;
}

/** What is wanted of one resource, and what there is of it; a resource has a handful of shares, however many devices. */
export interface HintQuestion {
  /** Ids of the machine's nodes, ascending. */
  readonly machineNodes: readonly number[];
  /** Devices wanted. */
  readonly count: number;
  /** All devices, whatever their health and holder. */
  readonly listed: readonly DeviceShare[];
  /** Those that can be given. */
  readonly available: readonly DeviceShare[];
  /** Those that must be part of the allocation, as init containers of the pod leave them; none of them in `available`. */
  readonly reusable: readonly DeviceShare[];
}

/** Up to so many nodes that bear devices every set of nodes is looked at. */
export const MAX_ENUMERATED_NODES = 16;
/** Beyond {@link MAX_ENUMERATED_NODES}: so many sets of nodes times shares are looked at, and no more. */
const MAX_SPARSE_WORK = 2 ** 22;

/**
 * Every set of NUMA nodes that can serve the wish, smaller sets first, in lexicographic order within a size; those of
 * the smallest size that could ever serve it are preferred. Only nodes that bear devices count, so that a machine with
 * many other nodes costs nothing. (kubelet: device manager, generateDeviceTopologyHints; kubernetes#135541)
 *
 * The work is n · 2^n for n nodes that bear devices, whatever the number of devices. Above 16 such nodes only the small
 * sets, one set chosen greedily and the set of all are looked at.
 */
export function deviceHints(question: HintQuestion): readonly TopologyHint[] {
  const bearing = new Set(question.listed.flatMap(({ numaNodes }) => numaNodes));
  const found = question.machineNodes.filter((node) => bearing.has(node));
  const nodes = found.length > 0 ? found : question.machineNodes;
  if (nodes.length > MAX_ENUMERATED_NODES) return sparseHints(question, nodes);

  const index = new Map(nodes.map((node, bit) => [node, 1 << bit]));
  const listed = touchCounts(question.listed, index);
  const available = touchCounts(question.available, index);
  const mustTouch = question.reusable.filter(({ numaNodes }) => numaNodes.length > 0);
  const reusable = touchCounts(mustTouch, index);
  const allReusable = sumOf(mustTouch);

  const possible: number[] = [];
  let smallest = nodes.length;
  for (const set of setsBySize(nodes.length)) {
    const size = popCount(set);
    if (size < smallest && listed(set) >= question.count) smallest = size;
    const reused = reusable(set);
    if (reused === allReusable && reused + available(set) >= question.count) possible.push(set);
  }
  const mask = maskOf(nodes);
  return possible.map((set) => ({ mask: mask(set), preferred: popCount(set) === smallest }));
}

/** Answers how many devices are on at least one node of a set, from the numbers of those that are on none of it. */
function touchCounts(shares: readonly DeviceShare[], index: ReadonlyMap<number, number>): (set: number) => number {
  const within = new Float64Array(2 ** index.size);
  let total = 0;
  for (const { numaNodes, count } of shares) {
    let set = 0;
    for (const node of numaNodes) set |= index.get(node) ?? 0;
    if (set === 0) continue;
    within[set] = (within[set] ?? 0) + count;
    total += count;
  }
  sumSubsets(within);
  const all = within.length - 1;
  return (set) => total - (within[all ^ set] ?? 0);
}

function sumOf(shares: readonly DeviceShare[]): number {
  return shares.reduce((sum, { count }) => sum + count, 0);
}

const setsOfSize = new Map<number, Int32Array>();

/** All non-empty subsets of `count` members, smaller ones first, lexicographic within a size; computed once. */
function setsBySize(count: number): Int32Array {
  let sets = setsOfSize.get(count);
  if (sets === undefined) {
    const ordered: number[] = [];
    const choose = (set: number, from: number, missing: number): void => {
      if (missing === 0) ordered.push(set);
      else for (let bit = from; bit <= count - missing; bit += 1) choose(set | (1 << bit), bit + 1, missing - 1);
    };
    for (let size = 1; size <= count; size += 1) choose(0, 0, size);
    setsOfSize.set(count, (sets = Int32Array.from(ordered)));
  }
  return sets;
}

/** From a set of members to the mask of their nodes, each composed once. */
function maskOf(nodes: readonly number[]): (set: number) => NumaMask {
  const bits = nodes.map((node) => 1n << BigInt(node));
  const masks: NumaMask[] = [0n];
  for (let set = 1; set < 2 ** nodes.length; set += 1) {
    masks.push((masks[set & (set - 1)] ?? 0n) | (bits[31 - Math.clz32(set & -set)] ?? 0n));
  }
  return (set) => masks[set] ?? 0n;
}

/** {@link deviceHints} under a bound of work: the small sets, a greedily chosen one, and all nodes. */
function sparseHints(question: HintQuestion, nodes: readonly number[]): readonly TopologyHint[] {
  const known = new Set(nodes);
  const masked = (shares: readonly DeviceShare[]): { mask: NumaMask; count: number }[] =>
    shares.map(({ numaNodes, count }) => ({ mask: numaMask(numaNodes.filter((node) => known.has(node))), count }));
  const touching = (shares: readonly { mask: NumaMask; count: number }[], mask: NumaMask): number =>
    shares.reduce((sum, share) => ((share.mask & mask) === 0n ? sum : sum + share.count), 0);
  const listed = masked(question.listed);
  const available = masked(question.available);
  const reusable = masked(question.reusable.filter(({ numaNodes }) => numaNodes.length > 0));
  const serves = (mask: NumaMask): boolean =>
    reusable.every((share) => (share.mask & mask) !== 0n) &&
    touching(reusable, mask) + touching(available, mask) >= question.count;

  const all = numaMask(nodes);
  const bits = nodes.map((node) => 1n << BigInt(node));
  const possible = new Set<NumaMask>();
  let smallest = countNodes(greedySet(bits, (mask) => touching(listed, mask), question.count, 0n) ?? all);
  let work = MAX_SPARSE_WORK;
  for (let size = 1; size < nodes.length; size += 1) {
    work -= binomial(nodes.length, size) * (1 + listed.length + available.length);
    if (work < 0) break;
    const choose = (mask: NumaMask, from: number, missing: number): void => {
      if (missing === 0) {
        if (size < smallest && touching(listed, mask) >= question.count) smallest = size;
        if (serves(mask)) possible.add(mask);
        return;
      }
      for (let bit = from; bit <= bits.length - missing; bit += 1)
        choose(mask | (bits[bit] ?? 0n), bit + 1, missing - 1);
    };
    choose(0n, 0, size);
  }
  const reused = reusable.reduce((mask, share) => mask | share.mask, 0n);
  const greedy = greedySet(
    bits,
    (mask) => touching(reusable, mask) + touching(available, mask),
    question.count,
    reused,
  );
  if (greedy !== undefined && greedy !== 0n && serves(greedy)) possible.add(greedy);
  if (serves(all)) possible.add(all);
  return [...possible].map((mask) => ({ mask, preferred: countNodes(mask) === smallest }));
}

/** Adds the node that brings most until there is enough; undefined when there never is. */
function greedySet(
  bits: readonly NumaMask[],
  worth: (mask: NumaMask) => number,
  enough: number,
  start: NumaMask,
): NumaMask | undefined {
  let mask = start;
  while (worth(mask) < enough || mask === 0n) {
    let best: NumaMask | undefined;
    for (const bit of bits) {
      if ((mask & bit) === 0n && (best === undefined || worth(mask | bit) > worth(mask | best))) best = bit;
    }
    if (best === undefined) return undefined;
    mask |= best;
  }
  return mask;
}

function binomial(n: number, k: number): number {
  let result = 1;
  for (let i = 1; i <= k; i += 1) result = (result * (n - k + i)) / i;
  return result;
}
