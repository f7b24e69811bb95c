/** Short ways to set up a ledger in tests. */
import type { Allocation, ContainerKind, Device, Ledger, PlanStep } from '@devmgr/core';

/** Devices from words like `D1:H`, `D2:U`, `D3:H:0,1` (id, health, NUMA nodes); H and U are short for the usual strings. */
export function devices(...words: readonly string[]): Device[] {
  return words.map((word) => {
    const [id = '', health = 'H', nodes = ''] = word.split(':');
    return {
      id,
      health: health === 'H' ? 'Healthy' : health === 'U' ? 'Unhealthy' : health,
      numaNodes: nodes === '' ? [] : nodes.split(',').map(Number),
    };
  });
}

/** `count` healthy devices `Dev<first>`… on one node. */
export function devicesOn(node: number, first: number, count: number): Device[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `Dev${String(first + index)}`,
    health: 'Healthy',
    numaNodes: [node],
  }));
}

export interface Wish {
  readonly pod: string;
  readonly container?: string;
  readonly kind?: ContainerKind;
  readonly resource: string;
  readonly count: number;
  readonly affinity?: readonly number[] | null;
  /** What the plugin answers to GetPreferredAllocation; absent when it does not offer it. */
  readonly prefers?: readonly string[];
}

/** A whole allocation with an obliging plugin: the step it ends with, the request for preference if there was one. */
export function allocate(
  ledger: Ledger,
  wish: Wish,
): { step: PlanStep; ids: readonly string[]; asked: Extract<PlanStep, { step: 'prefer' }> | undefined } {
  const { pod, container = 'c', kind = 'app', resource, count, affinity = null, prefers } = wish;
  const plan = ledger.plan({
    podUid: pod,
    container,
    kind,
    resource,
    count,
    affinity: affinity === null ? null : new Set(affinity),
  });
  let step = plan.next(prefers !== undefined);
  let asked: Extract<PlanStep, { step: 'prefer' }> | undefined;
  if (step.step === 'prefer') {
    asked = step;
    plan.answer(prefers ?? []);
    step = plan.next(true);
  }
  if (step.step !== 'allocate') return { step, ids: [], asked };
  plan.commit(new Uint8Array([1]));
  return { step, ids: step.deviceIds, asked };
}

/** {@link allocate} and settle, as admission does container by container. */
export function admit(ledger: Ledger, wish: Wish): readonly string[] {
  const { step, ids } = allocate(ledger, wish);
  if (step.step === 'reject') throw new Error(step.message);
  ledger.settleContainer(wish.pod, wish.container ?? 'c', wish.kind ?? 'app');
  return ids;
}

/** The refusal of a wish, or undefined. */
export function refusal(ledger: Ledger, wish: Wish): string | undefined {
  const { step } = allocate(ledger, wish);
  return step.step === 'reject' ? step.message : undefined;
}

/** An allocation as a checkpoint would give it back; ids on node -1 unless grouped. */
export function recorded(
  pod: string,
  container: string,
  resource: string,
  ids: readonly string[] | Readonly<Record<number, readonly string[]>>,
): Allocation {
  const groups = Array.isArray(ids)
    ? new Map([[-1, ids as readonly string[]]])
    : new Map(Object.entries(ids).map(([node, onNode]) => [Number(node), onNode as readonly string[]]));
  return { podUid: pod, container, resource, deviceIds: groups, response: new Uint8Array() };
}

/** `[capacity, allocatable]`, or undefined when the resource is not registered. */
export function counts(ledger: Ledger, resource: string): readonly [number, number] | undefined {
  const capacity = ledger.capacity(resource);
  return capacity === undefined ? undefined : [capacity.capacity, capacity.allocatable];
}
