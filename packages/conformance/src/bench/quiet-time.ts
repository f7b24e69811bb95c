import type { Observation } from './bench.ts';
import { PluginEnded } from './bench-errors.ts';
import type { ReceivedList } from './device-stream.ts';
import type { PluginSession } from './plugin-session.ts';
import { kubeletRestart } from './restart-drill.ts';

/** Long enough for what plugins do every five seconds. */
const QUIET_MS = 6_000;

/** What a plugin did in a time in which nobody asked it for anything, right after a restart of the manager. */
export interface QuietTime {
  readonly seconds: number;
  /** Set when it ended meanwhile; the rest is what was seen until then. */
  readonly crash: PluginEnded | undefined;
  readonly streams: readonly QuietStream[];
  /** CPU time the plugin spent; undefined where it is not ours to look at. */
  readonly cpuMs: number | undefined;
  readonly logLines: number | undefined;
  readonly registrations: number;
}

export interface QuietStream {
  readonly session: PluginSession;
  /** The list before the quiet time, then those that came in it. */
  readonly lists: readonly ReceivedList[];
}

export const quietTime: Observation<QuietTime> = {
  what: 'leaving the plugin alone for some seconds after a restart of the manager',
  make: async (bench) => {
    await bench.observe(kubeletRestart).catch(() => undefined); // judged by the checks of the restart
    const sessions = await bench.ready();
    const { plugin, manager, traffic } = bench;
    const startedMs = traffic.nowMs();
    const marks = sessions.map((session) => session.stream.lists.length);
    const cpuBefore = (await plugin?.usage())?.cpuMs;
    const linesBefore = plugin?.log.lines ?? 0;
    const registeredBefore = manager.registrations.length;
    let crash: PluginEnded | undefined;
    let cpuAfter: number | undefined;
    try {
      await bench.pause(QUIET_MS);
      cpuAfter = (await plugin?.usage())?.cpuMs;
    } catch (error) {
      if (!(error instanceof PluginEnded)) throw error;
      crash = error;
    }
    return {
      seconds: (traffic.nowMs() - startedMs) / 1000,
      crash,
      streams: sessions.map((session, index) => ({
        session,
        lists: session.stream.lists.slice(Math.max(0, (marks[index] ?? 1) - 1)),
      })),
      cpuMs: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
      logLines: plugin === undefined ? undefined : plugin.log.lines - linesBefore,
      registrations: manager.registrations.length - registeredBefore,
    };
  },
};
