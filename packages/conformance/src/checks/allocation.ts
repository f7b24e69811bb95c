import { allocatableAgain, allocations, tryAllocate, type Allocation } from '../bench/allocations.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { ALLOCATION_ANSWER_CHECKS } from './allocation-answers.ts';
import { CDI_CHECKS } from './allocation-cdi.ts';
import { each } from './each.ts';

const AT_ONCE = 8;
/** Of one Allocate, while it holds up the admission of every pod of the node. */
const PATIENCE_MS = 10_000;

const CALL_CHECKS: readonly Check[] = [
  {
    id: 'allocation/every-id',
    level: 'quick',
    severity: 'error',
    title: 'Every healthy device can be allocated.',
    why: 'A kubelet may pick any of them; an error of Allocate fails the pod for good, as UnexpectedAdmissionError. (kubelet: device manager, Allocate)',
    remedy: 'List as Healthy only what Allocate accepts.',
    async run(bench) {
      const { single } = await bench.observe(allocations);
      return each(single, failure).outcome('each could be allocated', 'a healthy device was refused');
    },
  },
  {
    id: 'allocation/several-ids',
    level: 'quick',
    severity: 'error',
    title: 'Several devices can be allocated in one call.',
    why: 'A container that asks for n devices is one call with n ids. (device plugin API: ContainerAllocateRequest)',
    remedy: 'Go through all ids of a container request and put what they need into one container response.',
    async run(bench) {
      const { several } = await bench.observe(allocations);
      if (several.length === 0) return moot('no resource has two devices that can be allocated');
      return each(several, failure).outcome('several at once', 'several devices at once were refused');
    },
  },
  {
    id: 'allocation/again',
    level: 'quick',
    severity: 'error',
    title: 'A device can be allocated again without being given back.',
    why: 'The API has no Deallocate: a plugin never hears that a pod has ended, and the next pod gets the same id. (device plugin API: DevicePlugin)',
    remedy: 'Keep no books of what is allocated; the manager does.',
    async run(bench) {
      const { again } = await bench.observe(allocations);
      if (again.length === 0) return moot('no device could be allocated once');
      return each(again, failure).outcome('allocated a second time', 'a device was refused the second time');
    },
  },
  {
    id: 'allocation/one-answer-a-container',
    level: 'quick',
    severity: 'error',
    title: 'Allocate answers with one container response for each container request.',
    why: 'Without a response a kubelet fails the pod with "no containers return in allocation response"; what is beyond the requests is ignored. (kubelet: device manager, Allocate)',
    remedy: 'Append exactly one ContainerAllocateResponse in each turn of the loop over the container requests.',
    async run(bench) {
      const { single, again, several } = await bench.observe(allocations);
      const answered = [...single, ...again, ...several].filter(({ response }) => response !== undefined);
      if (answered.length === 0) return moot('no Allocate was answered');
      return each(answered, ({ resource, containers, response }) =>
        response?.containerResponses.length === containers.length
          ? undefined
          : `${resource}: ${String(response?.containerResponses.length)} responses to ${String(containers.length)} requests`,
      ).outcome('one response a request', 'another number of responses than of requests');
    },
  },
  {
    id: 'allocation/two-containers',
    level: 'full',
    severity: 'warning',
    title: 'A call for two containers gets an answer for each.',
    why: 'The API allows it although kubelets ask for one container at a time; answers must neither be missing nor share what belongs to one. (device plugin API: AllocateRequest)',
    remedy: 'Make a new response, with maps and lists of its own, for each container request.',
    async run(bench) {
      const complaints: string[] = [];
      let asked = 0;
      for (const session of await allocatableAgain(bench)) {
        const [one, two] = session.healthyIds;
        if (one === undefined || two === undefined) continue;
        const both = await tryAllocate(bench, session, [one], [two]);
        if (both === undefined) continue;
        asked += 1;
        const alone = await tryAllocate(bench, session, [one]);
        complaints.push(...complaintsAboutTwo(both, alone));
      }
      if (asked === 0) return moot('no resource has two healthy devices');
      return each(complaints, (line) => line).outcome('an answer each', 'the answers for two containers are not right');
    },
  },
  {
    id: 'allocation/unknown-id',
    level: 'quick',
    severity: 'warning',
    title: 'Allocate refuses an id that was never listed.',
    why: 'Devices vanish between a list and a call; a container that gets an answer made for nothing starts and fails far from the cause. (device plugin API: Allocate)',
    remedy: 'Look each id up in what you listed and return an error that names the missing one.',
    async run(bench) {
      const accepted: string[] = [];
      for (const session of await bench.ready()) {
        const allocation = await tryAllocate(bench, session, ['devmgr-no-such-device']);
        if (allocation?.error === undefined) accepted.push(`${session.resource}: devmgr-no-such-device was allocated`);
      }
      return accepted.length === 0 ? good('refused') : bad('an unknown id was accepted', accepted);
    },
  },
  {
    id: 'allocation/concurrent',
    level: 'quick',
    severity: 'error',
    title: 'Calls of Allocate at the same time are all answered.',
    why: 'Managers may admit pods at the same time, and a gRPC server answers calls concurrently. (gRPC: server)',
    remedy: 'Guard shared state with a lock, and hold it briefly.',
    async run(bench) {
      const tried: Allocation[] = [];
      for (const session of await allocatableAgain(bench)) {
        const [id = ''] = session.healthyIds;
        const calls = Array.from({ length: AT_ONCE }, () => tryAllocate(bench, session, [id]));
        tried.push(...(await Promise.all(calls)).filter((one) => one !== undefined));
      }
      return each(tried, failure).outcome('answered side by side', 'a call failed beside others');
    },
  },
  {
    id: 'allocation/in-time',
    level: 'quick',
    severity: 'warning',
    title: 'Allocate answers within seconds.',
    why: 'A kubelet admits pods one after the other and has no limit for this call: a slow one holds up every pod of the node. (kubelet: device manager, Allocate)',
    remedy: 'Do what takes long when the device is found, or in PreStartContainer, which has a limit of its own.',
    async run(bench) {
      const { single, again, several } = await bench.observe(allocations);
      const all = [...single, ...again, ...several];
      if (all.length === 0) return moot('nothing could be allocated');
      const slowest = Math.max(...all.map(({ tookMs }) => tookMs));
      const text = `the slowest took ${(slowest / 1000).toFixed(1)} s`;
      return slowest <= PATIENCE_MS ? good(text) : bad(text);
    },
  },
];

