import type { Observation } from './bench.ts';
import { PluginEnded } from './bench-errors.ts';
import type { ReceivedList } from './device-stream.ts';
import type { PluginSession } from './plugin-session.ts';
import { kubeletRestart } from './restart-drill.ts';
import { usageMark, usageSince, type UsageSpan } from './usage-span.ts';

/** Long enough for what plugins do every five seconds. */
const QUIET_MS = 5_500;

/** What a plugin did in a time in which nobody asked it for anything, right after a restart of the manager. */
export interface QuietTime extends UsageSpan {
  /** Set when it ended meanwhile; the rest is what was seen until then. */
  readonly crash: PluginEnded | undefined;
  readonly streams: readonly QuietStream[];
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
    const marks = sessions.map((session) => session.stream.lists.length);
    const mark = await usageMark(bench);
    let crash: PluginEnded | undefined;
    try {
      await bench.pause(QUIET_MS);
      // A plugin that has ended its stream is in trouble; with the next thing it wants to send it may be gone.
      if (sessions.some(({ stream }) => !stream.live)) await bench.pause(QUIET_MS);
    } catch (error) {
      if (!(error instanceof PluginEnded)) throw error;
      crash = error;
    }
    return {
      ...(await usageSince(bench, mark)),
      crash,
      streams: sessions.map((session, index) => ({
        session,
        lists: session.stream.lists.slice(Math.max(0, (marks[index] ?? 1) - 1)),
      })),
    };
  },
};
