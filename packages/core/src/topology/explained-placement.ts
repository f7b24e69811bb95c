import { nodesOf, type NumaMask } from './numa-mask.ts';
import type { ResourceHints, TopologyHint } from './topology-hint.ts';
import type { TopologyPolicy } from './topology-options.ts';
import type { TopologyDecision } from './topology-policy.ts';

/** What a topology policy was asked and what it said. */
export interface Placement {
  readonly policy: Exclude<TopologyPolicy, 'none'>;
  /** null: the pod as a whole (scope `pod`). */
  readonly container: string | null;
  /** Resource to the number asked for. */
  readonly asked: ReadonlyMap<string, number>;
  readonly hints: ResourceHints;
  readonly decision: TopologyDecision;
}

/** A set of NUMA nodes, `null` for any, and whether no fewer nodes would do on an empty machine. */
export interface ExplainedHint {
  readonly numaNodes: readonly number[] | null;
  readonly preferred: boolean;
}

/** Where the devices of one resource could come from. */
export interface ExplainedHints {
  readonly resource: string;
  readonly asked: number;
  /** null: anywhere; empty: nowhere. At most {@link MAX_EXPLAINED_HINTS}, the fewest nodes first. */
  readonly hints: readonly ExplainedHint[] | null;
  /** How many there are in all. */
  readonly hintCount: number;
}

/** One decision of the topology policy as people and programs read it. */
export interface ExplainedPlacement {
  /** null: the pod as a whole (scope `pod`). */
  readonly container: string | null;
  readonly policy: TopologyPolicy;
  readonly admitted: boolean;
  readonly resources: readonly ExplainedHints[];
  /** What the hints of all resources come to together. */
  readonly merged: ExplainedHint;
  /** One sentence on why. */
  readonly sentence: string;
}

/** Eight NUMA nodes have 255 sets, sixteen 65,535; the narrowest are those that matter. */
export const MAX_EXPLAINED_HINTS = 64;
/** Sets named in a sentence. */
const MAX_NAMED_SETS = 6;

/** Puts a decision of the topology policy into plain data. */
export function explainPlacement({ policy, container, asked, hints, decision }: Placement): ExplainedPlacement {
  const { admit, hint } = decision;
  return {
    container,
    policy,
    admitted: admit,
    resources: [...hints].map(([resource, list]) => ({
      resource,
      asked: asked.get(resource) ?? 0,
      hints: list?.slice(0, MAX_EXPLAINED_HINTS).map(explainHint) ?? null,
      hintCount: list?.length ?? 0,
    })),
    merged: explainHint(hint),
    sentence: admit ? placeOf(policy, hint) : refusalOf(policy, asked, hints),
  };
}

/** `{0,1}`; `any` without a limit. */
export function nodeSetText(numaNodes: readonly number[] | null): string {
  return numaNodes === null ? 'any' : `{${numaNodes.join()}}`;
}

function explainHint({ mask, preferred }: TopologyHint): ExplainedHint {
  return { numaNodes: mask === null ? null : nodesOf(mask), preferred };
}

function placeOf(policy: TopologyPolicy, { mask, preferred }: TopologyHint): string {
  if (mask === null) return 'Any NUMA node will do.';
  const place = nodeSetText(nodesOf(mask));
  return preferred
    ? `Devices are taken from NUMA nodes ${place} first.`
    : `No place suits all of them well; ${policy} takes devices from NUMA nodes ${place} first.`;
}

function refusalOf(policy: TopologyPolicy, asked: ReadonlyMap<string, number>, hints: ResourceHints): string {
  const single = policy === 'single-numa-node';
  const acceptable: string[] = [];
  for (const [resource, list] of hints) {
    if (list === null) continue;
    const wish = `${String(asked.get(resource) ?? 0)} of ${resource}`;
    const [narrowest] = list;
    if (narrowest?.mask === undefined) return `No set of NUMA nodes can give ${wish}.`;
    const suitable = list.filter(
      ({ mask, preferred }) => preferred && (!single || mask === null || nodesOf(mask).length === 1),
    );
    if (suitable.length === 0) {
      const wants = single
        ? 'the policy wants a single node'
        : 'fewer would do on an empty machine, and the policy wants no more';
      return `${wish} can be had only from NUMA nodes ${setsText(list)} together; ${wants}.`;
    }
    acceptable.push(`${wish} from ${setsText(suitable)}`);
  }
  return `No place is accepted for all of them: ${acceptable.join('; ')}.`;
}

function setsText(hints: readonly { readonly mask: NumaMask | null }[]): string {
  const sets = hints.slice(0, MAX_NAMED_SETS).map(({ mask }) => nodeSetText(mask === null ? null : nodesOf(mask)));
  const more = hints.length - sets.length;
  return sets.join(' or ') + (more > 0 ? ` or ${String(more)} more` : '');
}
