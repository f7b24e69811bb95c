import { type Alignment, alignmentOf, type NumaAffinity } from './affinity.ts';
import { type Allocation, deviceIdsOf } from './allocation.ts';
import { DecisionLog, type DecisionTrace, NO_COUNTS, type PlanRule } from './decision-trace.ts';
import type { DeviceEntry } from './device-entry.ts';
import { type DeviceGroup, normalizeNumaNodes } from './device-group.ts';
import type { DevicePool } from './device-pool.ts';
import { type DevicesByNuma, NO_NUMA_NODE } from './device.ts';
import { DevmgrError } from './errors.ts';
import { compareKeyed } from './natural-order.ts';
import type { PlanRequest } from './plan-request.ts';
import { usablePreference } from './preference.ts';

/** What to do next for one container and one resource. */
export type PlanStep =
  /** The container cannot have what it asks for; nothing is reserved any more. `message` is the kubelet's text. */
  | { readonly step: 'reject'; readonly rule: PlanRule; readonly message: string }
  /** Nothing to allocate: none asked, or all recorded already. */
  | { readonly step: 'nothing' }
  /** Ask the plugin (GetPreferredAllocation) and give its ids to `answer`, then call `next` again. Ids in natural order. */
  | {
      readonly step: 'prefer';
      readonly available: readonly string[];
      readonly mustInclude: readonly string[];
      readonly size: number;
    }
  /** These ids, in natural order, are reserved, listed and healthy at this moment: call Allocate, then `commit` or `release`. */
  | { readonly step: 'allocate'; readonly deviceIds: readonly string[] };

/** What a plan needs of the ledger, which alone changes state. */
export interface PlanLedger {
  pool(resource: string): DevicePool | undefined;
  recorded(request: PlanRequest): Allocation | undefined;
  /** Devices the container may take over from init containers of its pod, in natural order. */
  reusable(request: PlanRequest): readonly DeviceEntry[];
  reserve(resource: string, entries: readonly DeviceEntry[], owner: object): void;
  unreserve(resource: string, entries: readonly DeviceEntry[], owner: object): void;
  record(allocation: Allocation, owner: object): void;
}

/**
 * The choice of devices for one container and one resource, which may be interrupted by calls to the plugin.
 *
 * Invariants:
 * - Whatever is chosen is reserved for this plan alone, until it is committed, lost (vanished or unhealthy before an
 *   'allocate'), or released; nothing stays reserved after 'reject', 'nothing', `commit` or `release`.
 * - Each `next` starts from the rules' first and from the devices as they are then. It keeps what was chosen before as
 *   long as that is healthy and listed.
 */
export class AllocationPlan {
  readonly request: PlanRequest;
  readonly #ledger: PlanLedger;
  readonly #log = new DecisionLog();
  readonly #chosen = new Set<DeviceEntry>();
  #preferred: readonly string[] | undefined;
  #state: 'choosing' | 'allocating' | 'closed' = 'choosing';
  #verdict: PlanStep | undefined;

  constructor(request: PlanRequest, ledger: PlanLedger) {
    this.request = request;
    this.#ledger = ledger;
  }

  /** What was asked, what there was, and each rule tried; put into words at each reading. */
  get trace(): DecisionTrace {
    return this.#log.trace(this.request, this.#chosenIds());
  }

