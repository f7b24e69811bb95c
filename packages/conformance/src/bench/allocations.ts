import { setTimeout as delay } from 'node:timers/promises';
import { RpcError } from '@devmgr/wire';
import type { deviceplugin } from '@devmgr/wire';
import type { Bench, Observation } from './bench.ts';
import { NotReady } from './bench-errors.ts';
import type { PluginSession } from './plugin-session.ts';

/** One Allocate and what came of it. */
export interface Allocation {
  readonly resource: string;
  /** Ids of each container that was asked for. */
  readonly containers: readonly (readonly string[])[];
  readonly tookMs: number;
  readonly response: deviceplugin.AllocateResponse | undefined;
  readonly error: RpcError | undefined;
}

/** What one container got. */
export interface ContainerAnswer {
  readonly resource: string;
  readonly ids: readonly string[];
  readonly answer: deviceplugin.ContainerAllocateResponse;
}

export interface Allocations {
  /** Each healthy id alone. */
  readonly single: readonly Allocation[];
  /** One id of each resource once more. */
  readonly again: readonly Allocation[];
  /** All healthy ids of a resource, where it has two or more. */
  readonly several: readonly Allocation[];
}

/** Of a resource with more devices than this, every id is not tried one by one. */
const MOST_IDS = 64;
/** A list that explains a refusal may be on its way. */
const LIST_MAY_FOLLOW_MS = 200;

/**
 * Allocate, with a list of ids for each container. A refusal of a device that turns out to have become unhealthy
 * meanwhile is none: undefined. Rejects with PluginEnded when the plugin ends over it.
 */
export async function tryAllocate(
  bench: Bench,
  session: PluginSession,
  ...containers: readonly (readonly string[])[]
): Promise<Allocation | undefined> {
  const healthyBefore = new Set(session.healthyIds);
  const startedMs = bench.traffic.nowMs();
  const outcome = await session.allocate(...containers).then(
    (response) => ({ response, error: undefined }),
    (error: unknown) => {
      if (!(error instanceof RpcError)) throw error;
      return { response: undefined, error };
    },
  );
  const tookMs = bench.traffic.nowMs() - startedMs;
  if (outcome.error !== undefined) {
    await bench.settleAfter(outcome.error);
    if (containers.flat().some((id) => healthyBefore.has(id))) await delay(LIST_MAY_FOLLOW_MS);
    const healthy = new Set(session.healthyIds);
    if (containers.flat().some((id) => healthyBefore.has(id) && !healthy.has(id))) return undefined;
  }
  return { resource: session.resource, containers, tookMs, ...outcome };
}

/** Sessions of resources that have something to allocate. Rejects with NotReady when there is none. */
export async function allocatable(bench: Bench): Promise<readonly PluginSession[]> {
  const sessions = (await bench.ready()).filter(({ healthyIds }) => healthyIds.length > 0);
  if (sessions.length === 0) throw new NotReady('no healthy device was listed, so nothing can be allocated');
  return sessions;
}

/** As `allocatable`, once it is known that a device can be allocated again without ado. */
export async function allocatableAgain(bench: Bench): Promise<readonly PluginSession[]> {
  const { again } = await bench.observe(allocations);
  if (again.some(({ error }) => error !== undefined)) throw new NotReady('a device cannot be allocated a second time');
  return allocatable(bench);
}

/** The calls that judge Allocate by itself. */
export const allocations: Observation<Allocations> = {
  what: 'allocating every device',
  make: async (bench) => {
    const single: Allocation[] = [];
    const again: Allocation[] = [];
    const several: Allocation[] = [];
    const tryOn = async (into: Allocation[], session: PluginSession, ids: readonly string[]): Promise<void> => {
      const allocation = await tryAllocate(bench, session, ids);
      if (allocation !== undefined) into.push(allocation);
    };
    for (const session of await allocatable(bench)) {
      const ids = session.healthyIds.slice(0, MOST_IDS);
      const refused = new Set<string>();
      for (const id of ids) {
        await tryOn(single, session, [id]);
        if (single.at(-1)?.error !== undefined) refused.add(id);
      }
      const accepted = ids.filter((id) => !refused.has(id));
      const [first] = accepted;
      if (first === undefined) continue;
      await tryOn(again, session, [first]);
      if (accepted.length > 1 && again.at(-1)?.error === undefined) await tryOn(several, session, accepted);
    }
    return { single, again, several };
  },
};

/** What containers got in all allocations that succeeded. Rejects with NotReady when none did. */
export async function containerAnswers(bench: Bench): Promise<readonly ContainerAnswer[]> {
  const { single, several } = await bench.observe(allocations);
  const answers = [...single, ...several].flatMap(({ resource, containers, response }) =>
    (response?.containerResponses ?? []).map((answer, index) => ({ resource, ids: containers[index] ?? [], answer })),
  );
  if (answers.length === 0) throw new NotReady('no Allocate was answered');
  return answers;
}
