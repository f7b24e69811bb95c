import type { ApiClient } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { Description } from '../output/description.ts';
import { progressWord } from '../output/columns.ts';
import { describeEvents, eventsNaming } from './events.ts';
import { describeAttempts } from './release.ts';

/** Text for each device that is meant: by id, by `resource/id`, or all of a resource. */
export async function describeDevice(
  manager: ApiClient,
  selection: { names: readonly string[] },
): Promise<readonly string[]> {
  const [devices, events] = await Promise.all([manager.devices(), manager.listEvents()]);
  const meant = select('device', devices, selection.names, (device, name) =>
    [device.id, device.resource, `${device.resource}/${device.id}`].includes(name),
  );
  return meant.map((device) => {
    const nowMs = Date.now();
    const description = new Description()
      .field('ID', device.id)
      .field('Resource', device.resource)
      .field('Health', device.health)
      .field('NUMA Nodes', device.numaNodes.join(', '))
      .field('State', device.state)
      .field('Pod', device.pod)
      .field('Container', device.container)
      .field('Since', `${device.since} (${ageOf(device.since, nowMs)} ago)`);
    const { report, release } = device;
    if (report !== undefined) {
      description
        .section('Reported By Its Plugin')
        .field('Phase', report.since === null ? report.phase : `${report.phase} for ${ageOf(report.since, nowMs)}`, 1)
        .field('Reason', report.reason, 1)
        .field('Message', report.message, 1)
        .field('Progress', progressWord(report), 1);
    }
    if (release !== undefined) {
      description.section('Release').field('Name', release.name, 1);
      describeAttempts(description, release, nowMs, 1);
    }
    const about = eventsNaming(eventsNaming(events.items, device.resource), device.id);
    describeEvents(description, about, nowMs);
    return description.toString();
  });
}
