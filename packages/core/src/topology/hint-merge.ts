import { MAX_ENUMERATED_NODES } from './device-hints.ts';
import type { NumaMachine } from './numa-machine.ts';
import { compareWidth, countNodes, MAX_NUMA_NODE, nodesOf, popCount, type NumaMask } from './numa-mask.ts';
import { sumSupersets, unsumSupersets } from './subset-sums.ts';
import type { HintList, ResourceHints, TopologyHint } from './topology-hint.ts';

/** A merged hint always names its nodes. */
export interface MergedHint extends TopologyHint {
  readonly mask: NumaMask;
}

/** Sorts the fitter of two masks of equal standing first. */
export type MaskOrder = (a: NumaMask, b: NumaMask) => number;

/**
 * The lists to choose from, one hint of each: a provider without resources, or a resource without preference, is served
 * anywhere; a resource that cannot be had is served anywhere too, but never as preferred. (kubelet: topology manager,
 * filterProvidersHints)
 */
export function hintLists(providers: readonly (ResourceHints | null)[]): readonly (readonly TopologyHint[])[] {
  return providers.flatMap((hints) =>
    hints === null || hints.size === 0 ? [ANYWHERE] : [...hints.values()].map((list) => listOf(list)),
  );
}

const ANYWHERE: readonly TopologyHint[] = [{ mask: null, preferred: true }];
const IMPOSSIBLE: readonly TopologyHint[] = [{ mask: null, preferred: false }];

function listOf(list: HintList): readonly TopologyHint[] {
  return list === null ? ANYWHERE : list.length === 0 ? IMPOSSIBLE : list;
}

/**
 * The best hint that one choice from each list gives: their nodes in common; preferred when all chosen are preferred and
 * name the same nodes (or none). All nodes, not preferred, when no choice has a node in common. (kubelet: topology
 * manager, HintMerger)
 *
 * Same answer as trying every choice, without the product: the preferred ones are an intersection of sets; of the
 * others only which nodes in common can occur matters, and that is n · 2^n a list for n nodes that any hint names
 * (kubernetes#131738). Above 16 such nodes the others are not searched: all nodes, not preferred.
 */
export function mergeHints(
  lists: readonly (readonly TopologyHint[])[],
  machine: NumaMachine,
  order: MaskOrder = compareWidth,
): MergedHint {
  const preferred = best(preferredMasks(lists, machine.all), true, 0, order);
  if (preferred !== undefined) return preferred;
  const widest = widestNeed(lists);
  return best(commonMasks(lists, machine.all, widest), false, widest, order) ?? { mask: machine.all, preferred: false };
}

function best(masks: Iterable<NumaMask>, preferred: boolean, widest: number, order: MaskOrder): MergedHint | undefined {
  let found: MergedHint | undefined;
  for (const mask of masks) found = fitterHint(found, { mask, preferred }, widest, order);
  return found;
}

/**
 * The fitter of two merged hints, the current one when they are alike. Of hints that are not preferred those fit best
 * that are as wide as the resource in greatest need, then narrower ones, the widest first, then wider ones. (kubelet:
 * topology manager, HintMerger.compare)
 *
 * @param widest how many nodes the resource in greatest need needs, see {@link widestNeed}.
 */
export function fitterHint(
  current: MergedHint | undefined,
  candidate: MergedHint,
  widest: number,
  order: MaskOrder,
): MergedHint | undefined {
  if (candidate.mask === 0n) return current;
  if (current === undefined) return candidate;
  if (current.preferred !== candidate.preferred) return current.preferred ? current : candidate;
  const fitter = order(candidate.mask, current.mask) < 0 ? candidate : current;
  if (current.preferred) return fitter;
  const has = countNodes(current.mask);
  const offers = countNodes(candidate.mask);
  if (has === offers || has > widest) return fitter;
  if (has === widest || offers > widest) return current;
  return offers > has ? candidate : current;
}

