import type { NumaMask } from './numa-mask.ts';

/** One way to place an allocation: on these NUMA nodes together. (kubelet: TopologyHint) */
export interface TopologyHint {
  /** null: anywhere. */
  readonly mask: NumaMask | null;
  /** No fewer nodes would do even if the machine were empty. */
  readonly preferred: boolean;
}

/** What there is to say about one resource: null for no preference, empty when it cannot be had at all. */
export type HintList = readonly TopologyHint[] | null;

/** Hints by resource. */
export type ResourceHints = ReadonlyMap<string, HintList>;
