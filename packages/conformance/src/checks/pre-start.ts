import { RpcCode, RpcError } from '@devmgr/wire';
import { allocatable, tryAllocate } from '../bench/allocations.ts';
import type { Observation } from '../bench/bench.ts';
import { NotReady } from '../bench/bench-errors.ts';
import { moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** PreStartContainer for devices that were allocated, as before the start of a container and before its restart. */
interface Start {
  readonly resource: string;
  readonly ids: readonly string[];
  readonly first: RpcError | undefined;
  /** Undefined too when the first failed. */
  readonly second: RpcError | undefined;
}

const starts: Observation<readonly Start[]> = {
  what: 'preparing the start of containers',
  make: async (bench) => {
    const wanting = (await bench.ready()).filter(({ options }) => options.preStartRequired);
    if (wanting.length === 0) throw new NotReady('PreStartContainer is not asked for');
    const made: Start[] = [];
    for (const session of (await allocatable(bench)).filter(({ options }) => options.preStartRequired)) {
      for (const ids of [session.healthyIds.slice(0, 1), session.healthyIds.slice(0, 2)]) {
        const allocation = await tryAllocate(bench, session, ids);
        if (allocation?.response === undefined) continue; // the business of another check
        const call = async (): Promise<RpcError | undefined> => {
          try {
            await session.preStart(ids);
            return undefined;
          } catch (error) {
            if (!(error instanceof RpcError)) throw error;
            await bench.settleAfter(error);
            return error;
          }
        };
        const first = await call();
        made.push({ resource: session.resource, ids, first, second: first === undefined ? await call() : undefined });
      }
    }
    if (made.length === 0) throw new NotReady('nothing could be allocated');
    return made;
  },
};

const isLate = (error: RpcError | undefined): boolean => error?.code === RpcCode.DeadlineExceeded;

export const PRE_START_CHECKS: readonly Check[] = [
  {
    id: 'pre-start/answers',
    level: 'quick',
    severity: 'error',
    title: 'PreStartContainer agrees to devices that were allocated.',
    why: 'An error keeps the container from starting. (kubelet: device manager, PreStartContainer)',
    remedy: 'Accept every id that Allocate accepts, several at once too.',
    async run(bench) {
      const made = await bench.observe(starts);
      return each(made, ({ resource, ids, first }) =>
        first === undefined || isLate(first) ? undefined : `${resource} ${ids.join(', ')}: ${first.message}`,
      ).outcome('it agreed', 'the start of a container was refused');
    },
  },
  {
    id: 'pre-start/again',
    level: 'quick',
    severity: 'error',
    title: 'PreStartContainer agrees again before the restart of a container.',
    why: 'It comes before each start, without a new Allocate. (kubelet: device manager, container options)',
    remedy: 'Make it do its work as often as it is called.',
    async run(bench) {
      const made = (await bench.observe(starts)).filter(({ first }) => first === undefined);
      if (made.length === 0) return moot('it did not agree the first time');
      return each(made, ({ resource, ids, second }) =>
        second === undefined || isLate(second) ? undefined : `${resource} ${ids.join(', ')}: ${second.message}`,
      ).outcome('it agreed again', 'the second start of a container was refused');
    },
  },
  {
    id: 'pre-start/in-time',
    level: 'quick',
    severity: 'error',
    title: 'PreStartContainer answers within 30 seconds.',
    why: 'A kubelet waits no longer, and the container does not start. (device plugin API: KubeletPreStartContainerRPCTimeoutInSecs)',
    remedy: 'Do what takes longer when the device is found.',
    async run(bench) {
      const made = await bench.observe(starts);
      return each(made, ({ resource, ids, first, second }) =>
        isLate(first) || isLate(second) ? `${resource} ${ids.join(', ')}` : undefined,
      ).outcome('in time', 'it did not answer in time');
    },
  },
];
