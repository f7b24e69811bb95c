import { deviceIdsOf } from '../allocation.ts';
import { normalizeNumaNodes } from '../device-group.ts';
import type { Ledger } from '../ledger.ts';
import { deviceHints, type DeviceShare } from './device-hints.ts';
import type { NumaMachine } from './numa-machine.ts';
import type { HintList, ResourceHints } from './topology-hint.ts';

/** Whose devices are asked for. */
export interface HintRequest {
  readonly podUid: string;
  /** Absent: the pod as a whole. */
  readonly container?: string;
  /** Resource to whole number, zero included; what is no device plugin resource is passed over. */
  readonly resources: ReadonlyMap<string, number>;
}

/**
 * Where the devices of a container, or of a pod as a whole, could come from. What is recorded for it already gives the
 * same hints again. Counts come from the ledger's own, so the cost does not grow with the devices. (kubelet: device
 * manager, GetTopologyHints and GetPodTopologyHints)
 */
export function ledgerHints(ledger: Ledger, machine: NumaMachine, request: HintRequest): ResourceHints {
  const hints = new Map<string, HintList>();
  for (const [resource, count] of request.resources) {
    if (ledger.isKnown(resource)) hints.set(resource, hintsOf(ledger, machine, request, resource, count));
  }
  return hints;
}

function hintsOf(
  ledger: Ledger,
  machine: NumaMachine,
  { podUid, container }: HintRequest,
  resource: string,
  count: number,
): HintList {
  const shares = ledger.numaShares(resource);
  if (!shares.some(({ numaNodes }) => numaNodes.length > 0)) return null;
  const listed = shares.map((share) => ({ numaNodes: share.numaNodes, count: share.listed }));
  const question = { machineNodes: machine.nodes, count, listed };

  const recorded = recordedIds(ledger, podUid, container, resource);
  if (recorded.size > 0) {
    if (recorded.size !== count) return [];
    const available = [...recorded].map((id) => shareOf(ledger.device(resource, id)));
    return deviceHints({ ...question, available, reusable: [] });
  }

  const reusable = container === undefined ? [] : ledger.reusableDevices(podUid, resource).map(shareOf);
  const free = shares.reduce((sum, share) => sum + share.free, 0);
  if (free + reusable.length < count) return [];
  const available = shares.map((share) => ({ numaNodes: share.numaNodes, count: share.free }));
  return deviceHints({ ...question, available, reusable });
}

function recordedIds(
  ledger: Ledger,
  podUid: string,
  container: string | undefined,
  resource: string,
): ReadonlySet<string> {
  const recorded = new Set<string>();
  if (container === undefined) {
    for (const allocation of ledger.podAllocations(podUid)) {
      if (allocation.resource === resource) for (const id of deviceIdsOf(allocation)) recorded.add(id);
    }
    return recorded;
  }
  const allocation = ledger.allocation(podUid, container, resource);
  return allocation === undefined ? recorded : deviceIdsOf(allocation);
}

/** A device that is no longer listed is on no node. */
function shareOf(device: { readonly listed: boolean; readonly numaNodes: readonly number[] } | undefined): DeviceShare {
  return { numaNodes: device?.listed === true ? normalizeNumaNodes(device.numaNodes) : [], count: 1 };
}
