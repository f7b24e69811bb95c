import type { Node } from '@devmgr/core';
import type { ResourceView } from '@devmgr/manager';
import type { ApiClient } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { nodeStatusWord } from '../output/columns.ts';
import { Description } from '../output/description.ts';
import { describeEvents, eventsOf } from './events.ts';

/** Text for the node. */
export async function describeNode(
  manager: ApiClient,
  selection: { names: readonly string[] },
): Promise<readonly string[]> {
  const [nodes, resources, events, pods] = await Promise.all([
    manager.listNodes(),
    manager.resources(),
    manager.listEvents(),
    manager.listPods(),
  ]);
  return select('node', nodes.items, selection.names, (node, name) => node.metadata.name === name).map((node) => {
    const description = describeOneNode(node, resources, Date.now());
    const active = pods.items.filter((pod) => pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed');
    description.list(
      'Active Pods',
      active.map((pod) => `${pod.metadata.namespace ?? 'default'}/${pod.metadata.name}`),
    );
    describeEvents(description, eventsOf(events.items, { kind: 'Node', name: node.metadata.name }), Date.now());
    return description.toString();
  });
}

function describeOneNode(node: Node, resources: readonly ResourceView[], nowMs: number): Description {
  const { metadata, status } = node;
  const description = new Description()
    .field('Name', metadata.name)
    .field('Status', nodeStatusWord(node))
    .field('Created', `${metadata.creationTimestamp ?? ''} (${ageOf(metadata.creationTimestamp, nowMs)} ago)`)
    .list(
      'Labels',
      Object.entries(metadata.labels ?? {}).map(([key, value]) => `${key}=${value}`),
    );
  for (const [name, value] of Object.entries(status.nodeInfo ?? {})) {
    if (value !== '') description.field(name, value);
  }
  description
    .section('Conditions')
    .table([
      ['Type', 'Status', 'Reason', 'Message'],
      ...status.conditions.map((condition) => [
        condition.type,
        condition.status,
        condition.reason ?? '',
        condition.message ?? '',
      ]),
    ]);
  description
    .section('Resources')
    .table([
      ['Name', 'Capacity', 'Allocatable', 'Allocated'],
      ...Object.entries(status.capacity).map(([name, capacity]) => [
        name,
        capacity,
        status.allocatable[name] ?? '0',
        String(resources.find((resource) => resource.name === name)?.allocated ?? ''),
      ]),
    ]);
  return description;
}
