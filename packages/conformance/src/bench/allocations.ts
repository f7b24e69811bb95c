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

/** Of a resource with more devices than this, every id is not tried one by one. */
const MOST_IDS = 64;

/** Allocate for one container a list of ids. Rejects with PluginEnded when the plugin ends over it, with no failed call. */
export async function tryAllocate(
  bench: Bench,
  session: PluginSession,
  ...containers: readonly (readonly string[])[]
): Promise<Allocation> {
  const startedMs = bench.traffic.nowMs();
  const outcome = await session.allocate(...containers).then(
    (response) => ({ response, error: undefined }),
    (error: unknown) => {
      if (!(error instanceof RpcError)) throw error;
      return { response: undefined, error };
    },
  );
  if (outcome.error !== undefined) await bench.settleAfter(outcome.error);
  return { resource: session.resource, containers, tookMs: bench.traffic.nowMs() - startedMs, ...outcome };
}

/** Sessions of resources that have something to allocate. Rejects with NotReady when there is none. */
export async function allocatable(bench: Bench): Promise<readonly PluginSession[]> {
  const sessions = (await bench.ready()).filter(({ healthyIds }) => healthyIds.length > 0);
  if (sessions.length === 0) throw new NotReady('no healthy device was listed, so nothing can be allocated');
  return sessions;
}

/** Every healthy id alone, and then all of a resource (up to a number) at once. */
export const allocations: Observation<{
  readonly single: readonly Allocation[];
  readonly several: readonly Allocation[];
}> = {
  what: 'allocating every device',
  make: async (bench) => {
    const single: Allocation[] = [];
    const several: Allocation[] = [];
    for (const session of await allocatable(bench)) {
      const ids = session.healthyIds.slice(0, MOST_IDS);
      for (const id of ids) single.push(await tryAllocate(bench, session, [id]));
      if (ids.length > 1) several.push(await tryAllocate(bench, session, ids));
    }
    return { single, several };
  },
};

/** What containers got in all allocations that succeeded. */
export async function containerAnswers(bench: Bench): Promise<
  readonly {
    readonly ids: readonly string[];
    readonly resource: string;
    readonly answer: deviceplugin.ContainerAllocateResponse;
  }[]
> {
  const { single, several } = await bench.observe(allocations);
  const answers = [...single, ...several].flatMap(({ resource, containers, response }) =>
    (response?.containerResponses ?? []).map((answer, index) => ({ resource, ids: containers[index] ?? [], answer })),
  );
  if (answers.length === 0) throw new NotReady('no Allocate was answered');
  return answers;
}
