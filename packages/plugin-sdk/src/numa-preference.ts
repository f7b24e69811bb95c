import type { PreferenceRequest } from './plugin-spec.ts';

/**
 * Devices on as few NUMA nodes as possible: those that must be included, then the node that fits the rest most
 * tightly, or, where none fits it, the nodes with most free devices first.
 *
 * @param nodeOf the node of a device; undefined when it has none
 */
export function preferOneNumaNode(
  { available, mustInclude, size }: PreferenceRequest,
  nodeOf: (id: string) => number | undefined,
): string[] {
  const chosen = new Set(mustInclude);
  const free = new Map<number | undefined, string[]>();
  for (const id of available) {
    if (chosen.has(id)) continue;
    const node = nodeOf(id);
    free.set(node, [...(free.get(node) ?? []), id]);
  }
  const wanted = size - chosen.size;
  const inUse = new Set(mustInclude.map(nodeOf));
  const rank = ([node, ids]: [number | undefined, string[]]): number[] => {
    const fits = ids.length >= wanted;
    return [inUse.has(node) ? 0 : 1, fits ? 0 : 1, fits ? ids.length : -ids.length];
  };
  const nodes = [...free].sort((one, other) => compare(rank(one), rank(other)));
  for (const id of nodes.flatMap(([, ids]) => ids)) {
    if (chosen.size >= size) break;
    chosen.add(id);
  }
  return [...chosen];
}

function compare(one: readonly number[], other: readonly number[]): number {
  for (const [index, value] of one.entries()) {
    const difference = value - (other[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
