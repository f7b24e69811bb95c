/** A set of NUMA nodes 0 to 63, bit n for node n. */
export type NumaMask = bigint;

/** NUMA nodes of one machine are numbered from 0 to this. */
export const MAX_NUMA_NODE = 63;

/** The set of these nodes. Throws a RangeError with the kubelet's text for a node that a mask cannot hold. */
export function numaMask(nodes: Iterable<number>): NumaMask {
  let mask = 0n;
  for (const node of nodes) {
    if (!Number.isInteger(node) || node < 0 || node > MAX_NUMA_NODE)
      throw new RangeError('bit number must be in range 0-63');
    mask |= 1n << BigInt(node);
  }
  return mask;
}

/** The nodes of a set, ascending. */
export function nodesOf(mask: NumaMask): readonly number[] {
  const nodes: number[] = [];
  for (let node = 0, rest = mask; rest !== 0n; node += 1, rest >>= 1n) if ((rest & 1n) === 1n) nodes.push(node);
  return nodes;
}

/** How many nodes a set has. */
export function countNodes(mask: NumaMask): number {
  return popCount(Number(mask & 0xffff_ffffn)) + popCount(Number(mask >> 32n));
}

/** Bits set in the lower 32 bits of a number. */
export function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** Sorts the narrower set first: fewer nodes, then the lower number. (kubelet: topology manager, IsNarrowerThan) */
export function compareWidth(a: NumaMask, b: NumaMask): number {
  return countNodes(a) - countNodes(b) || (a < b ? -1 : a > b ? 1 : 0);
}
