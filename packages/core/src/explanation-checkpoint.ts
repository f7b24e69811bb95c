import type { Allocation } from './allocation.ts';
import { groupsOf } from './checkpoint-codec.ts';
import type { CheckpointData } from './checkpoint.ts';
import { HEALTHY } from './device.ts';
import { concludeExplanation } from './explanation-advice.ts';
import { explainResource, explainWish } from './explanation-builder.ts';
import type { Explanation } from './explanation.ts';
import { Ledger } from './ledger.ts';
import { naturalCompare } from './natural-order.ts';

/**
 * The ledger as a manager has it that has read the file and whose plugins list exactly the devices that were healthy when
 * it was written. A file says nothing of unhealthy devices nobody holds, and knows NUMA nodes only of what is held.
 */
export function ledgerOf(data: CheckpointData): Ledger {
  const ledger = new Ledger();
  const nodesOf = new Map<string, number[]>();
  const allocations: Allocation[] = [];
  for (const entry of data.entries ?? []) {
    const deviceIds = new Map<number, readonly string[]>();
    for (const [node, ids] of groupsOf(entry.devices)) {
      deviceIds.set(node, ids ?? []);
      for (const id of node >= 0 ? (ids ?? []) : []) {
        const key = `${entry.resource}\0${id}`;
        nodesOf.set(key, [...(nodesOf.get(key) ?? []), node]);
      }
    }
    const { podUid, container, resource } = entry;
    allocations.push({ podUid, container, resource, deviceIds, response: entry.response ?? new Uint8Array() });
  }
  ledger.restore(allocations);
  for (const [resource, ids] of data.registered ?? []) {
    ledger.replaceDevices(
      resource,
      (ids ?? []).map((id) => ({ id, health: HEALTHY, numaNodes: nodesOf.get(`${resource}\0${id}`) ?? [] })),
    );
  }
  return ledger;
}

/**
 * What a checkpoint tells without any manager: who holds what, what is registered as healthy and free, and, with `limits`,
 * whether a container that asks for so much would get it.
 */
export function explainCheckpoint(data: CheckpointData, limits: ReadonlyMap<string, number>): Explanation {
  const ledger = ledgerOf(data);
  const requests = explainWish(ledger, limits);
  const names = [...ledger.resourceNames()].sort(naturalCompare);
  const wanted = limits.size === 0 ? names : [...limits.keys()];
  const refused = requests.some(({ outcome }) => outcome === 'Refused');
  return concludeExplanation({
    source: 'checkpoint',
    pod: null,
    verdict: limits.size === 0 ? null : refused ? 'WouldBeRefused' : 'WouldFit',
    reason: null,
    message: null,
    decidedAt: null,
    requests,
    now: requests,
    topology: null,
    fitsNow: null,
    resources: wanted.map((name) => explainResource(ledger, name)),
    knownResources: names,
  });
}
