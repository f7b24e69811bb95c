import type { NumaShare } from './capacity.ts';
import type { PlanRule, TracedRule } from './decision-trace.ts';
import type { ContainerKind } from './plan-request.ts';
import type { ExplainedPlacement } from './topology/explained-placement.ts';

/** What an explanation is about: an admission that was decided, a question about this moment, or a checkpoint file. */
export type ExplanationSource = 'admission' | 'now' | 'checkpoint';

/**
 * `Admitted` and `Refused` were decided, `Waiting` is not yet; `WouldFit`, `WouldWait` (for a plugin that is away, or for releases) and
 * `WouldBeRefused` answer a question.
 */
export type ExplanationVerdict = 'Admitted' | 'Refused' | 'Waiting' | 'WouldFit' | 'WouldWait' | 'WouldBeRefused';

/**
 * What came of one container's wish for one resource. `Given`: it has them, or had them until another part of the pod was
 * refused. `Fits`: it would get them. `Refused`: a rule said no. `Failed`: the rules had chosen, then the plugin (or the
 * disk) failed. `NotReached`: something before it was refused. `Waiting`: its plugin is away, or devices are being released. `Ignored`: nobody has
 * registered the resource, and the manager is set to ignore such ones.
 */
export type RequestOutcome = 'Given' | 'Fits' | 'Refused' | 'Failed' | 'NotReached' | 'Waiting' | 'Ignored';

/** Devices of a resource at one moment. */
export interface ExplainedCounts {
  /** In the plugin's list, whatever their health. */
  readonly listed: number;
  readonly healthy: number;
  /** By containers or by releases under way, devices that are no longer listed included. */
  readonly held: number;
  /** By admissions in flight. */
  readonly reserved: number;
  readonly free: number;
}

/** A rule of the allocation, or what comes before it. */
export type ExplainedRuleName = PlanRule | 'topology policy';

/** One rule that was tried and what came of it. */
export interface ExplainedRule extends Omit<TracedRule, 'rule'> {
  readonly rule: ExplainedRuleName;
}

/** One container's wish for devices of one resource, and how it was decided. */
export interface ExplainedRequest {
  readonly container: string;
  readonly kind: ContainerKind;
  readonly resource: string;
  readonly asked: number;
  readonly outcome: RequestOutcome;
  /** The rule that said no. */
  readonly refusedBy: ExplainedRuleName | null;
  /** As the decision began; null when it never did, or is no longer on record. */
  readonly counts: (ExplainedCounts & { readonly reusable: number }) | null;
  /** NUMA nodes of the hint; null without one. */
  readonly affinity: readonly number[] | null;
  /** Chosen, or given. */
  readonly deviceIds: readonly string[];
  /** In the order in which they were tried. */
  readonly rules: readonly ExplainedRule[];
  /** Who held devices of the resource when it was refused; empty otherwise. */
  readonly holders: readonly ExplainedHolder[];
}

/** A container and what it holds of one resource. */
export interface ExplainedHolder {
  /** `namespace/name`, or the uid where the name is not known. */
  readonly pod: string;
  readonly podUid: string;
  readonly container: string;
  readonly deviceIds: readonly string[];
  /** It gave them back, and they wait for their release; absent while it has them. */
  readonly releasing?: true;
}

/** One resource as it is now, or in the file. */
export interface ExplainedResource extends ExplainedCounts {
  readonly name: string;
  /** A plugin has registered it, and it was not removed since. */
  readonly registered: boolean;
  /** Null when there is none, and of a file. */
  readonly plugin: { readonly endpoint: string; readonly state: string; readonly since: string } | null;
  /** At most {@link MAX_EXPLAINED_IDS} each; the counts above are complete. */
  readonly freeIds: readonly string[];
  readonly unhealthyIds: readonly string[];
  /** Held, and not in the plugin's list any more. */
  readonly vanishedIds: readonly string[];
  /** Listed and free devices by the NUMA nodes they are on. */
  readonly numa: readonly NumaShare[];
  readonly holders: readonly ExplainedHolder[];
}

/** How many ids a list of an explanation shows, so that an answer about 100,000 devices stays readable. */
export const MAX_EXPLAINED_IDS = 1_000;

/** Why containers got devices or did not, or would: what `devmgr explain` shows, as plain data. */
export interface Explanation {
  readonly kind: 'Explanation';
  readonly source: ExplanationSource;
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | null;
  /** Null when nothing was asked: what there is of a checkpoint. */
  readonly verdict: ExplanationVerdict | null;
  /** As in the pod's status. */
  readonly reason: string | null;
  /** The kubelet's text. */
  readonly message: string | null;
  /** RFC 3339. */
  readonly decidedAt: string | null;
  /** One sentence on why. */
  readonly summary: string;
  readonly requests: readonly ExplainedRequest[];
  /**
   * How NUMA nodes are respected, and what the policy said of each container or of the pod as a whole; null when they are
   * not, and of a file. A decision that is not on record is told as it would be now.
   */
  readonly topology: {
    readonly policy: string;
    readonly scope: string;
    readonly decisions: readonly ExplainedPlacement[];
  } | null;
  /** Of a pod that was refused: whether it would get its devices now. */
  readonly fitsNow: boolean | null;
  /** Those that were asked for, or all of a file. */
  readonly resources: readonly ExplainedResource[];
  /** What would help, a sentence each; the most promising first. */
  readonly advice: readonly string[];
}
