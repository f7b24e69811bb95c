import type { Bench, Observation } from './bench.ts';
import { NotReady } from './bench-errors.ts';
import type { ProcessUsage } from './process-usage.ts';

/** What a plugin holds before and after many restarts of the manager. */
export interface ManyRestarts {
  readonly restarts: number;
  readonly before: ProcessUsage;
  readonly after: ProcessUsage;
}

const MOST = 100;
const FEWEST = 10;
/** Restarts that are not counted: what is made once is made in them. */
const WARM_UP = 5;
/** For a plugin that takes its time to come back. */
const BUDGET_MS = 90_000;

export const manyRestarts: Observation<ManyRestarts> = {
  what: 'restarting the manager again and again',
  make: async (bench) => {
    if (!bench.launched) throw new NotReady('the plugin was not started by the test');
    await bench.ready();
    for (let count = 0; count < WARM_UP; count += 1) await restart(bench);
    const before = await usage(bench);
    const deadline = performance.now() + BUDGET_MS;
    let restarts = 0;
    while (restarts < MOST && (restarts < FEWEST || performance.now() < deadline)) {
      await restart(bench);
      restarts += 1;
    }
    return { restarts, before, after: await usage(bench) };
  },
};

async function restart(bench: Bench): Promise<void> {
  await bench.manager.close({ leaveSocket: true });
  await bench.manager.listen();
  const back = await bench.until(() => bench.isComplete());
  if (!back) {
    bench.spoil();
    throw new NotReady('it did not come back from a restart of the manager');
  }
}

async function usage({ plugin }: Bench): Promise<ProcessUsage> {
  const found = await plugin?.usage();
  if (found === undefined) throw new NotReady('the system does not show what a process uses');
  return found;
}
