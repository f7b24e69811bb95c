import type { NumaAffinity } from './affinity.ts';
import { deviceIdsOf } from './allocation.ts';
import type { DecisionTrace } from './decision-trace.ts';
import {
  type ExplainedHolder,
  type ExplainedRequest,
  type ExplainedResource,
  MAX_EXPLAINED_IDS,
  type RequestOutcome,
} from './explanation.ts';
import type { Ledger } from './ledger.ts';
import { naturalCompare } from './natural-order.ts';
import { releasedPod } from './release.ts';
import type { ExplainedPlacement } from './topology/explained-placement.ts';

/** Names a pod for people: `namespace/name`; undefined when it is not known. */
export type PodNaming = (podUid: string) => string | undefined;

/** The uid of the pod that asks in a hypothesis; no real one has it. */
export const HYPOTHETICAL_POD = 'hypothetical';

/**
 * What would come of a container that asks for this, now. The rules are tried on the ledger itself: devices are reserved
 * and given back before this returns, no plugin is called, and nobody can see it happen. One answer a resource, in the
 * order given.
 */
export function explainWish(
  ledger: Ledger,
  limits: ReadonlyMap<string, number>,
  { podName = () => undefined, affinity = null }: { podName?: PodNaming; affinity?: NumaAffinity | null } = {},
): readonly ExplainedRequest[] {
  return [...limits].map(([resource, count]) => {
    const plan = ledger.plan({ podUid: HYPOTHETICAL_POD, container: 'main', kind: 'app', resource, count, affinity });
    try {
      const refused = plan.next(false).step === 'reject';
      const holders = refused ? explainHolders(ledger, resource, podName) : [];
      return explainTrace(plan.trace, refused ? 'Refused' : 'Fits', holders);
    } finally {
      plan.release();
    }
  });
}

/** A recorded decision as it is explained; `holders` are those of when it was refused. */
export function explainTrace(
  trace: DecisionTrace,
  outcome: RequestOutcome,
  holders: readonly ExplainedHolder[] = [],
): ExplainedRequest {
  const { container, kind, resource, asked, affinity, deviceIds, rules } = trace;
  const { listed, healthy, held, reserved, free, reusable } = trace;
  return {
    container,
    kind,
    resource,
    asked,
    outcome,
    refusedBy: rules.find((tried) => tried.outcome === 'refused')?.rule ?? null,
    counts: { listed, healthy, held, reserved, free, reusable },
    affinity,
    deviceIds,
    rules,
    holders,
  };
}

/** A wish without a decision on record. */
export function explainUndecided(
  wish: Pick<ExplainedRequest, 'container' | 'kind' | 'resource' | 'asked'>,
  outcome: RequestOutcome,
  known: Partial<ExplainedRequest> = {},
): ExplainedRequest {
  const none = { refusedBy: null, counts: null, affinity: null, deviceIds: [], rules: [], holders: [] };
  return { ...wish, outcome, ...none, ...known };
}

/**
 * The most that these requests of one pod hold of each resource at any one time: all app containers and sidecars together,
 * or one init container with the sidecars before it. (kubelet: device manager, pod-level hints; KEP-753)
 */
export function needsOf(
  requests: readonly Pick<ExplainedRequest, 'kind' | 'resource' | 'asked'>[],
): ReadonlyMap<string, number> {
  const running = new Map<string, number>();
  const peak = new Map<string, number>();
  for (const { kind, resource, asked } of requests) {
    const inUse = (running.get(resource) ?? 0) + asked;
    if (kind !== 'init') running.set(resource, inUse);
    peak.set(resource, Math.max(peak.get(resource) ?? 0, inUse));
  }
  return peak;
}

/** A wish that no choice of NUMA nodes suits; what the other rules say is kept. */
export function refusedByTopology(request: ExplainedRequest, policy: ExplainedPlacement['policy']): ExplainedRequest {
  const refusal = {
    rule: 'topology policy',
    outcome: 'refused',
    sentence: `Policy ${policy} accepts no set of NUMA nodes the devices could come from.`,
  } as const;
  return {
    ...request,
    outcome: 'Refused',
    refusedBy: 'topology policy',
    deviceIds: [],
    rules: [refusal, ...request.rules],
  };
}

/** Who holds devices of a resource, releases under way included, in natural order of pod and container. Costs in proportion to what is held on the node. */
export function explainHolders(ledger: Ledger, resource: string, podName: PodNaming): readonly ExplainedHolder[] {
  const releases = ledger.releases().flatMap((release): ExplainedHolder[] => {
    if (release.resource !== resource) return [];
    const { podUid, container, deviceIds } = release;
    return [{ pod: `release of pod ${releasedPod(release)}`, podUid, container, deviceIds, releasing: true }];
  });
  const holders = ledger
    .allocations()
    .filter((allocation) => allocation.resource === resource)
    .map((allocation): ExplainedHolder => ({
      pod: podName(allocation.podUid) ?? allocation.podUid,
      podUid: allocation.podUid,
      container: allocation.container,
      deviceIds: [...deviceIdsOf(allocation)].sort(naturalCompare),
    }))
    .filter(({ deviceIds }) => deviceIds.length > 0);
  return [...holders, ...releases].sort(
    (a, b) => naturalCompare(a.pod, b.pod) || naturalCompare(a.container, b.container),
  );
}

/** One resource as the ledger has it now. */
export function explainResource(
  ledger: Ledger,
  resource: string,
  podName: PodNaming = () => undefined,
): ExplainedResource {
  const counts = { listed: 0, healthy: 0, held: 0, reserved: 0, free: 0 };
  const ids = { free: [] as string[], unhealthy: [] as string[], vanished: [] as string[] };
  const add = (list: string[], id: string): void => {
    if (list.length < MAX_EXPLAINED_IDS) list.push(id);
  };
  for (const device of ledger.devices(resource)) {
    const held = device.holders.length > 0 || device.release !== undefined;
    if (device.listed) counts.listed += 1;
    if (held) counts.held += 1;
    else if (device.reserved) counts.reserved += 1;
    if (device.healthy) counts.healthy += 1;
    else add(device.listed ? ids.unhealthy : ids.vanished, device.id);
    if (device.healthy && !held && !device.reserved) {
      counts.free += 1;
      add(ids.free, device.id);
    }
  }
  return {
    name: resource,
    registered: ledger.hasPool(resource),
    plugin: null,
    ...counts,
    freeIds: ids.free,
    unhealthyIds: ids.unhealthy,
    vanishedIds: ids.vanished,
    numa: ledger.numaShares(resource),
    holders: explainHolders(ledger, resource, podName),
  };
}
