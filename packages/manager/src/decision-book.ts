import {
  containerRequests,
  explainPlacement,
  explainHolders,
  explainTrace,
  explainUndecided,
  explainWish,
  refusedByTopology,
  type AllocationPlan,
  type Placement,
  type ExplainedPlacement,
  type ExplainedRequest,
  type Pod,
  type PodNaming,
} from '@devmgr/core';
import type { DeviceManager } from './device-manager.ts';
import type { AdmissionResult } from './ports.ts';

/** How many refused pods are remembered, and how many admitted ones. */
export const MAX_DECISIONS = 200;

/** How the admission of one pod was decided. */
export interface Decision {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly result: AdmissionResult;
  /** Milliseconds since the epoch. */
  readonly decidedAt: number;
  /** Every container and resource, in the order they were served. */
  readonly requests: readonly ExplainedRequest[];
  /** What the topology policy said, in the order in which it was asked; the last one may have refused. */
  readonly placements: readonly ExplainedPlacement[];
}

/**
 * Remembers why admissions went as they did, for `devmgr explain`.
 *
 * Invariants
 * - At most {@link MAX_DECISIONS} refused and as many admitted pods, the latest, so that many admitted ones never push a
 *   refused one out.
 * - What is remembered is plain data of the moment: nothing of the ledger is kept.
 */
export class DecisionBook {
  readonly #manager: DeviceManager;
  readonly #podName: PodNaming;
  readonly #undecided = new Map<string, Undecided>();
  readonly #refused = new Map<string, Decision>();
  readonly #admitted = new Map<string, Decision>();

  constructor(manager: DeviceManager, podName: PodNaming) {
    this.#manager = manager;
    this.#podName = podName;
  }

  /** An admission begins; what is planned for the pod is remembered until it has ended. */
  began(pod: Pod): void {
    this.#undecided.set(uidOf(pod), { placements: [], planned: [], next: [] });
  }

  /** The topology policy was asked about a container or the pod as a whole. */
  placed(pod: Pod, placement: Placement): void {
    this.#undecided.get(uidOf(pod))?.placements.push(explainPlacement(placement));
  }

  /** One container and resource was decided: the plan as it ends, before it is released. */
  planned(plan: AllocationPlan): void {
    const { ledger } = this.#manager;
    const { podUid, container, resource } = plan.request;
    const undecided = this.#undecided.get(podUid);
    if (undecided === undefined) return; // no admission, but a start that allocates again
    const { trace } = plan;
    const refused = trace.rules.at(-1)?.outcome === 'refused';
    const given = trace.asked === 0 || ledger.allocation(podUid, container, resource) !== undefined;
    const outcome = refused ? 'Refused' : given ? 'Given' : 'Failed';
    undecided.planned.push(
      explainTrace(trace, outcome, refused ? explainHolders(ledger, resource, this.#podName) : []),
    );
  }

  /** The admission fails, and nothing was given back yet: what the rules would have said of the container that was next, had they been asked. */
  refusing(pod: Pod): void {
    const undecided = this.#undecided.get(uidOf(pod));
    if (undecided === undefined) return;
    const manager = this.#manager;
    const { ledger } = manager;
    const podName = this.#podName;
    const unplanned = wishesOf(pod).filter((wish) => plannedFor(undecided, wish) === undefined);
    undecided.next = unplanned
      .filter(({ container, resource }) => container === unplanned[0]?.container || !manager.isKnown(resource))
      .flatMap((wish) =>
        explainWish(ledger, new Map([[wish.resource, wish.asked]]), { podName }).map((tried) => ({
          ...tried,
          ...wish,
          holders: explainHolders(ledger, wish.resource, podName),
        })),
      );
  }

  /** The admission is over; without a result it was abandoned, because its pod was deleted or the manager stops. */
  ended(pod: Pod, result: AdmissionResult | undefined): void {
    const uid = uidOf(pod);
    const undecided = this.#undecided.get(uid);
    this.#undecided.delete(uid);
    if (result === undefined || undecided === undefined) return;
    const decisions = result.ok ? this.#admitted : this.#refused;
    decisions.delete(uid);
    decisions.set(uid, {
      namespace: pod.metadata.namespace ?? 'default',
      name: pod.metadata.name,
      uid,
      result,
      decidedAt: this.#manager.clock.now(),
      requests: this.#complete(pod, undecided, result),
      placements: undecided.placements,
    });
    if (decisions.size > MAX_DECISIONS) decisions.delete(decisions.keys().next().value ?? '');
  }

  /** The decision about a pod. */
  get(podUid: string): Decision | undefined {
    return this.#refused.get(podUid) ?? this.#admitted.get(podUid);
  }

  /** The latest decision about a pod of this name, which may be gone. */
  find(namespace: string, name: string): Decision | undefined {
    const matches = [...this.#admitted.values(), ...this.#refused.values()].filter(
      (decision) => decision.namespace === namespace && decision.name === name,
    );
    return matches.sort((a, b) => b.decidedAt - a.decidedAt)[0];
  }

  /** What was planned, plus what the admission never came to. */
  #complete(pod: Pod, undecided: Undecided, result: AdmissionResult): readonly ExplainedRequest[] {
    const refusal = undecided.placements.find(({ admitted }) => !admitted);
    return wishesOf(pod).flatMap((wish) => {
      const known = plannedFor(undecided, wish);
      if (known !== undefined) return [known];
      if (result.ok) return [explainUndecided(wish, 'Ignored')];
      const next = undecided.next.find((request) => same(request, wish));
      if (next === undefined) return [explainUndecided(wish, 'NotReached')];
      if (refusal !== undefined) return [refusedByTopology(next, refusal.policy)];
      const unregistered = undecided.planned.length === 0 && !this.#manager.isKnown(wish.resource);
      return [unregistered ? { ...next, outcome: 'Refused' } : explainUndecided(wish, 'NotReached')];
    });
  }
}

/** An admission under way. */
interface Undecided {
  readonly placements: ExplainedPlacement[];
  /** In the order in which the plans ended. */
  readonly planned: ExplainedRequest[];
  /** Of the container that would have been next when it failed. */
  next: readonly ExplainedRequest[];
}

type Wish = Pick<ExplainedRequest, 'container' | 'kind' | 'resource' | 'asked'>;

/** What the containers of a pod ask for, in the order in which they are served. */
function wishesOf(pod: Pod): readonly Wish[] {
  return containerRequests(pod).flatMap(({ container, kind, resources }) =>
    [...resources].flatMap(([resource, asked]) => (asked > 0 ? [{ container, kind, resource, asked }] : [])),
  );
}

function plannedFor({ planned }: Undecided, wish: Wish): ExplainedRequest | undefined {
  return planned.find((request) => same(request, wish));
}

function same(a: Pick<Wish, 'container' | 'resource'>, b: Pick<Wish, 'container' | 'resource'>): boolean {
  return a.container === b.container && a.resource === b.resource;
}

function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? '';
}
