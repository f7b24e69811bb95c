import type { PluginSession } from '../bench/plugin-session.ts';
import { numaNodesOfMachine } from '../bench/numa-nodes.ts';
import { quietTime } from '../bench/quiet-time.ts';
import { kubeletRestart } from '../bench/restart-drill.ts';
import { secondLife } from '../bench/second-life.ts';
import { startup } from '../bench/startup.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** What a kubelet receives at most: gRPC's default. (grpc-go: MaxCallRecvMsgSize) */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const MAX_ID_LENGTH = 63;
/** From the opening of a stream to its first list. */
const FIRST_LIST_MS = 10_000;
/** Masks of NUMA nodes have one bit a node. (kubelet: bitmask) */
const MAX_NUMA_NODE = 63;

export const LISTING_CHECKS: readonly Check[] = [
  {
    id: 'listing/first-list',
    level: 'quick',
    severity: 'error',
    title: 'ListAndWatch sends a list as soon as it is opened.',
    why: 'Until then the node offers nothing of the resource, and pods that ask for it fail. (device plugin API: ListAndWatch)',
    remedy: 'Send what is known at once, an empty list if need be, and only then wait for changes.',
    async run(bench) {
      const { registrations } = await bench.observe(startup);
      const sessions = registrations.flatMap(({ session }) => session ?? []);
      if (sessions.length === 0) return moot('not tested: there is no stream');
      return each(sessions, ({ resource, stream }) => {
        const waitedMs = (stream.lists[0]?.atMs ?? stream.ended?.atMs ?? bench.traffic.nowMs()) - stream.openedAtMs;
        const waited = `${(waitedMs / 1000).toFixed(1)} s`;
        if (stream.latest === undefined && stream.ended !== undefined) {
          return `${resource}: the stream ended after ${waited} without a list: ${stream.ended.error?.message ?? 'OK'}`;
        }
        if (stream.latest === undefined) return `${resource}: no list in ${waited}`;
        return waitedMs <= FIRST_LIST_MS ? undefined : `${resource}: a list after ${waited}`;
      }).outcome('a list at once', 'no list at once');
    },
  },
  {
    id: 'listing/has-devices',
    level: 'quick',
    severity: 'warning',
    title: 'There is a healthy device to test with.',
    why: 'Without one, nothing can be allocated and the checks of Allocate are left out.',
    remedy: 'Run the test where the plugin finds hardware, or with a flag that simulates some.',
    async run(bench) {
      const sessions = await bench.ready();
      const counted = sessions.map(
        ({ resource, devices, healthyIds }) =>
          `${resource}: ${String(devices.length)} devices, ${String(healthyIds.length)} healthy`,
      );
      // A device with a health that no kubelet knows is there all the same; that is for another check.
      return sessions.some(({ devices }) => devices.some(({ health }) => health !== 'Unhealthy'))
        ? good(counted.join('; '))
        : bad('no resource has a healthy device', counted);
    },
  },
  {
    id: 'listing/health-strings',
    level: 'quick',
    severity: 'error',
    title: 'The health of every device is "Healthy" or "Unhealthy".',
    why: 'A kubelet counts whatever is not exactly "Healthy" as unhealthy: "healthy" or an empty string takes the device out of service. (kubelet: device manager, processing of a list)',
    remedy: 'Use the constants of the API, Healthy and Unhealthy.',
    async run(bench) {
      return each(devicesOf(await bench.ready()), ({ resource, device }) =>
        device.health === 'Healthy' || device.health === 'Unhealthy'
          ? undefined
          : `${resource} ${device.ID}: health ${JSON.stringify(device.health)}`,
      ).outcome('health strings of the API', 'a health that a kubelet does not know');
    },
  },
  {
    id: 'listing/ids-not-empty',
    level: 'quick',
    severity: 'error',
    title: 'Every device has an id.',
    why: 'An id is all a manager knows of a device; an empty one is in no checkpoint, status or log that could be read. (device plugin API: Device)',
    remedy: 'Make an id from what stays with the device: its serial number, its bus address.',
    async run(bench) {
      return each(devicesOf(await bench.ready()), ({ resource, device }) =>
        device.ID === '' ? `${resource}: a device without an id` : undefined,
      ).outcome('ids are there', 'a device has no id');
    },
  },
  {
    id: 'listing/unique-ids',
    level: 'quick',
    severity: 'error',
    title: 'No id is in a list twice.',
    why: 'Ids are how a kubelet counts: a repeated one makes one device of two, and in both healths it is in two sets at once. (kubelet: device manager, processing of a list)',
    remedy: 'Give each device, or each share of one, an id of its own.',
    async run(bench) {
      return each(await bench.ready(), ({ resource, devices }) => {
        const seen = new Set<string>();
        const twice = new Set<string>();
        for (const { ID } of devices) (seen.has(ID) ? twice : seen).add(ID);
        return twice.size === 0
          ? undefined
          : `${resource}: ${[...twice]
              .slice(0, 5)
              .map((id) => JSON.stringify(id))
              .join(', ')}`;
      }).outcome('ids are unique', 'an id is listed more than once');
    },
  },
  {
    id: 'listing/id-length',
    level: 'quick',
    severity: 'warning',
    title: 'Ids have at most 63 characters.',
    why: 'It is the documented limit; nothing enforces it, but statuses and tools are built for it. (device plugin API: Device.ID)',
    remedy: 'Shorten the id, or use a hash of it.',
    async run(bench) {
      return each(devicesOf(await bench.ready()), ({ resource, device }) =>
        characters(device.ID) <= MAX_ID_LENGTH
          ? undefined
          : `${resource}: ${JSON.stringify(device.ID)} has ${String(characters(device.ID))}`,
      ).outcome('short enough', 'an id is longer than documented');
    },
  },
  {
    id: 'listing/id-characters',
    level: 'quick',
    severity: 'warning',
    title: 'Ids have no blanks, commas or control characters.',
    why: 'Ids end up in environment variables as lists with commas, in logs and in tables.',
    remedy: 'Replace such characters, as in a serial number that is padded.',
    async run(bench) {
      return each(devicesOf(await bench.ready()), ({ resource, device }) =>
        /[\s,\p{Cc}]/u.test(device.ID) ? `${resource}: ${JSON.stringify(device.ID)}` : undefined,
      ).outcome('plain ids', 'an id with a blank, a comma or a control character');
    },
  },
  {
    id: 'listing/numa-nodes-valid',
    level: 'quick',
    severity: 'error',
    title: 'NUMA nodes are numbers from 0 to 63, each once.',
    why: 'A kubelet keeps them in a mask of 64 bits; another number breaks the alignment of every pod with the device. (kubelet: topology manager, bitmask)',
    remedy: 'Leave the topology out where the system says -1, which means that it does not know.',
    async run(bench) {
      return each(devicesOf(await bench.ready()), ({ resource, device }) => {
        const nodes = (device.topology?.nodes ?? []).map(({ ID }) => Number(ID));
        const valid = nodes.every((node) => node >= 0 && node <= MAX_NUMA_NODE) && new Set(nodes).size === nodes.length;
        return valid ? undefined : `${resource} ${device.ID}: nodes ${nodes.join(', ')}`;
      }).outcome('numbers of NUMA nodes', 'a number that no NUMA node has');
    },
  },
  {
    id: 'listing/numa-nodes-exist',
    level: 'full',
    severity: 'warning',
    title: 'The NUMA nodes of devices are nodes of the machine.',
    why: 'No CPU can be aligned with a node that is not there: with a strict topology policy such pods are refused. (kubelet: topology manager)',
    remedy: 'Read numa_node of the device from sysfs. With simulated hardware, ignore this.',
    async run(bench) {
      const machine = await numaNodesOfMachine();
      if (machine === undefined) return moot('the machine does not say which NUMA nodes it has');
      const nodes = devicesOf(await bench.ready()).flatMap(({ resource, device }) =>
        (device.topology?.nodes ?? []).map(({ ID }) => ({ resource, id: device.ID, node: Number(ID) })),
      );
      if (nodes.length === 0) return moot('no device names a NUMA node');
      return each(
        // Numbers that no node can have are the business of another check.
        nodes.filter(({ node }) => node >= 0 && node <= MAX_NUMA_NODE),
        ({ resource, id, node }) => (machine.has(node) ? undefined : `${resource} ${id}: node ${String(node)}`),
      ).outcome('nodes of the machine', 'a NUMA node that the machine does not have');
    },
  },
  {
    id: 'listing/fits-a-message',
    level: 'quick',
    severity: 'error',
    title: 'A list is smaller than 4 MiB.',
    why: 'A kubelet receives no larger message: the stream ends with ResourceExhausted and the resource is gone. (grpc-go: default receive limit)',
    remedy: 'List fewer devices, or shorter ids; some 75,000 devices with ids of 36 characters fit.',
    async run(bench) {
      return each(await bench.ready(), ({ resource, stream }) => {
        const sizeBytes = Math.max(...stream.lists.map((list) => list.sizeBytes));
        return sizeBytes < MAX_MESSAGE_BYTES ? undefined : `${resource}: ${String(sizeBytes)} bytes`;
      }).outcome('lists fit a message', 'a list is larger than a kubelet receives');
    },
  },
  {
    id: 'listing/stream-stays-open',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'ListAndWatch stays open.',
    why: 'Its end, even in good order, is the end of the plugin to a kubelet: all its devices are unhealthy until it registers again. (kubelet: device plugin client)',
    remedy: 'Do not return from ListAndWatch before its context is done; wait for changes there.',
    async run(bench) {
      const { streams, seconds, crash } = await bench.observe(quietTime);
      if (crash !== undefined) return moot('not tested: the plugin ended meanwhile');
      return each(streams, ({ session }) => {
        const { ended } = session.stream;
        return ended === undefined ? undefined : `${session.resource}: ended with ${ended.error?.message ?? 'OK'}`;
      }).outcome(`open after ${String(Math.round(seconds))} s`, 'the plugin ended the stream');
    },
  },
  {
    id: 'listing/whole-lists',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'Every list is the whole list.',
    why: 'A kubelet takes each message as the whole truth: what is not in it is gone. (device plugin API: ListAndWatch)',
    remedy: 'Send all devices in each message, also when only one has changed.',
    async run(bench) {
      const { before, after } = await bench.observe(kubeletRestart);
      const several = before.filter(({ stream }) => stream.lists.length > 1);
      if (several.length === 0) return moot('no stream brought a second list');
      return each(several, ({ resource, stream }) => {
        const fresh = after.find((session) => session.resource === resource)?.stream.lists[0];
        const last = new Set(stream.latest?.devices.map(({ ID }) => ID));
        const ever = new Set(stream.lists.flatMap(({ devices }) => devices.map(({ ID }) => ID)));
        const left = (fresh?.devices ?? []).map(({ ID }) => ID).filter((id) => ever.has(id) && !last.has(id));
        return left.length === 0
          ? undefined
          : `${resource}: the last list of a stream had ${String(last.size)} devices; a new stream, moments later, ${left.join(', ')} too`;
      }).outcome('whole lists', 'a list without devices that are there');
    },
  },
  {
    id: 'listing/no-repeats',
    level: 'quick',
    severity: 'warning',
    stage: 'drill',
    title: 'A list is sent only when something has changed.',
    why: 'A kubelet works through each list and writes its checkpoint to disk for it, changed or not. (kubelet: device manager, processing of a list)',
    remedy: 'Compare with what was sent last, whatever the order, before sending.',
    async run(bench) {
      const { streams, seconds } = await bench.observe(quietTime);
      return each(streams, ({ session, lists }) => {
        const texts = lists.map(({ devices }) => devices.map(deviceText).sort().join('\n'));
        const repeats = texts.filter((text, index) => index > 0 && text === texts[index - 1]).length;
        return repeats === 0 ? undefined : `${session.resource}: ${String(repeats)} in ${seconds.toFixed(0)} s`;
      }).outcome('only changes', 'a list was sent again although nothing had changed');
    },
  },
  {
    id: 'listing/stable-ids',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'Devices keep their ids when the plugin is started again.',
    why: 'Assignments are kept by id: with new ones, containers hold devices that are gone and others are given twice. (kubelet: checkpoint)',
    remedy: 'Make ids from what stays with the device, not from a counter, a time or a random number.',
    async run(bench) {
      const { before, after } = await bench.observe(secondLife);
      if (after.length === 0) return moot('not tested: it did not register when it was started again');
      return each(after, ({ resource, stream }) => {
        const then = new Set(before.find((session) => session.resource === resource)?.devices.map(({ ID }) => ID));
        const now = new Set(stream.lists[0]?.devices.map(({ ID }) => ID));
        const kept = [...then].filter((id) => now.has(id));
        return kept.length > 0 || then.size === 0 || now.size === 0
          ? undefined
          : `${resource}: ${[...then].slice(0, 3).join(', ')} before, ${[...now].slice(0, 3).join(', ')} after`;
      }).outcome('the same ids', 'no id outlived the plugin');
    },
  },
];

/** Every device of the newest lists. */
function devicesOf(
  sessions: readonly PluginSession[],
): readonly { readonly resource: string; readonly device: PluginSession['devices'][number] }[] {
  return sessions.flatMap(({ resource, devices }) => devices.map((device) => ({ resource, device })));
}

function deviceText({ ID, health, topology }: PluginSession['devices'][number]): string {
  return `${ID} ${health} ${(topology?.nodes ?? []).map((node) => String(node.ID)).join(',')}`;
}

function characters(text: string): number {
  return Array.from(text).length;
}
