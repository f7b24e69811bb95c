import { RpcError } from '@devmgr/wire';
import { allocatable } from '../bench/allocations.ts';
import type { Bench, Observation } from '../bench/bench.ts';
import { NotReady } from '../bench/bench-errors.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** One question to GetPreferredAllocation and its answer. */
interface Preference {
  readonly resource: string;
  readonly available: readonly string[];
  readonly mustInclude: readonly string[];
  readonly size: number;
  /** Undefined when the call failed or answered without a container: no preference, which is allowed. */
  readonly ids: readonly string[] | undefined;
  readonly error: RpcError | undefined;
}

const MOST_IDS = 64;

/**
 * Every size a kubelet may ask about, on a small scale: one, two, all; with nothing taken already, with the first one,
 * and with the last, since who ignores it may be lucky with one of them.
 */
const preferences: Observation<readonly Preference[]> = {
  what: 'asking for preferred allocations',
  make: async (bench) => {
    const asked: Preference[] = [];
    for (const session of await offering(bench)) {
      const available = session.healthyIds.slice(0, MOST_IDS);
      const taken = available.length === 1 ? [available] : [available.slice(0, 1), available.slice(-1)];
      const sizes = [...new Set([1, Math.min(2, available.length), available.length])];
      for (const size of sizes) {
        for (const mustInclude of [[], ...taken]) {
          const question = { resource: session.resource, available, mustInclude, size };
          asked.push({ ...question, ...(await ask(bench, () => session.prefer(available, mustInclude, size))) });
        }
      }
    }
    return asked;
  },
};

async function offering(bench: Bench): ReturnType<typeof allocatable> {
  const sessions = (await bench.ready()).filter(({ options }) => options.getPreferredAllocationAvailable);
  if (sessions.length === 0) throw new NotReady('GetPreferredAllocation is not offered');
  return (await allocatable(bench)).filter(({ options }) => options.getPreferredAllocationAvailable);
}

async function ask(
  bench: Bench,
  call: () => Promise<{ containerResponses: readonly { deviceIDs: readonly string[] }[] }>,
): Promise<Pick<Preference, 'ids' | 'error'>> {
  try {
    return { ids: (await call()).containerResponses[0]?.deviceIDs, error: undefined };
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    await bench.settleAfter(error);
    return { ids: undefined, error };
  }
}

/** Judges the answers that are there. */
function judgement(
  complain: (preference: Preference, ids: readonly string[]) => string | undefined,
  whenGood: string,
  whenBad: string,
): Check['run'] {
  return async (bench) => {
    const answered = (await bench.observe(preferences)).filter(({ ids }) => ids !== undefined);
    if (answered.length === 0) return moot('no preference was answered');
    return each(answered, (preference) => {
      const complaint = complain(preference, preference.ids ?? []);
      return complaint === undefined ? undefined : `${question(preference)}: ${complaint}`;
    }).outcome(whenGood, whenBad);
  };
}

function question({ resource, available, mustInclude, size }: Preference): string {
  const must = mustInclude.length === 0 ? '' : `, ${mustInclude.join(', ')} included`;
  return `${resource}: ${String(size)} of ${String(available.length)}${must}`;
}

const SOURCE = '(device plugin API: ContainerPreferredAllocationRequest)';

export const PREFERRED_CHECKS: readonly Check[] = [
  {
    id: 'preferred/answers',
    level: 'quick',
    severity: 'error',
    title: 'GetPreferredAllocation answers when it is offered.',
    why: 'A kubelet that asks and gets an error fails the pod. (kubelet: device manager, "device plugin GetPreferredAllocation rpc failed")',
    remedy: 'Answer without a container response when you have no preference, or do not offer the call.',
    async run(bench) {
      const asked = await bench.observe(preferences);
      return each(asked, (one) =>
        one.error === undefined ? undefined : `${question(one)}: ${one.error.message}`,
      ).outcome('every question was answered', 'a question was answered with an error');
    },
  },
  {
    id: 'preferred/size',
    level: 'quick',
    severity: 'error',
    title: 'A preference has as many ids as were asked for.',
    why: `With fewer, a kubelet fills up with whatever comes; of more, it takes some. ${SOURCE}`,
    remedy: 'Return exactly allocation_size ids.',
    run: judgement(
      ({ size }, ids) => (ids.length === size || ids.length === 0 ? undefined : `${String(ids.length)} ids`),
      'as many as asked for',
      'another number of ids than was asked for',
    ),
  },
  {
    id: 'preferred/subset',
    level: 'quick',
    severity: 'error',
    title: 'A preference names only devices that are available.',
    why: `A kubelet drops every other id, and with it what was preferred. ${SOURCE}`,
    remedy: 'Choose from available_deviceIDs, not from all devices there are.',
    run: judgement(
      ({ available }, ids) => {
        const strange = ids.filter((id) => !available.includes(id));
        return strange.length === 0 ? undefined : strange.slice(0, 5).join(', ');
      },
      'available devices',
      'a device that is not available was preferred',
    ),
  },
  {
    id: 'preferred/must-include',
    level: 'quick',
    severity: 'error',
    title: 'A preference includes the devices that must be included.',
    why: `They are in the container already; a choice without them is made for another set. ${SOURCE}`,
    remedy: 'Start from must_include_deviceIDs and fill up from available_deviceIDs.',
    run: judgement(
      ({ mustInclude }, ids) => {
        const missing = ids.length === 0 ? [] : mustInclude.filter((id) => !ids.includes(id));
        return missing.length === 0 ? undefined : `without ${missing.join(', ')}`;
      },
      'with those that must be included',
      'a device that must be included was left out',
    ),
  },
  {
    id: 'preferred/no-id-twice',
    level: 'quick',
    severity: 'error',
    title: 'A preference names no device twice.',
    why: `A device is given once: the rest of the preference is short of one. ${SOURCE}`,
    remedy: 'Do not add from available_deviceIDs what came in by must_include_deviceIDs.',
    run: judgement(
      (_preference, ids) => {
        const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
        return twice.length === 0 ? undefined : [...new Set(twice)].join(', ');
      },
      'each once',
      'a device was preferred twice',
    ),
  },
  {
    id: 'preferred/more-than-there-are',
    level: 'full',
    severity: 'warning',
    stage: 'destructive',
    title: 'GetPreferredAllocation survives a size larger than the number of devices.',
    why: 'A slice of the list without a look at its length ends the process; devices vanish while a manager makes up its mind.',
    remedy: 'Return an error, or as many as there are.',
    async run(bench) {
      for (const session of await offering(bench)) {
        const { healthyIds } = session;
        await ask(bench, () => session.prefer(healthyIds, [], healthyIds.length + 1));
        await ask(bench, () => session.prefer([], [], 1));
        if ((await ask(bench, () => session.prefer(healthyIds, [], 1))).error !== undefined) {
          return bad('it does not answer any more', session.resource);
        }
      }
      return good('it goes on answering');
    },
  },
];