  /**
   * The next step. Call it first, after `answer`, and whenever time has passed: it starts from the devices as they are
   * now. With `offersPreference` the plugin is asked once, where the rules say so; without, or after an answer, never.
   * A 'reject' or 'nothing' is final. Throws INTERNAL after `commit` or `release`.
   */
  next(offersPreference: boolean): PlanStep {
    if (this.#verdict !== undefined) return this.#verdict;
    if (this.#state === 'closed') throw this.#misuse('asked for the next step after its end');
    const step = this.#decide(offersPreference);
    this.#state = step.step === 'allocate' ? 'allocating' : 'choosing';
    if (step.step === 'reject' || step.step === 'nothing') {
      this.release();
      this.#verdict = step;
    }
    return step;
  }

  /** Takes the plugin's preference, whatever it contains; an empty list is "no preference". */
  answer(preferred: readonly string[]): void {
    this.#preferred = preferred;
  }

  /**
   * The plugin has allocated what the last 'allocate' step named: records it for the container. A device that vanished
   * in the meantime is recorded without NUMA node. Throws INTERNAL unless the last step was 'allocate', when another
   * plan recorded something for the same container and resource meanwhile, or when the pod was released meanwhile and
   * devices it would have taken over wait for their release.
   *
   * @param response ContainerAllocateResponse, protobuf-encoded; kept as it is.
   */
  commit(response: Uint8Array): Allocation {
    if (this.#state !== 'allocating') throw this.#misuse('committed without devices to allocate');
    if ([...this.#chosen].some((entry) => entry.release !== undefined))
      throw this.#misuse('committed with devices that were given back meanwhile');
    const { podUid, container, resource } = this.request;
    const allocation = { podUid, container, resource, deviceIds: this.#byNuma(), response };
    if (this.#ledger.recorded(this.request) !== undefined)
      throw this.#misuse('committed though the container has a record of it');
    this.#ledger.record(allocation, this);
    this.#state = 'closed';
    return allocation;
  }

  /** Gives back whatever is reserved. May be called at any time and any number of times; after `commit` it does nothing. */
  release(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#ledger.unreserve(this.request.resource, [...this.#chosen], this);
    this.#chosen.clear();
  }

  /** The kubelet's order of checks. (kubelet: device manager, devicesToAllocate) */
  #decide(offersPreference: boolean): PlanStep {
    const { resource, count } = this.request;
    const log = this.#log;
    const recorded = this.#ledger.recorded(this.request);
    const recordedIds = recorded === undefined ? undefined : deviceIdsOf(recorded);
    const pool = this.#ledger.pool(resource);
    log.counts ??= this.#countsOf(pool);

    if (recordedIds !== undefined && recordedIds.size !== count) return this.#refuseChange(recordedIds.size);
    log.note('unchanged request', 'passed', count, recordedIds?.size);
    if (count <= 0) {
      log.note('something asked', 'satisfied');
      return { step: 'nothing' };
    }
    if (pool?.registered !== true) {
      return this.#refuse('resource registered', `cannot allocate unregistered device ${resource}`);
    }
    log.note('resource registered', 'passed');
    const { capacity, healthy } = pool.capacity();
    if (healthy === 0) {
      const message = `no healthy devices present; cannot allocate unhealthy devices ${resource}`;
      return this.#refuse('healthy devices present', message, healthy, capacity);
    }
    log.note('healthy devices present', 'passed', healthy, capacity);
    if (recordedIds !== undefined) return this.#keepRecorded(pool, recordedIds);
    return this.#choose(pool, offersPreference);
  }

  #refuseChange(recordedCount: number): PlanStep {
    const { podUid, container, resource, count } = this.request;
    const message = `pod "${podUid}" container "${container}" changed request for resource "${resource}" from ${String(recordedCount)} to ${String(count)}`;
    return this.#refuse('unchanged request', message, count, recordedCount);
  }

  #keepRecorded(pool: DevicePool, ids: ReadonlySet<string>): PlanStep {
    let unhealthy = 0;
    for (const id of ids) if (pool.get(id)?.healthy !== true) unhealthy += 1;
    if (unhealthy > 0) {
      const message = `previously allocated devices are no longer healthy; cannot allocate unhealthy devices ${pool.resource}`;
      return this.#refuse('recorded devices healthy', message, unhealthy, ids.size);
    }
    this.#log.note('recorded devices healthy', 'passed');
    this.#log.note('already allocated', 'satisfied');
    return { step: 'nothing' };
  }

  #choose(pool: DevicePool, offersPreference: boolean): PlanStep {
    const { resource, count, affinity = null } = this.request;
    const log = this.#log;
    this.#dropLost();
    const reusable = this.#ledger.reusable(this.request);
    if (reusable.length > 0 && this.#needed > 0) this.#take('reuse from init containers', reusable, reusable.length);
    if (this.#needed === 0) return this.#allocate();

    if (pool.freeCount < this.#needed) {
      const message = `requested number of devices unavailable for ${resource}. Requested: ${String(this.#needed)}, Available: ${String(pool.freeCount)}`;
      return this.#refuse('enough devices', message, this.#needed, pool.freeCount);
    }
    log.note('enough devices', 'passed', this.#needed, pool.freeCount);

    const groups = groupsByAlignment(pool, affinity);
    // With more aligned devices than needed the plugin chooses among those alone; otherwise all of them are taken
    // before it is asked about the rest.
    const chooseWithinAligned = this.#needed < freeIn(groups.aligned);
    if (!chooseWithinAligned) {
      this.#takeFirst('aligned devices', pool, groups.aligned);
      if (this.#needed === 0) return this.#allocate();
    }
    const permitted = (entry: DeviceEntry): boolean =>
      entry.free && (!chooseWithinAligned || alignmentOf(entry.numaNodes, affinity) === 'aligned');
    if (this.#preferred !== undefined) this.#takePreferred(pool, this.#preferred, permitted);
    else if (offersPreference) return this.#prefer(pool, permitted);

    if (chooseWithinAligned) this.#takeFirst('aligned devices', pool, groups.aligned);
    this.#takeFirst('unaligned devices', pool, groups.unaligned);
    this.#takeFirst('devices without affinity', pool, groups.noAffinity);
    if (this.#needed === 0) return this.#allocate();
    const got = String(this.#chosen.size);
    const message = `unexpectedly allocated less resources than required. Requested: ${String(count)}, Got: ${got}`;
    return this.#refuse('complete', message, this.#chosen.size, count);
  }

  get #needed(): number {
    return this.request.count - this.#chosen.size;
  }

  /** Lets go of what vanished, became unhealthy or was given back since it was chosen. */
  #dropLost(): void {
    const lost = [...this.#chosen].filter((entry) => !entry.healthy || entry.release !== undefined);
    if (lost.length === 0) return;
    this.#log.note('lost devices', 'lost', lost.length);
    for (const entry of lost) this.#chosen.delete(entry);
    this.#ledger.unreserve(this.request.resource, lost, this);
  }

  /** Reserves the first of these devices, as many as are needed. */
  #take(rule: PlanRule, entries: readonly DeviceEntry[], of: number): void {
    const taken = entries.slice(0, this.#needed);
    this.#ledger.reserve(this.request.resource, taken, this);
    for (const entry of taken) this.#chosen.add(entry);
    this.#log.note(rule, 'took', taken.length, of);
  }

  #takeFirst(rule: PlanRule, pool: DevicePool, groups: readonly DeviceGroup[]): void {
    const free = freeIn(groups);
    if (free > 0 && this.#needed > 0) this.#take(rule, pool.firstFree(this.#needed, groups), free);
  }

  #takePreferred(pool: DevicePool, preferred: readonly string[], permitted: (entry: DeviceEntry) => boolean): void {
    const usable = usablePreference(preferred, this.#needed, (id) => {
      const entry = pool.get(id);
      return entry !== undefined && permitted(entry) ? entry : undefined;
    });
    this.#take('plugin preference', usable, preferred.length);
  }

  /** The one place that looks at every device, since the plugin wants to see every device. */
  #prefer(pool: DevicePool, permitted: (entry: DeviceEntry) => boolean): PlanStep {
    const available: string[] = [];
    for (const entry of pool.entries()) if (this.#chosen.has(entry) || permitted(entry)) available.push(entry.id);
    this.#log.note('plugin preference', 'asked', 0, available.length);
    return { step: 'prefer', available, mustInclude: this.#chosenIds(), size: this.request.count };
  }

  #allocate(): PlanStep {
    this.#log.note('complete', 'satisfied', this.#chosen.size, this.request.count);
    return { step: 'allocate', deviceIds: this.#chosenIds() };
  }

  #refuse(rule: PlanRule, message: string, count = 0, of = 0): PlanStep {
    this.#log.note(rule, 'refused', count, of);
    return { step: 'reject', rule, message };
  }

  #chosenIds(): readonly string[] {
    return [...this.#chosen].sort(compareKeyed).map((entry) => entry.id);
  }

  #byNuma(): DevicesByNuma {
    const byNuma = new Map<number, string[]>();
    for (const entry of [...this.#chosen].sort(compareKeyed)) {
      const nodes = entry.listed ? normalizeNumaNodes(entry.numaNodes) : [];
      for (const node of nodes.length > 0 ? nodes : [NO_NUMA_NODE]) {
        const onNode = byNuma.get(node);
        if (onNode === undefined) byNuma.set(node, [entry.id]);
        else onNode.push(entry.id);
      }
    }
    return byNuma;
  }

  #countsOf(pool: DevicePool | undefined): DecisionLog['counts'] {
    if (pool === undefined) return NO_COUNTS;
    const { capacity, healthy, allocated, reserved, free } = pool.capacity();
    const reusable = this.#ledger.reusable(this.request).length;
    return { listed: capacity, healthy, held: allocated + pool.releasingCount, reserved, free, reusable };
  }

  #misuse(what: string): DevmgrError {
    const { podUid, container, resource } = this.request;
    return new DevmgrError(
      'INTERNAL',
      `the allocation plan for ${resource} of container ${container} in pod ${podUid} was ${what}`,
    );
  }
}

function groupsByAlignment(pool: DevicePool, affinity: NumaAffinity | null): Record<Alignment, DeviceGroup[]> {
  const groups: Record<Alignment, DeviceGroup[]> = { aligned: [], unaligned: [], noAffinity: [] };
  for (const group of pool.groups()) groups[alignmentOf(group.numaNodes, affinity)].push(group);
  return groups;
}

function freeIn(groups: readonly DeviceGroup[]): number {
  let free = 0;
  for (const group of groups) free += group.freeCount;
  return free;
}
