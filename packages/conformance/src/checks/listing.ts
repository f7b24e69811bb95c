import type { PluginSession } from '../bench/plugin-session.ts';
import { quietTime } from '../bench/quiet-time.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** What a kubelet receives at most: gRPC's default. (grpc-go: MaxCallRecvMsgSize) */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

export const LISTING_CHECKS: readonly Check[] = [
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
    id: 'listing/unique-ids',
    level: 'quick',
    severity: 'error',
    title: 'No id is in a list twice.',
    why: 'Ids are how a kubelet counts: a repeated one makes one device of two, and in both healths it is in two sets at once. (kubelet: device manager, processing of a list)',
    remedy: 'Give each device, or each share of one, an id of its own.',
    async run(bench) {
      return each(await bench.ready(), ({ resource, devices }) => {
        const ids = devices.map(({ ID }) => ID);
        const twice = [...new Set(ids.filter((id, index) => ids.indexOf(id) !== index))];
        return twice.length === 0
          ? undefined
          : `${resource}: ${twice
              .slice(0, 5)
              .map((id) => JSON.stringify(id))
              .join(', ')}`;
      }).outcome('ids are unique', 'an id is listed more than once');
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
      const complaints = each(streams, ({ session }) => {
        const { ended } = session.stream;
        if (ended === undefined) return undefined;
        return `${session.resource}: ended with ${ended.error?.message ?? 'OK'}`;
      });
      return complaints.outcome(`open after ${String(Math.round(seconds))} s`, 'the plugin ended the stream');
    },
  },
  {
    id: 'listing/has-devices',
    level: 'quick',
    severity: 'warning',
    title: 'There is a healthy device to test with.',
    why: 'Without one, nothing can be allocated and the checks of Allocate are left out.',
    remedy: 'Run the suite where the plugin finds hardware, or with a flag that simulates some.',
    async run(bench) {
      const sessions = await bench.ready();
      const counted = sessions.map(
        ({ resource, devices, healthyIds }) =>
          `${resource}: ${String(devices.length)} devices, ${String(healthyIds.length)} healthy`,
      );
      return sessions.some(({ healthyIds }) => healthyIds.length > 0)
        ? good(counted.join('; '))
        : bad('no resource has a healthy device', counted);
    },
  },
];

/** Every device of the newest lists. */
function devicesOf(
  sessions: readonly PluginSession[],
): readonly { readonly resource: string; readonly device: PluginSession['devices'][number] }[] {
  return sessions.flatMap(({ resource, devices }) => devices.map((device) => ({ resource, device })));
}
