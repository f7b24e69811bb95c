import type { ApiClient } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { progressWord, yesNo } from '../output/columns.ts';
import { Description } from '../output/description.ts';
import { describeEvents, eventsNaming } from './events.ts';

/** Text for each plugin that is meant: by name, resource or endpoint. */
export async function describePlugin(
  manager: ApiClient,
  selection: { names: readonly string[] },
): Promise<readonly string[]> {
  const [plugins, events] = await Promise.all([manager.plugins(), manager.listEvents()]);
  const meant = select('plugin', plugins, selection.names, (plugin, name) =>
    [plugin.name, plugin.resource, plugin.endpoint].includes(name),
  );
  return meant.map((plugin) => {
    const nowMs = Date.now();
    const description = new Description()
      .field('Name', plugin.name)
      .field('Resource', plugin.resource)
      .field('Endpoint', plugin.endpoint)
      .field('State', `${plugin.state} for ${ageOf(plugin.since, nowMs)}`)
      .field('Origin', plugin.origin)
      .field('Devices', plugin.devices)
      .section('Options')
      .field('PreStartContainer', yesNo(plugin.preStartRequired), 1)
      .field('GetPreferredAllocation', yesNo(plugin.preferredAllocation), 1)
      .field('Released', yesNo(plugin.releaseRequired === true), 1);
    const { report } = plugin;
    if (report !== undefined) {
      description
        .section('Reported')
        .field('Phase', `${report.phase} for ${ageOf(report.since, nowMs)}`, 1)
        .field('Reason', report.reason, 1)
        .field('Message', report.message, 1)
        .field('Progress', progressWord(report), 1)
        .field('Driver', report.driverVersion, 1);
    }
    if (plugin.message !== null) description.field('Message', plugin.message);
    describeEvents(description, eventsNaming(events.items, plugin.resource), nowMs);
    return description.toString();
  });
}