export const ALLOCATION_CHECKS: readonly Check[] = [...CALL_CHECKS, ...ALLOCATION_ANSWER_CHECKS, ...CDI_CHECKS];

function failure({ resource, containers, error }: Allocation): string | undefined {
  if (error === undefined) return undefined;
  return `${resource} ${containers.map((ids) => ids.slice(0, 5).join(', ')).join(' | ')}: ${error.message}`;
}

function complaintsAboutTwo(both: Allocation, alone: Allocation | undefined): string[] {
  const refused = failure(both);
  if (refused !== undefined) return [refused];
  const responses = both.response?.containerResponses ?? [];
  if (responses.length !== 2) return [`${both.resource}: ${String(responses.length)} responses to 2 requests`];
  const expected = alone?.response?.containerResponses[0];
  if (expected === undefined) return [];
  const [first, second] = responses.map(asText);
  // Where the two differ at all, the first must be what its container gets when it is asked for alone.
  return first === second && asText(expected) !== first
    ? [`${both.resource}: both containers get what belongs to one of them`]
    : [];
}

function asText(answer: object): string {
  return JSON.stringify(answer, (_key, value: unknown) =>
    value instanceof Map ? [...(value as Map<string, string>)].sort(([a], [b]) => (a < b ? -1 : 1)) : value,
  );
}
