import { setTimeout as delay } from 'node:timers/promises';
import type { Bench, Observation } from './bench.ts';
import type { PluginSession } from './plugin-session.ts';
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
  /** Ids listed before, by resource. */
  readonly idsBefore: ReadonlyMap<string, readonly string[]>;
  /** Of the manager that came last. */
  readonly incarnation: number;
}

/** What happens to the manager, from a listening one to a listening one. */
export type ManagerFate = (manager: TestManager) => Promise<void>;

/** A drill as something to observe. `what` completes `while …`. */
export function restartDrill(what: string, fate: ManagerFate): Observation<Comeback> {
  return { what, make: (bench) => runDrill(bench, fate) };
}

async function runDrill(bench: Bench, fate: ManagerFate): Promise<Comeback> {
  const before = await bench.ready();
  const idsBefore = new Map(before.map(({ resource, devices }) => [resource, devices.map(({ ID }) => ID)]));
  await fate(bench.manager);
  const startedMs = bench.traffic.nowMs();
  const missing = (): string[] => {
    const here = new Set(bench.manager.sessions().map(({ resource }) => resource));
    return bench.resources.filter((resource) => !here.has(resource));
  };
  const back = await bench.until(() => missing().length === 0);
  if (!back) bench.spoil();
  return {
    back,
    missing: missing(),
    afterMs: bench.traffic.nowMs() - startedMs,
    registrations: [...bench.manager.current],
    before,
    after: bench.manager.sessions(),
    idsBefore,
    incarnation: bench.manager.incarnation,
  };
}

/** How long the manager is away where nothing else is said: less than the second after which some plugins give up. */
const SHORT_MS = 300;

/** A kubelet that is restarted: streams cut, then all sockets of the folder deleted and kubelet.sock made anew at once. */
export const kubeletRestart = restartDrill('restarting the manager as a kubelet does', async (manager) => {
  await manager.close({ leaveSocket: true });
  await delay(SHORT_MS);
  await manager.listen();
});

/** Only kubelet.sock is made anew; streams and the plugin's socket are left alone. */
export const socketRecreated = restartDrill('making only kubelet.sock anew', (manager) => manager.recreateSocket());
