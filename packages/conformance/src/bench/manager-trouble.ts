import type { Bench, Observation } from './bench.ts';
import { NotReady, PluginEnded } from './bench-errors.ts';
import { startup } from './startup.ts';
import type { Registration } from './test-manager.ts';

/** How a plugin took it that its registration was refused. */
export interface Refusal {
  /** Calls in the time it was refused. */
  readonly attempts: number;
  readonly seconds: number;
  /** How it ended meanwhile; undefined when it did not. */
  readonly ended: PluginEnded | undefined;
  /** Whether it registered once it was accepted. */
  readonly recovered: boolean;
}

const REFUSED_FOR_MS = 5_000;

export const refusal: Observation<Refusal> = {
  what: 'refusing its registration for some seconds',
  make: async (bench) => {
    await assertCallsRegister(bench);
    const { manager, traffic } = bench;
    const before = manager.registrations.length;
    manager.refuse = 'the test refuses the plugin for a while';
    const attempts = (): number => manager.registrations.length - before;
    let startedMs = traffic.nowMs();
    let ended: PluginEnded | undefined;
    let counted: number;
    try {
      await bench.startPlugin();
      await bench.until(() => attempts() > 0);
      startedMs = traffic.nowMs();
      await bench.pause(REFUSED_FOR_MS);
    } catch (error) {
      if (!(error instanceof PluginEnded)) throw error;
      ended = error;
    } finally {
      counted = attempts();
      manager.refuse = undefined;
      bench.spoil();
    }
    const seconds = (traffic.nowMs() - startedMs) / 1000;
    const recovered =
      ended === undefined && (await bench.until(() => bench.isComplete()).catch(ifEnded((end) => (ended = end))));
    return { attempts: counted, seconds, ended, recovered };
  },
};

/** How a plugin took it that it was started before the manager. */
export interface LateManager {
  /** How it ended before there was a manager; undefined when it did not. */
  readonly endedBefore: PluginEnded | undefined;
  /** How it ended once there was one. */
  readonly endedAfter: PluginEnded | undefined;
  readonly found: boolean;
  /** From the manager's start. */
  readonly afterMs: number;
  /** What the manager was told. */
  readonly registrations: readonly Registration[];
}

const ALONE_FOR_MS = 3_000;
/** One that registers twice does so by then. */
const LINGER_MS = 1_000;

export const lateManager: Observation<LateManager> = {
  what: 'starting the plugin some seconds before the manager',
  make: async (bench) => {
    if (!bench.launched) throw new NotReady('the plugin was not started by the test');
    await assertReadyOnce(bench);
    let endedBefore: PluginEnded | undefined;
    let endedAfter: PluginEnded | undefined;
    await bench.startPlugin({ manager: false });
    await bench.pause(ALONE_FOR_MS).catch(ifEnded((end) => (endedBefore = end)));
    const startedMs = bench.traffic.nowMs();
    await bench.manager.listen();
    let found = false;
    if (endedBefore === undefined) {
      found = await bench.until(() => bench.isComplete()).catch(ifEnded((end) => (endedAfter = end)));
    }
    const afterMs = bench.traffic.nowMs() - startedMs;
    if (found) await bench.pause(LINGER_MS).catch(ifEnded((end) => (endedAfter = end)));
    bench.spoil();
    return { endedBefore, endedAfter, found, afterMs, registrations: [...bench.manager.current] };
  },
};

/** Handler that notes the end of the plugin and answers false; any other failure passes. */
function ifEnded(note: (end: PluginEnded) => void): (error: unknown) => false {
  return (error) => {
    if (!(error instanceof PluginEnded)) throw error;
    note(error);
    return false;
  };
}

/** So that it is known which resources there are. */
async function assertReadyOnce(bench: Bench): Promise<void> {
  const { problem } = await bench.observe(startup);
  if (problem !== undefined) throw new NotReady(problem);
}

async function assertCallsRegister(bench: Bench): Promise<void> {
  if (!bench.launched) throw new NotReady('the plugin was not started by the test');
  await assertReadyOnce(bench);
  const { registrations } = await bench.observe(startup);
  if (registrations.every(({ way }) => way === 'registry')) {
    throw new NotReady('the plugin does not call Register: it is found in plugins_registry');
  }
}
