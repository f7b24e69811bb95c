import type { Bench, Observation } from './bench.ts';
import { NotReady } from './bench-errors.ts';
import type { PluginSession } from './plugin-session.ts';

type Devices = readonly { readonly resource: string; readonly id: string; readonly healthy: boolean }[];

/** What lists said while a device was taken away and brought back. */
export interface HardwareChange {
  readonly before: Devices;
  /** Once a list told of the removal, or the last known when none did. */
  readonly during: Devices;
  readonly removalTold: boolean;
  readonly after: Devices;
  /** Whether as many devices as before were healthy again. */
  readonly returnTold: boolean;
}

/** After the news: what else belongs to it may come in a list of its own. */
const SETTLE_MS = 1_000;

export const hardwareChange: Observation<HardwareChange> = {
  what: 'changing the hardware',
  make: async (bench) => {
    if (bench.hardware === undefined) throw new NotReady('no --hardware-change was given');
    const sessions = await bench.ready();
    const before = devicesOf(sessions);
    const healthyBefore = countHealthy(before);
    if (healthyBefore === 0) throw new NotReady('there is no healthy device that could be taken away');
    await bench.hardware.change('remove');
    const removalTold = await bench.until(() => countHealthy(devicesOf(latest(bench))) < healthyBefore);
    if (!removalTold && latest(bench).some(({ stream }) => !stream.live)) {
      throw new NotReady('ListAndWatch has ended, so that no list can tell of it');
    }
    await bench.pause(SETTLE_MS);
    const during = devicesOf(latest(bench));
    await bench.hardware.change('add');
    const returnTold = await bench.until(() => countHealthy(devicesOf(latest(bench))) >= healthyBefore);
    await bench.pause(SETTLE_MS);
    return { before, during, removalTold, after: devicesOf(latest(bench)), returnTold };
  },
};

function latest(bench: Bench): readonly PluginSession[] {
  return bench.manager.sessions();
}

function devicesOf(sessions: readonly PluginSession[]): Devices {
  return sessions.flatMap(({ resource, devices }) =>
    devices.map(({ ID, health }) => ({ resource, id: ID, healthy: health === 'Healthy' })),
  );
}

function countHealthy(devices: Devices): number {
  return devices.filter(({ healthy }) => healthy).length;
}
