import type { Observation } from './bench.ts';
import { NotReady, PluginEnded } from './bench-errors.ts';
import type { PluginSession } from './plugin-session.ts';
import type { Registration } from './test-manager.ts';

/** The first instance of the plugin, from its start to its first lists. */
export interface Startup {
  /** In the order of arrival, refused ones among them. */
  readonly registrations: readonly Registration[];
  /** One a resource that listed. */
  readonly sessions: readonly PluginSession[];
  /** Why there are no sessions; undefined when all went well. */
  readonly problem: string | undefined;
}

/** Starts the plugin beside a manager that is there already. Rejects with PluginEnded when it ends without having registered. */
export const startup: Observation<Startup> = {
  what: 'starting the plugin',
  make: async (bench) => {
    let sessions: readonly PluginSession[] = [];
    let problem: string | undefined;
    try {
      sessions = await bench.ready();
    } catch (error) {
      const ended = error instanceof PluginEnded;
      if (!(error instanceof NotReady) && !ended) throw error;
      if (ended && bench.manager.registrations.length === 0) throw error;
      problem = error.message;
    }
    return { registrations: [...bench.manager.current], sessions, problem };
  },
};
