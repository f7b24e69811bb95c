import {
  type Placement,
  type ContainerRequest,
  containerRequests,
  decideTopology,
  type HintRequest,
  type Ledger,
  ledgerHints,
  type NumaAffinity,
  nodesOf,
  type Pod,
  podRequest,
  type ResourceHints,
  type TopologyHint,
  type TopologyRules,
  type TopologyScope,
} from '@devmgr/core';

/** How NUMA nodes are respected on this machine. */
export interface TopologySettings extends TopologyRules {
  readonly scope: TopologyScope;
  /** Told of each container or pod that a policy which guarantees alignment has aligned or refused. (kubelet: container_aligned_compute_resources_count) */
  readonly onAligned?: (scope: TopologyScope, ok: boolean) => void;
}

/**
 * Decides on which NUMA nodes a container's devices are to be, and remembers it until the pod is gone. (kubelet:
 * topology manager, scopes)
 *
 * Invariants
 * - Hints are computed and stored in one go; what they rest on stays true as long as the caller has its turn in the
 *   queues of the pod's resources.
 * - A container has a stored hint only while its pod is admitted or being admitted.
 */
export class TopologyManager {
  readonly settings: TopologySettings;
  readonly #ledger: Ledger;
  readonly #stored = new Map<string, Map<string, TopologyHint>>();

  constructor(settings: TopologySettings, ledger: Ledger) {
    this.settings = settings;
    this.#ledger = ledger;
  }

  /** In scope `pod`: one hint for all containers; nothing to decide in scope `container`. */
  alignPod(pod: Pod): Placement | undefined {
    if (this.settings.scope !== 'pod') return undefined;
    const placement = this.#decide(null, podRequestOf(pod), this.podHints(pod));
    const { admit, hint } = placement.decision;
    if (admit) for (const { container } of containerRequests(pod)) this.#store(pod, container, hint);
    else this.#count('pod', false);
    return placement;
  }

  /** In scope `container`: the hint of one container, once its predecessors have their devices; nothing to decide in scope `pod`. */
  alignContainer(pod: Pod, container: string): Placement | undefined {
    if (this.settings.scope !== 'container') return undefined;
    const asked = containerRequestOf(pod, container);
    const placement = this.#decide(container, asked, this.containerHints(pod, container));
    if (placement.decision.admit) this.#store(pod, container, placement.decision.hint);
    else this.#count('container', false);
    return placement;
  }

  /** A container has its devices. */
  containerAllocated(): void {
    this.#count('container', true);
  }

  /** All containers of a pod have their devices. */
  podAllocated(): void {
    this.#count('pod', true);
  }

  /** For devices given after admission, as when a record was lost: a stored hint stays; one that is not there any more (a restart) is made anew. */
  realign(pod: Pod, container: string): boolean {
    if (this.stored(uidOf(pod), container) !== undefined) return true;
    const decisions = [this.alignPod(pod), this.alignContainer(pod, container)];
    return decisions.every((placement) => placement?.decision.admit !== false);
  }

  /** The hint a container was admitted with. */
  stored(podUid: string, container: string): TopologyHint | undefined {
    return this.#stored.get(podUid)?.get(container);
  }

  /** The nodes to choose a container's devices from first; null when any will do. */
  affinity(podUid: string, container: string): NumaAffinity | null {
    const mask = this.stored(podUid, container)?.mask ?? null;
    return mask === null ? null : new Set(nodesOf(mask));
  }

  forget(podUid: string): void {
    this.#stored.delete(podUid);
  }

  /** Where the devices of one container could come from now. (kubelet: device manager, GetTopologyHints) */
  containerHints(pod: Pod, container: string): ResourceHints {
    return this.#hints({ podUid: uidOf(pod), container, resources: containerRequestOf(pod, container) });
  }

  /** Where the devices of the pod as a whole could come from now. (kubelet: device manager, GetPodTopologyHints) */
  podHints(pod: Pod): ResourceHints {
    return this.#hints({ podUid: uidOf(pod), resources: podRequestOf(pod) });
  }

  #decide(container: string | null, asked: ReadonlyMap<string, number>, hints: ResourceHints): Placement {
    return { policy: this.settings.policy, container, asked, hints, decision: decideTopology(this.settings, [hints]) };
  }

  #hints(request: HintRequest): ResourceHints {
    return ledgerHints(this.#ledger, this.settings.machine, request);
  }

  #count(scope: TopologyScope, ok: boolean): void {
    const { policy, scope: counted, onAligned } = this.settings;
    if (policy === 'single-numa-node' && scope === counted) onAligned?.(scope, ok);
  }

  #store(pod: Pod, container: string, hint: TopologyHint): void {
    const podUid = uidOf(pod);
    let hints = this.#stored.get(podUid);
    if (hints === undefined) this.#stored.set(podUid, (hints = new Map<string, TopologyHint>()));
    hints.set(container, hint);
  }
}

function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? '';
}

/** Hints look at every limit, also at those that resource claims serve. (kubelet: device manager, getContainerDeviceRequest) */
function containerRequestOf(pod: Pod, container: string): ContainerRequest['resources'] {
  const requests = containerRequests(withoutStatus(pod));
  return requests.find((candidate) => candidate.container === container)?.resources ?? new Map<string, number>();
}

function podRequestOf(pod: Pod): ReadonlyMap<string, number> {
  return podRequest(withoutStatus(pod));
}

function withoutStatus(pod: Pod): Pod {
  const { status: _status, ...rest } = pod;
  return rest;
}
