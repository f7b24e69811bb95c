import {
  concludeExplanation,
  containerRequests,
  decideTopology,
  deviceIdsOf,
  DevmgrError,
  explainHolders,
  explainPlacement,
  explainResource,
  explainUndecided,
  explainWish,
  HYPOTHETICAL_POD,
  ledgerHints,
  naturalCompare,
  needsOf,
  nodesOf,
  refusedByTopology,
  TOPOLOGY_REASON,
  type Placement,
  type ExplainedPlacement,
  type ExplainedRequest,
  type ExplainedResource,
  type Explanation,
  type ExplanationFacts,
  type Ledger,
  type Pod,
  type PodNaming,
  type TopologyRules,
  type TopologyScope,
} from '@devmgr/core';
import type { Decision, DecisionBook } from './decision-book.ts';
import type { DeviceManager } from './device-manager.ts';
import type { ExplainService, InventoryService, PodService } from './ports.ts';

export interface ExplainerParts {
  readonly manager: DeviceManager;
  readonly decisions: DecisionBook;
  readonly pods: Pick<PodService, 'get'>;
  readonly inventory: Pick<InventoryService, 'resources'>;
  readonly podName: PodNaming;
  /** As admission does with resources nobody ever registered; refused when absent. */
  readonly unknownResources?: 'reject' | 'ignore';
  /** Absent when NUMA nodes are not respected. */
  readonly topology?: TopologyRules & { readonly scope: TopologyScope };
}

/** What would come of a wish, and what the topology policy would say. */
interface AnsweredWish {
  readonly requests: readonly ExplainedRequest[];
  readonly placements: readonly ExplainedPlacement[];
}

/** Condition of a pod that says whether its admission waits for plugins. */
const DEVICES_READY = 'DevicesReady';
/** kubelet: topology manager, admission message. */
const TOPOLOGY_MESSAGE = 'Resources cannot be allocated with Topology locality';
/** How the message of a pod begins that admission has refused. (kubelet) */
const REJECTED = 'Pod was rejected: ';

/** Tells why pods got their devices or not, and what would come of a wish. Changes nothing: everything here is synchronous and calls no plugin. */
export class Explainer implements ExplainService {
  readonly #parts: ExplainerParts;

  constructor(parts: ExplainerParts) {
    this.#parts = parts;
  }

  explainPod(namespace: string, name: string): Explanation {
    const { pods, decisions } = this.#parts;
    const pod = pods.get(namespace, name);
    const uid = pod?.metadata.uid ?? '';
    const decision = pod === undefined ? decisions.find(namespace, name) : decisions.get(uid);
    if (decision !== undefined) return this.#explainDecision(decision);
    if (pod === undefined) {
      throw new DevmgrError(
        'NOT_FOUND',
        `pods "${name}" not found in namespace "${namespace}", and no decision about one is remembered`,
        { remedy: 'List the pods with "devmgr get pods -A", or ask with --limits.' },
      );
    }
    return this.#explainUnrecorded(pod);
  }

