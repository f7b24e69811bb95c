import { hintLists, mergeHints } from './hint-merge.ts';
import type { NumaMachine } from './numa-machine.ts';
import { compareWidth, countNodes } from './numa-mask.ts';
import type { ResourceHints, TopologyHint } from './topology-hint.ts';
import type { TopologyOptions, TopologyPolicy } from './topology-options.ts';

/** How a machine's NUMA nodes are to be respected; the policy `none` has no hints and decides nothing. */
export interface TopologyRules {
  readonly policy: Exclude<TopologyPolicy, 'none'>;
  readonly options: Pick<TopologyOptions, 'preferClosestNumaNodes'>;
  readonly machine: NumaMachine;
}

export interface TopologyDecision {
  readonly admit: boolean;
  /** What devices are chosen by. */
  readonly hint: TopologyHint;
}

/** Merges what providers of resources say and decides whether that will do. (kubelet: topology manager, policies) */
export function decideTopology(
  { policy, options, machine }: TopologyRules,
  providers: readonly (ResourceHints | null)[],
): TopologyDecision {
  const lists = hintLists(providers);
  if (policy === 'single-numa-node') {
    const hint = mergeHints(
      lists.map((list) => list.filter(({ mask, preferred }) => preferred && (mask === null || countNodes(mask) === 1))),
      machine,
    );
    return { admit: hint.preferred, hint: hint.mask === machine.all ? { ...hint, mask: null } : hint };
  }
  const hint = mergeHints(
    lists,
    machine,
    options.preferClosestNumaNodes ? (a, b) => machine.compareCloseness(a, b) : compareWidth,
  );
  return { admit: policy === 'best-effort' || hint.preferred, hint };
}
