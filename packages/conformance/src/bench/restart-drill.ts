import { setTimeout as delay } from 'node:timers/promises';
import { allocations, tryAllocate, type Allocation, type Allocations } from './allocations.ts';
import type { Bench, Observation } from './bench.ts';
import { NotReady, PluginEnded } from './bench-errors.ts';
import type { PluginSession } from './plugin-session.ts';
import { usageSince, usageMark, type UsageSpan } from './usage-span.ts';
import type { Registration, TestManager } from './test-manager.ts';

/** How a plugin took the restart of a manager. */
export interface Comeback {
  /** Whether every resource has registered and listed again. */
  readonly back: boolean;
  /** Resources that have not. */
  readonly missing: readonly string[];
  /** From the new kubelet.sock to the last of the lists. */
  readonly afterMs: number;
  /** What the new manager was told, refused calls among them. */
  readonly registrations: readonly Registration[];
  readonly before: readonly PluginSession[];
  readonly after: readonly PluginSession[];
  /** Ids in the first list of each stream before, by resource. */
  readonly idsBefore: ReadonlyMap<string, readonly string[]>;
  /** Set when the plugin ended by itself, on the way or within the time it was watched afterwards. */
  readonly crash: PluginEnded | undefined;
  /** One of each resource once it was back, with a device that could be allocated before; only where asked for. */
  readonly allocations: readonly Allocation[];
  /** What the plugin did while there was no manager. */
  readonly away: UsageSpan;
}

/** What happens to the manager, from a listening one to a listening one. */
export type ManagerFate = (bench: Bench) => Promise<void>;

export interface DrillOptions {
  /** How long the plugin is watched once it is back, since some end seconds later. Default: not at all. */
  readonly lingerMs?: number;
  /** The longest wait for its return, in milliseconds, when that is shorter than the bench's. */
  readonly patienceMs?: number;
  /** Whether devices are allocated before and after. Default: no. */
  readonly allocates?: boolean;
  /** What has to be in the hands of the suite. */
  readonly needs?: 'directory';
}

/** A drill as something to observe. `what` completes `while …`. */
export function restartDrill(what: string, fate: ManagerFate, options: DrillOptions = {}): Observation<Comeback> {
  return { what, make: (bench) => runDrill(bench, fate, options) };
}

async function runDrill(
  bench: Bench,
  fate: ManagerFate,
  { lingerMs = 0, patienceMs = Infinity, allocates = false, needs }: DrillOptions,
): Promise<Comeback> {
  if (needs === 'directory' && !bench.launched)
    throw new NotReady('the directory belongs to a plugin that runs elsewhere');
  const known = allocates ? await bench.observe(allocations).catch(() => undefined) : undefined; // judged elsewhere
  const before = await bench.ready();
  const idsBefore = new Map(
    before.map(({ resource, stream }) => [resource, (stream.lists[0]?.devices ?? []).map(({ ID }) => ID)]),
  );
  const missing = (): string[] => {
    const here = new Set(bench.manager.sessions().map(({ resource }) => resource));
    return bench.resources.filter((resource) => !here.has(resource));
  };
  const mark = await usageMark(bench);
  let away: UsageSpan = { seconds: 0, cpuMs: undefined, waitingMs: undefined, logLines: undefined };
  let crash: PluginEnded | undefined;
  let afterMs = 0;
  let again: readonly Allocation[] = [];
  try {
    await fate(bench);
    away = await usageSince(bench, mark);
    const startedMs = bench.traffic.nowMs();
    const back = await bench.until(() => bench.isComplete(), Math.min(patienceMs, bench.timeoutMs));
    afterMs = bench.traffic.nowMs() - startedMs;
    if (!back) bench.spoil();
    else {
      if (known !== undefined) again = await allocateKnown(bench, known);
      await bench.pause(lingerMs);
    }
  } catch (error) {
    if (!(error instanceof PluginEnded)) throw error;
    crash = error;
    if (!bench.manager.listening) await bench.manager.listen();
  }
  return {
    back: bench.isComplete(),
    missing: missing(),
    afterMs,
    registrations: [...bench.manager.current],
    before,
    after: bench.manager.sessions(),
    idsBefore,
    crash,
    allocations: again,
    away,
  };
}

/** Once more a device that could be allocated twice; that one cannot is the business of another check. */
async function allocateKnown(bench: Bench, { single, again }: Allocations): Promise<readonly Allocation[]> {
  const made: Allocation[] = [];
  for (const session of bench.manager.sessions()) {
    if (again.some(({ resource, error }) => resource === session.resource && error !== undefined)) continue;
    const accepted = single.filter(({ resource, error }) => resource === session.resource && error === undefined);
    const id = accepted.flatMap(({ containers }) => containers.flat()).find((one) => session.healthyIds.includes(one));
    const allocation = id === undefined ? undefined : await tryAllocate(bench, session, [id]);
    if (allocation !== undefined) made.push(allocation);
  }
  return made;
}

/** How long the manager is away where nothing else is said: less than the second after which some plugins give up. */
const SHORT_MS = 300;
/** Plugins that look every five seconds have looked by then. */
const LINGER_MS = 6_000;

async function restart(manager: TestManager, awayMs: number): Promise<void> {
  await manager.close({ leaveSocket: true });
  await delay(awayMs);
  await manager.listen();
}

/** A kubelet that is restarted: streams cut, then all sockets of the folder deleted and kubelet.sock made anew at once. */
export const kubeletRestart = restartDrill(
  'restarting the manager as a kubelet does',
  ({ manager }) => restart(manager, SHORT_MS),
  { allocates: true },
);

/** Only kubelet.sock is made anew; streams and the plugin's socket are left alone. Plugins that do not see it never will. */
export const socketRecreated = restartDrill(
  'making only kubelet.sock anew',
  ({ manager }) => manager.recreateSocket(),
  { patienceMs: 15_000 },
);

/** No manager at all for a while: kubelet.sock gone, streams cut, then a kubelet's start. */
function absence(seconds: number): Observation<Comeback> {
  return restartDrill(
    `leaving the plugin without a manager for ${String(seconds)} s`,
    async (bench) => {
      await bench.manager.close();
      await bench.pause(seconds * 1000);
      await bench.manager.listen();
    },
    { lingerMs: LINGER_MS },
  );
}

export const awayOneSecond = absence(1);
export const awayThirtySeconds = absence(30);

/** A manager that was killed and does not clean up: streams cut, plugin sockets left, a dead kubelet.sock replaced. */
export const managerKilled = restartDrill(
  'replacing a killed manager by one that deletes nothing',
  async ({ manager }) => {
    await manager.close({ leaveSocket: true });
    await delay(SHORT_MS);
    await manager.listen({ clean: false });
  },
  { lingerMs: LINGER_MS },
);

/** The plugin directory itself is another one afterwards. */
export const directoryReplaced = restartDrill(
  'replacing the plugin directory',
  async ({ manager }) => {
    await manager.close();
    await manager.replaceDirectory();
    await delay(SHORT_MS);
    await manager.listen();
  },
  { lingerMs: LINGER_MS, needs: 'directory' },
);

/** Two restarts, the second as soon as the first has been noticed, or after a second. */
export const twoInARow = restartDrill(
  'restarting the manager twice in a row',
  async (bench) => {
    await restart(bench.manager, SHORT_MS);
    await bench.until(() => bench.manager.current.length > 0, 1_000);
    await restart(bench.manager, SHORT_MS);
  },
  { lingerMs: LINGER_MS },
);