  explainLimits(limits: Readonly<Record<string, number>>): Explanation {
    const wish = new Map(Object.entries(limits));
    const { requests, placements } = this.#wish(wish, [[null, wish]]);
    const outcomes = new Set(requests.map(({ outcome }) => outcome));
    const refused = outcomes.has('Refused');
    const unaligned = refused && placements.some(({ admitted }) => !admitted);
    return this.#conclude({
      source: 'now',
      placements,
      pod: null,
      verdict: refused ? 'WouldBeRefused' : outcomes.has('Waiting') ? 'WouldWait' : 'WouldFit',
      reason: unaligned ? TOPOLOGY_REASON : null,
      message: unaligned ? TOPOLOGY_MESSAGE : null,
      decidedAt: null,
      requests,
      now: requests,
    });
  }

  #explainDecision({ namespace, name, uid, result, decidedAt, requests, placements }: Decision): Explanation {
    return this.#conclude({
      placements,
      source: 'admission',
      pod: { namespace, name, uid },
      verdict: result.ok ? 'Admitted' : 'Refused',
      reason: result.ok ? null : result.reason,
      message: result.ok ? null : result.message,
      decidedAt: new Date(decidedAt).toISOString(),
      requests,
      now: result.ok ? [] : this.#again(requests).requests,
    });
  }

  /** Not decided yet, decided by a manager before this one, or too long ago. */
  #explainUnrecorded(pod: Pod): Explanation {
    const { status, metadata } = pod;
    const uid = metadata.uid ?? '';
    const waiting = status?.conditions?.find(({ type, status: value }) => type === DEVICES_READY && value === 'False');
    const refused = status?.phase === 'Failed' && status.message?.startsWith(REJECTED) === true;
    const requests = this.#wishesOf(pod, refused, waiting?.reason === 'WaitingForRelease');
    const undecided = requests.some(({ outcome }) => outcome !== 'Given');
    const verdict = refused ? 'Refused' : status?.phase === 'Pending' && undecided ? 'Waiting' : 'Admitted';
    const again = verdict === 'Admitted' ? undefined : this.#again(requests);
    return this.#conclude({
      source: 'admission',
      pod: { namespace: metadata.namespace ?? 'default', name: metadata.name, uid },
      verdict,
      reason: refused ? (status.reason ?? null) : (waiting?.reason ?? null),
      message: refused ? (status.message?.slice(REJECTED.length) ?? null) : (waiting?.message ?? null),
      decidedAt: null,
      requests,
      now: again?.requests ?? [],
      placements: again?.placements ?? [],
    });
  }

  #wishesOf(pod: Pod, refused: boolean, forRelease: boolean): readonly ExplainedRequest[] {
    const { ledger } = this.#parts.manager;
    const waits = (resource: string): Partial<ExplainedRequest> | undefined => {
      if (!this.#parts.manager.isReady(resource)) return {};
      if (!forRelease || ledger.releasing(resource).returning === 0) return undefined;
      return { holders: explainHolders(ledger, resource, this.#parts.podName) };
    };
    return containerRequests(pod).flatMap(({ container, kind, resources }) =>
      [...resources].flatMap(([resource, asked]) => {
        if (asked === 0) return [];
        const wish = { container, kind, resource, asked };
        const allocation = ledger.allocation(pod.metadata.uid ?? '', container, resource);
        if (allocation !== undefined) {
          return [explainUndecided(wish, 'Given', { deviceIds: [...deviceIdsOf(allocation)].sort(naturalCompare) })];
        }
        if (refused) return [explainUndecided(wish, 'NotReached')];
        const known = waits(resource);
        return [explainUndecided(wish, known === undefined ? 'NotReached' : 'Waiting', known)];
      }),
    );
  }

  /** What would come of a decided pod now. */
  #again(requests: readonly ExplainedRequest[]): AnsweredWish {
    const needs = needsOf(requests);
    if (this.#parts.topology?.scope !== 'container') return this.#wish(needs, [[null, needs]]);
    const containers = new Map<string, Map<string, number>>();
    for (const { container, resource, asked } of requests) {
      const wish = containers.get(container) ?? new Map<string, number>();
      containers.set(container, wish.set(resource, asked));
    }
    return this.#wish(needs, [...containers]);
  }

  /**
   * A wish as admission would take it: it waits for a known resource whose plugin is not there, and for devices that are
   * being released, and the devices of each of `aligned` must suit the topology policy, each as if the others were not.
   */
  #wish(
    limits: ReadonlyMap<string, number>,
    aligned: readonly (readonly [container: string | null, ReadonlyMap<string, number>])[],
  ): AnsweredWish {
    const { manager, podName, topology, unknownResources } = this.#parts;
    const { ledger } = manager;
    const decided = aligned.flatMap(([container, asked]): Placement[] => {
      if (topology === undefined) return [];
      const request = { podUid: HYPOTHETICAL_POD, container: 'main', resources: asked };
      const hints = ledgerHints(ledger, topology.machine, request);
      return [{ policy: topology.policy, container, asked, hints, decision: decideTopology(topology, [hints]) }];
    });
    const refused = decided.some(({ decision }) => !decision.admit);
    const mask = decided.length === 1 ? (decided[0]?.decision.hint.mask ?? null) : null;
    const affinity = mask === null || refused ? null : new Set(nodesOf(mask));
    const requests = explainWish(ledger, limits, { podName, affinity }).map((request): ExplainedRequest => {
      const ignored = unknownResources === 'ignore' && !manager.isKnown(request.resource);
      return ignored ? { ...request, outcome: 'Ignored', refusedBy: null, holders: [] } : request;
    });
    // Where there are too few devices, that is what there is to say.
    const enough = requests.every(({ outcome }) => outcome !== 'Refused');
    const placements = decided.map(explainPlacement);
    const refusal = enough ? placements.find(({ admitted }) => !admitted) : undefined;
    const answers = requests.map((request): ExplainedRequest => {
      const waits = manager.isKnown(request.resource) && !manager.isReady(request.resource);
      if (waits) return { ...request, outcome: 'Waiting', refusedBy: null, deviceIds: [], holders: [] };
      if (comesBack(manager.ledger, request)) return { ...request, outcome: 'Waiting', refusedBy: null };
      return refusal !== undefined && request.outcome === 'Fits' ? refusedByTopology(request, refusal.policy) : request;
    });
    return { requests: answers, placements };
  }

  #conclude({
    placements,
    ...facts
  }: Omit<ExplanationFacts, 'fitsNow' | 'topology' | 'resources' | 'knownResources'> &
    Pick<AnsweredWish, 'placements'>): Explanation {
    const { manager, topology } = this.#parts;
    const names = [...new Set(facts.requests.map(({ resource }) => resource))];
    return concludeExplanation({
      ...facts,
      topology:
        topology === undefined ? null : { policy: topology.policy, scope: topology.scope, decisions: placements },
      fitsNow:
        facts.verdict === 'Refused'
          ? facts.now.every(({ outcome }) => outcome === 'Fits' || outcome === 'Ignored')
          : null,
      resources: names.map((name) => this.#resource(name)),
      knownResources: manager.ledger.resourceNames().filter((name) => manager.ledger.hasPool(name)),
    });
  }

  #resource(name: string): ExplainedResource {
    const { manager, inventory, podName } = this.#parts;
    const plugin = inventory.resources().find((resource) => resource.name === name)?.plugin ?? null;
    return { ...explainResource(manager.ledger, name, podName), plugin };
  }
}

/** Too few are free, and enough once what is being released has come back. */
function comesBack(ledger: Ledger, { refusedBy, resource, asked }: ExplainedRequest): boolean {
  if (refusedBy !== 'enough devices') return false;
  return asked <= (ledger.capacity(resource)?.free ?? 0) + ledger.releasing(resource).returning;
}