/** The most nodes any list's narrowest hint has; 0 without any. (kubelet: topology manager, maxOfMinAffinityCounts) */
export function widestNeed(lists: readonly (readonly TopologyHint[])[]): number {
  let widest = 0;
  for (const list of lists) {
    let narrowest = Infinity;
    for (const { mask } of list) if (mask !== null) narrowest = Math.min(narrowest, countNodes(mask));
    if (narrowest !== Infinity) widest = Math.max(widest, narrowest);
  }
  return widest;
}

/** Masks that every list has a preferred hint for; `all` when every list is content with any node. */
function preferredMasks(lists: readonly (readonly TopologyHint[])[], all: NumaMask): Iterable<NumaMask> {
  let anywhere = true;
  let masks = new Set<NumaMask>();
  for (const list of lists) {
    const next = new Set<NumaMask>();
    let content = false;
    for (const { mask, preferred } of list) {
      if (!preferred) continue;
      if (mask === null) content = true;
      else if (anywhere || masks.has(mask)) next.add(mask);
    }
    if (content) for (const mask of masks) next.add(mask);
    anywhere &&= content;
    masks = next;
  }
  const possible = [...masks].map((mask) => mask & all);
  return anywhere ? [...possible, all] : possible;
}

/**
 * The sets of nodes that one choice from each list can have in common; of all those only the ones of the best width. All
 * nodes, by a choice without any mask, are not among them: they are the answer anyway when there are none.
 */
function commonMasks(lists: readonly (readonly TopologyHint[])[], all: NumaMask, widest: number): Iterable<NumaMask> {
  const limiting = lists.filter((list) => list.length !== 1 || list[0]?.mask !== null);
  let named = 0n;
  for (const list of limiting) for (const { mask } of list) named |= (mask ?? 0n) & all;
  const nodes = nodesOf(named);
  if (nodes.length > MAX_ENUMERATED_NODES) return [];

  // One bit for each node that is named, and one more for "no limit yet", which only hints without a mask keep.
  const compact = compactor(nodes);
  const unlimited = 2 ** (nodes.length + 1) - 1;
  const reached = new Float64Array(unlimited + 1);
  reached[unlimited] = 1;
  for (const list of limiting) {
    const offered = new Float64Array(unlimited + 1);
    for (const { mask } of list) offered[mask === null ? unlimited : compact(mask)] = 1;
    sumSupersets(reached);
    sumSupersets(offered);
    for (let set = 0; set <= unlimited; set += 1) reached[set] = (reached[set] ?? 0) * (offered[set] ?? 0);
    unsumSupersets(reached);
    // Which sets occur is enough, and keeps the numbers small and exact.
    for (let set = 0; set <= unlimited; set += 1) reached[set] = (reached[set] ?? 0) > 0 ? 1 : 0;
  }

  // As wide as the resource in greatest need, else narrower by as little as possible, else wider by as little.
  const rank = (width: number): number => (width <= widest ? widest - width : width + MAX_NUMA_NODE);
  let best = Infinity;
  let sets: number[] = [];
  for (let set = 1; set < 2 ** nodes.length; set += 1) {
    if (reached[set] !== 1) continue;
    const rankOfSet = rank(popCount(set));
    if (rankOfSet < best) sets = [];
    best = Math.min(best, rankOfSet);
    if (rankOfSet === best) sets.push(set);
  }
  return sets.map((set) =>
    nodes.reduce((mask, node, bit) => (((set >> bit) & 1) === 1 ? mask | (1n << BigInt(node)) : mask), 0n),
  );
}

/** From a mask to one without gaps over these nodes. */
function compactor(nodes: readonly number[]): (mask: NumaMask) => number {
  if (nodes.every((node, index) => node === index)) {
    const all = (1n << BigInt(nodes.length)) - 1n;
    return (mask) => Number(mask & all);
  }
  const bits = nodes.map((node) => 1n << BigInt(node));
  return (mask) => bits.reduce((set, bit, index) => ((mask & bit) === 0n ? set : set | (1 << index)), 0);
}
