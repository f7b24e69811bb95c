import { compareWidth, countNodes, nodesOf, numaMask, type NumaMask } from './numa-mask.ts';

/** One NUMA node of a machine. */
export interface NumaNode {
  readonly id: number;
  /** Distance to each node of the machine, in ascending order of their ids, 10 to itself; absent where it is not known. */
  readonly distances?: readonly number[];
}

/** The NUMA nodes of a machine, and how far they are from one another. Never changes. */
export class NumaMachine {
  /** Ids, ascending. */
  readonly nodes: readonly number[];
  /** All of them. */
  readonly all: NumaMask;
  readonly #distances = new Map<number, ReadonlyMap<number, number>>();

  /** Throws a RangeError with the kubelet's text when an id is not in 0 to 63. */
  constructor(nodes: readonly NumaNode[]) {
    this.nodes = nodes.map(({ id }) => id).sort((a, b) => a - b);
    this.all = numaMask(this.nodes);
    for (const { id, distances } of nodes) {
      if (distances === undefined) continue;
      // The system writes a column for each node there is; a longer row is one with a column for each number.
      const byNumber = distances.length > this.nodes.length;
      this.#distances.set(
        id,
        new Map(this.nodes.map((node, index) => [node, distances[byNumber ? node : index] ?? 0])),
      );
    }
  }

  /** Whether the distances of every node are known. */
  get hasDistances(): boolean {
    return this.nodes.every((node) => this.#distances.has(node));
  }

  /** Mean over all ordered pairs of the set's nodes, a node and itself included; 0 for the empty set. (kubelet: topology manager, CalculateAverageFor) */
  averageDistance(mask: NumaMask): number {
    const nodes = nodesOf(mask);
    let sum = 0;
    for (const from of nodes) for (const to of nodes) sum += this.#distances.get(from)?.get(to) ?? 0;
    return nodes.length === 0 ? 0 : sum / nodes.length ** 2;
  }

  /** Sorts the closer set first: fewer nodes, then the shorter average distance, then the lower number. (kubelet: topology manager, Closest) */
  compareCloseness(a: NumaMask, b: NumaMask): number {
    const wider = countNodes(a) - countNodes(b);
    if (wider !== 0) return wider;
    return this.averageDistance(a) - this.averageDistance(b) || compareWidth(a, b);
  }
}
