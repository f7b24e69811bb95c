import type { Observation } from './bench.ts';
import { NotReady, PluginEnded } from './bench-errors.ts';
import type { PluginSession } from './plugin-session.ts';
import type { Registration } from './test-manager.ts';

/** A plugin that was killed and started again beside a manager that stays, its old sockets lying where they were. */
export interface SecondLife {
  readonly before: readonly PluginSession[];
  /** Of the new instance, one a resource that listed. */
  readonly after: readonly PluginSession[];
  readonly missing: readonly string[];
  readonly registrations: readonly Registration[];
  readonly tookMs: number;
  /** How the new instance ended; undefined when it did not. */
  readonly ended: PluginEnded | undefined;
}

export const secondLife: Observation<SecondLife> = {
  what: 'killing the plugin and starting it again',
  make: async (bench) => {
    if (!bench.launched) throw new NotReady('the plugin was not started by the test');
    const before = await bench.ready();
    const { manager, traffic } = bench;
    const mark = manager.registrations.length;
    const startedMs = traffic.nowMs();
    const news = (): readonly Registration[] => manager.registrations.slice(mark);
    const sessions = (): readonly PluginSession[] =>
      before.flatMap(
        ({ resource }) =>
          news().findLast((one) => one.resource === resource && one.session?.stream.latest !== undefined)?.session ??
          [],
      );
    let ended: PluginEnded | undefined;
    try {
      await bench.restartPlugin();
      if (!(await bench.until(() => sessions().length === before.length))) bench.spoil();
    } catch (error) {
      if (!(error instanceof PluginEnded)) throw error;
      ended = error;
    }
    const after = sessions();
    const here = new Set(after.map(({ resource }) => resource));
    return {
      before,
      after,
      missing: before.map(({ resource }) => resource).filter((resource) => !here.has(resource)),
      registrations: [...news()],
      tookMs: traffic.nowMs() - startedMs,
      ended,
    };
  },
};
