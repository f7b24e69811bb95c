import { lstat, stat } from 'node:fs/promises';
import { allocatable, allocations, containerAnswers, tryAllocate, type Allocation } from '../bench/allocations.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

export const ALLOCATION_CHECKS: readonly Check[] = [
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
      if (several.length === 0) return moot('no resource has two healthy devices');
      return each(several, failure).outcome('several at once', 'several devices at once were refused');
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
        const { error, response } = await tryAllocate(bench, session, ['devmgr-no-such-device']);
        if (error === undefined) accepted.push(`${session.resource}: answered ${JSON.stringify(response, mapsToo)}`);
      }
      return accepted.length === 0 ? good('refused') : bad('an unknown id was accepted', accepted);
    },
  },
  {
    id: 'allocation/concurrent',
    level: 'quick',
    severity: 'error',
    title: 'Calls of Allocate at the same time are all answered.',
    why: 'A manager may admit pods at the same time; gRPC servers answer calls concurrently.',
    remedy: 'Guard shared state with a lock, and hold it briefly.',
    async run(bench) {
      const tried: Allocation[] = [];
      for (const session of await allocatable(bench)) {
        const [id = ''] = session.healthyIds;
        tried.push(...(await Promise.all(Array.from({ length: 8 }, () => tryAllocate(bench, session, [id])))));
      }
      return each(tried, failure).outcome('eight at once', 'a call failed beside others');
    },
  },
  {
    id: 'allocation/device-nodes-exist',
    level: 'quick',
    severity: 'error',
    title: 'Every device node that Allocate hands out exists on the host.',
    why: 'The runtime opens it when it creates the container; a missing one fails the container with a message about a path. (CRI: Device.host_path)',
    remedy: 'Send host paths as the host has them, and stop listing devices whose node is gone.',
    async run(bench) {
      const devices = (await containerAnswers(bench)).flatMap(({ ids, answer }) =>
        answer.devices.map(({ hostPath }) => ({ ids, hostPath })),
      );
      if (devices.length === 0) return moot('no device nodes were handed out');
      const missing: string[] = [];
      for (const { ids, hostPath } of devices) {
        const file = await stat(bench.plugin?.seenAs(hostPath) ?? hostPath).catch(() => undefined);
        const link =
          file === undefined && (await lstat(bench.plugin?.seenAs(hostPath) ?? hostPath).catch(() => undefined));
        if (file === undefined && link === undefined) missing.push(`${ids.join(', ')}: ${hostPath}`);
      }
      return each(missing, (line) => line).outcome('all nodes exist', 'a device node does not exist');
    },
  },
];

function failure({ resource, containers, error }: Allocation): string | undefined {
  if (error === undefined) return undefined;
  return `${resource} ${containers.map((ids) => ids.slice(0, 5).join(', ')).join(' | ')}: ${error.message}`;
}

/** Replacer that shows maps as objects. */
function mapsToo(_key: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}
