import { setTimeout as delay } from 'node:timers/promises';
import { NotReady } from '../bench/bench-errors.ts';
import type { Bench, Observation } from '../bench/bench.ts';
import type { PluginEnd } from '../bench/running-plugin.ts';
import { bad, good, type Check } from '../check.ts';

/** What a cluster gives a container between SIGTERM and SIGKILL. (Pod: terminationGracePeriodSeconds) */
const GRACE_MS = 30_000;

interface Termination {
  /** Undefined when it had to be killed. */
  readonly end: PluginEnd | undefined;
  readonly tookMs: number;
  readonly logLines: number;
}

const termination: Observation<Termination> = {
  what: 'sending SIGTERM',
  make: async (bench: Bench) => {
    if (!bench.launched) throw new NotReady('the plugin was not started by the suite');
    await bench.ready();
    const { plugin, traffic } = bench;
    if (plugin === undefined) throw new NotReady('there is no process');
    bench.expectEnd();
    const startedMs = traffic.nowMs();
    const linesBefore = plugin.log.lines;
    plugin.terminate();
    const end = await Promise.race([
      plugin.ended,
      delay(Math.min(GRACE_MS, bench.timeoutMs), undefined, { ref: false }),
    ]);
    const result = { end, tookMs: traffic.nowMs() - startedMs, logLines: plugin.log.lines - linesBefore };
    await plugin.kill();
    return result;
  },
};

export const MANNERS_CHECKS: readonly Check[] = [
  {
    id: 'manners/stays-up',
    level: 'quick',
    severity: 'error',
    stage: 'end',
    title: 'The plugin ends only when it is asked to.',
    why: 'While it is away its devices are unhealthy and pods that ask for them fail.',
    remedy: 'Start from the last lines of its log.',
    run(bench) {
      const untold = bench.crashes.filter(({ told }) => !told);
      return Promise.resolve(
        untold.length === 0
          ? good('no end without a reason')
          : bad(
              `the plugin ended by itself (${untold.map(({ how }) => how).join(', ')})`,
              untold.flatMap(({ log }) => log),
            ),
      );
    },
  },
  {
    id: 'manners/sigterm',
    level: 'quick',
    severity: 'error',
    stage: 'end',
    title: 'The plugin ends when it gets SIGTERM.',
    why: 'A cluster waits 30 seconds and then kills it: what it should have cleaned up stays. (Pod: terminationGracePeriodSeconds)',
    remedy: 'Handle SIGTERM: stop the server, remove the socket, exit.',
    async run(bench) {
      const { end, tookMs } = await bench.observe(termination);
      const took = `${(tookMs / 1000).toFixed(1)} s`;
      return end === undefined ? bad(`still running ${took} after SIGTERM`) : good(`ended after ${took} (${end.how})`);
    },
  },
];
