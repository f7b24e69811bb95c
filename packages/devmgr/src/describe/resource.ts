import type { ApiClient } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { Description } from '../output/description.ts';
import { describeEvents, eventsNaming } from './events.ts';

/** Text for each resource that is meant: numbers, plugin, and who holds what. */
export async function describeResource(
  manager: ApiClient,
  selection: { names: readonly string[] },
): Promise<readonly string[]> {
  const [resources, devices, events] = await Promise.all([
    manager.resources(),
    manager.devices(),
    manager.listEvents(),
  ]);
  return select('resource', resources, selection.names, (resource, name) => resource.name === name).map((resource) => {
    const nowMs = Date.now();
    const description = new Description()
      .field('Name', resource.name)
      .field('Capacity', resource.capacity)
      .field('Allocatable', resource.allocatable)
      .field('Allocated', resource.allocated)
      .field('Healthy', resource.healthy)
      .field('Unhealthy', resource.unhealthy)
      .section('Plugin');
    if (resource.plugin === null) description.field('State', 'none has registered', 1);
    else {
      description
        .field('State', `${resource.plugin.state} for ${ageOf(resource.plugin.since, nowMs)}`, 1)
        .field('Endpoint', resource.plugin.endpoint, 1);
    }
    const held = devices.filter((device) => device.resource === resource.name && device.pod !== null);
    description.list(
      'Held',
      held.map((device) => `${device.id} by ${device.pod ?? ''} (${device.container ?? ''})`),
    );
    describeEvents(description, eventsNaming(events.items, resource.name), nowMs);
    return description.toString();
  });
}
