import { lstat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bench, Observation } from './bench.ts';
import { NotReady, PluginEnded } from './bench-errors.ts';
import type { PluginEnd } from './running-plugin.ts';

/** What a cluster gives a container between SIGTERM and SIGKILL. (Pod: terminationGracePeriodSeconds) */
export const GRACE_MS = 30_000;

/** How a plugin took SIGTERM. */
export interface Termination {
  /** Undefined when it had to be killed. */
  readonly end: PluginEnd | undefined;
  readonly tookMs: number;
  readonly logLines: number;
  /** Its sockets that are still there. */
  readonly left: readonly string[];
}

/** With a manager that holds its stream, as in a cluster. */
export const termination: Observation<Termination> = {
  what: 'sending SIGTERM',
  make: async (bench) => {
    assertLaunched(bench);
    await bench.ready();
    return terminate(bench);
  },
};

/** While it waits for a manager that is away. */
export const terminationWhileWaiting: Observation<Termination> = {
  what: 'sending SIGTERM while there is no manager',
  make: async (bench) => {
    assertLaunched(bench);
    await bench.ready();
    await bench.manager.close();
    await bench.manager.removeSockets();
    await bench.pause(2_000).catch((error: unknown) => {
      // Whether it should is another question.
      if (error instanceof PluginEnded) throw new NotReady('the plugin does not wait for a manager', { cause: error });
      throw error;
    });
    return terminate(bench);
  },
};

async function terminate(bench: Bench): Promise<Termination> {
  const { plugin, traffic, manager } = bench;
  if (plugin === undefined) throw new NotReady('there is no process');
  const sockets = manager.sessions().map(({ socketPath }) => socketPath);
  bench.expectEnd();
  const startedMs = traffic.nowMs();
  const linesBefore = plugin.log.lines;
  plugin.terminate();
  const patience = new AbortController();
  const end = await Promise.race([
    plugin.ended,
    delay(Math.min(GRACE_MS, bench.timeoutMs), undefined, { signal: patience.signal }).catch(() => undefined),
  ]);
  patience.abort();
  const tookMs = traffic.nowMs() - startedMs;
  const found = await Promise.all(
    sockets.map(async (path) => ((await lstat(path).catch(() => undefined)) ? [path] : [])),
  );
  await plugin.kill();
  return { end, tookMs, logLines: plugin.log.lines - linesBefore, left: end === undefined ? [] : found.flat() };
}

function assertLaunched({ launched }: Bench): void {
  if (!launched) throw new NotReady('the plugin was not started by the test');
}
