import { hardwareChange } from '../bench/hardware-change.ts';
import { bad, good, moot, type Check } from '../check.ts';
import { each } from './each.ts';

/** What happens when the hardware changes; all of it needs a command that changes it. */
export const HARDWARE_CHECKS: readonly Check[] = [
  {
    id: 'hardware/removal-is-told',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'A device that is taken away is listed as unhealthy or no more.',
    why: 'Otherwise pods are given a device that is not there. (device plugin API: ListAndWatch)',
    remedy: 'Watch the hardware, or look regularly, and send the new list on every open stream.',
    async run(bench) {
      const { removalTold, before } = await bench.observe(hardwareChange);
      return removalTold
        ? good('the removal was told')
        : bad(
            'no list told of the removal',
            `${String(before.filter(({ healthy }) => healthy).length)} healthy devices before and after`,
          );
    },
  },
  {
    id: 'hardware/others-stay',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'Devices that are still there stay listed when one is taken away.',
    why: 'A list is the whole truth: what is not in it is gone for the kubelet, and containers hold devices that nobody offers. (device plugin API: ListAndWatch)',
    remedy: 'Send all devices in each message, not only those that have changed.',
    async run(bench) {
      const { removalTold, before, during } = await bench.observe(hardwareChange);
      if (!removalTold) return moot('not tested: no list told of the removal');
      const had = before.filter(({ healthy }) => healthy).length;
      if (had < 2) return moot('there was one device only');
      const left = during.filter(({ healthy }) => healthy).length;
      return left > 0
        ? good(`${String(left)} of ${String(had)} are left`)
        : bad('all devices went with one', `${String(had)} healthy before, none after`);
    },
  },
  {
    id: 'hardware/return-is-told',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'A device that is brought back is listed as healthy again.',
    why: 'Otherwise it is lost to the node until somebody restarts the plugin. (device plugin API: ListAndWatch)',
    remedy: 'Go on watching after a removal; take care of devices that come back under the same name.',
    async run(bench) {
      const { removalTold, returnTold } = await bench.observe(hardwareChange);
      if (!removalTold) return moot('not tested: no list told of the removal');
      return returnTold ? good('the return was told') : bad('no list told of the return');
    },
  },
  {
    id: 'hardware/same-id',
    level: 'quick',
    severity: 'warning',
    stage: 'drill',
    title: 'A device that is brought back has the id it had.',
    why: 'A container that still holds it is found by id; under a new one the device is given to a second container. (kubelet: checkpoint)',
    remedy: 'Make ids from what stays with the device, as its serial number or its place on the bus.',
    async run(bench) {
      const { before, after, returnTold } = await bench.observe(hardwareChange);
      if (!returnTold) return moot('not tested: no list told of the return');
      const now = new Set(after.map(({ resource, id }) => `${resource} ${id}`));
      return each(before, ({ resource, id }) =>
        now.has(`${resource} ${id}`) ? undefined : `${resource}: ${id} is gone`,
      ).outcome('the ids from before', 'a device came back under another id');
    },
  },
];
