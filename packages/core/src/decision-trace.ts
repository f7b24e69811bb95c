import type { ContainerKind, PlanRequest } from './plan-request.ts';

/** Rules of an allocation, in the order they are tried. (kubelet: device manager, devicesToAllocate) */
export type PlanRule =
  | 'unchanged request'
  | 'something asked'
  | 'resource registered'
  | 'healthy devices present'
  | 'recorded devices healthy'
  | 'already allocated'
  | 'lost devices'
  | 'reuse from init containers'
  | 'enough devices'
  | 'aligned devices'
  | 'plugin preference'
  | 'unaligned devices'
  | 'devices without affinity'
  | 'complete';

/**
 * `satisfied` ends the decision well, `refused` badly, `asked` waits for the plugin; after the others the next rule is
 * tried. `lost` means that devices chosen before are gone and others are needed.
 */
export type RuleOutcome = 'passed' | 'lost' | 'took' | 'asked' | 'satisfied' | 'refused';

/** One rule that was tried and what came of it. */
export interface TracedRule {
  readonly rule: PlanRule;
  readonly outcome: RuleOutcome;
  /** One sentence for people. */
  readonly sentence: string;
}

/** Why a container got the devices it got, or none: plain data, for `devmgr explain`. Counts are of when the decision began. */
export interface DecisionTrace {
  readonly podUid: string;
  readonly container: string;
  readonly kind: ContainerKind;
  readonly resource: string;
  /** Devices asked for. */
  readonly asked: number;
  /** NUMA nodes the container should be on; null without a hint. */
  readonly affinity: readonly number[] | null;
  readonly listed: number;
  readonly healthy: number;
  readonly held: number;
  /** Reserved by other admissions in flight. */
  readonly reserved: number;
  readonly free: number;
  /** Devices of the pod's finished init containers that the container may take over. */
  readonly reusable: number;
  /** The devices chosen so far, in natural order. */
  readonly deviceIds: readonly string[];
  readonly rules: readonly TracedRule[];
}

export type TraceCounts = Pick<DecisionTrace, 'listed' | 'healthy' | 'held' | 'reserved' | 'free' | 'reusable'>;

export const NO_COUNTS: TraceCounts = { listed: 0, healthy: 0, held: 0, reserved: 0, free: 0, reusable: 0 };

/** A rule as it is noted while deciding: numbers, so that nothing is put into words unless someone reads them. */
interface Note {
  readonly rule: PlanRule;
  readonly outcome: RuleOutcome;
  readonly count: number;
  readonly of: number;
}

/** Collects what {@link DecisionTrace} tells; cheap to write, put into words when read. */
export class DecisionLog {
  counts: TraceCounts | undefined;
  readonly #notes: Note[] = [];

  /**
   * `count` and `of` mean what the rule's sentence makes of them. A rule that is passed again, after a call to the
   * plugin, is told once.
   */
  note(rule: PlanRule, outcome: RuleOutcome, count = 0, of = 0): void {
    const repeats = outcome === 'passed' || outcome === 'satisfied';
    if (repeats && this.#notes.some((note) => note.rule === rule && note.outcome === outcome)) return;
    this.#notes.push({ rule, outcome, count, of });
  }

  /** The trace as far as it goes. */
  trace(request: PlanRequest, deviceIds: readonly string[]): DecisionTrace {
    const { podUid, container, kind, resource, count, affinity } = request;
    return {
      podUid,
      container,
      kind,
      resource,
      asked: count,
      affinity: affinity === undefined || affinity === null ? null : [...affinity].sort((a, b) => a - b),
      ...(this.counts ?? NO_COUNTS),
      deviceIds,
      rules: this.#notes.map((note) => ({ rule: note.rule, outcome: note.outcome, sentence: sentenceOf(note) })),
    };
  }
}

function devices(count: number): string {
  return count === 1 ? '1 device' : `${String(count)} devices`;
}

function sentenceOf({ rule, outcome, count, of }: Note): string {
  const refused = outcome === 'refused';
  switch (rule) {
    case 'unchanged request':
      return refused
        ? `The container has a record of ${devices(of)} and now asks for ${String(count)}.`
        : of === 0
          ? 'Nothing is recorded for the container yet.'
          : `The container has a record of ${devices(of)}, as many as it asks for.`;
    case 'something asked':
      return outcome === 'satisfied'
        ? 'The container asks for no device.'
        : `The container asks for ${devices(count)}.`;
    case 'resource registered':
      return refused ? 'No plugin is registered for the resource.' : 'The resource is registered.';
    case 'healthy devices present':
      return refused
        ? `None of the ${String(of)} listed is healthy.`
        : `${String(count)} of ${String(of)} listed are healthy.`;
    case 'recorded devices healthy':
      return refused
        ? `${String(count)} of the ${String(of)} recorded are not healthy any more.`
        : 'All recorded devices are healthy.';
    case 'already allocated':
      return 'The container keeps the devices recorded for it.';
    case 'lost devices':
      return `${devices(count)} chosen before became unhealthy or vanished and must be replaced.`;
    case 'reuse from init containers':
      return `Took ${String(count)} of ${devices(of)} that init containers of the pod leave.`;
    case 'enough devices':
      return refused
        ? `${devices(count)} still needed, and ${String(of)} free.`
        : `${devices(count)} still needed, ${String(of)} free.`;
    case 'aligned devices':
      return `Took ${String(count)} of ${String(of)} free on the NUMA nodes of the hint.`;
    case 'plugin preference':
      return outcome === 'asked'
        ? `Asked the plugin which of ${devices(of)} it prefers.`
        : `Took ${String(count)} of the ${String(of)} ids the plugin prefers.`;
    case 'unaligned devices':
      return `Took ${String(count)} of ${String(of)} free on other NUMA nodes.`;
    case 'devices without affinity':
      return `Took ${String(count)} of ${String(of)} free without regard to NUMA nodes, in natural order.`;
    case 'complete':
      if (refused) return `Got ${String(count)} of ${devices(of)} asked for.`;
      return of === 1 ? 'The device is chosen.' : `All ${devices(of)} are chosen.`;
  }
}
