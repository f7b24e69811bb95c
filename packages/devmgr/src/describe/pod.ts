import type { Container, ContainerStatus, Pod } from '@devmgr/core';
import type { ApiClient } from '@devmgr/manager';
import { select } from '../select.ts';
import { ageOf } from '../output/age.ts';
import { Description } from '../output/description.ts';
import { podStatusWord } from '../output/pod-status.ts';
import { describeEvents, eventsOf } from './events.ts';

/** How the message of a pod begins that admission has refused. (kubelet) */
const REJECTED = 'Pod was rejected: ';

/** Text for each pod that is meant. */
export async function describePod(
  manager: ApiClient,
  selection: { namespace: string; names: readonly string[] },
): Promise<readonly string[]> {
  const [pods, events] = await Promise.all([
    manager.listPods(selection.namespace),
    manager.listEvents(selection.namespace),
  ]);
  return select('pod', pods.items, selection.names, (pod, name) => pod.metadata.name === name).map((pod) => {
    const { name, namespace = 'default', uid } = pod.metadata;
    const description = describeOnePod(pod, Date.now());
    const reference = { kind: 'Pod', name, namespace, ...(uid === undefined ? {} : { uid }) };
    describeEvents(description, eventsOf(events.items, reference), Date.now());
    return description.toString();
  });
}

function describeOnePod(pod: Pod, nowMs: number): Description {
  const { metadata, spec, status } = pod;
  const description = new Description()
    .field('Name', metadata.name)
    .field('Namespace', metadata.namespace ?? 'default')
    .field('UID', metadata.uid)
    .field('Node', spec.nodeName)
    .field('Created', age(metadata.creationTimestamp, nowMs))
    .list('Labels', pairs(metadata.labels))
    .list('Annotations', pairs(metadata.annotations))
    .field('Status', podStatusWord(pod))
    .field('Phase', status?.phase);
  if (metadata.deletionTimestamp !== undefined) {
    description.field('Deleted', age(metadata.deletionTimestamp, nowMs));
  }
  if (status?.reason !== undefined) description.field('Reason', status.reason);
  if (status?.message !== undefined) description.field('Message', status.message);
  if (status?.phase === 'Failed' && status.message?.startsWith(REJECTED) === true) {
    description.field('Explained by', `devmgr explain ${metadata.namespace ?? 'default'}/${metadata.name}`);
  }
  description.field('Restart Policy', spec.restartPolicy ?? 'Always');
  if ((spec.initContainers ?? []).length > 0) {
    description.section('Init Containers');
    for (const container of spec.initContainers ?? []) {
      describeContainer(description, container, status?.initContainerStatuses, nowMs);
    }
  }
  description.section('Containers');
  for (const container of spec.containers) {
    describeContainer(description, container, status?.containerStatuses, nowMs);
  }
  description.section('Conditions');
  const conditions = status?.conditions ?? [];
  description.table([
    ['Type', 'Status', 'Reason', 'Message'],
    ...conditions.map((condition) => [
      condition.type,
      condition.status,
      condition.reason ?? '',
      condition.message ?? '',
    ]),
  ]);
  return description;
}

function describeContainer(
  description: Description,
  container: Container,
  statuses: readonly ContainerStatus[] | undefined,
  nowMs: number,
): void {
  const status = statuses?.find(({ name }) => name === container.name);
  description.section(container.name, 1);
  const command = [...(container.command ?? []), ...(container.args ?? [])];
  if (command.length > 0) description.field('Command', command.join(' '), 2);
  if (container.image !== undefined) description.field('Image', container.image, 2);
  if (container.restartPolicy !== undefined) description.field('Restart Policy', container.restartPolicy, 2);
  const limits = Object.entries(container.resources?.limits ?? {}).map(([name, count]) => `${name}: ${String(count)}`);
  if (limits.length > 0) description.list('Limits', limits, 2);
  if (status !== undefined) describeStatus(description, status, nowMs);
}

function describeStatus(description: Description, status: ContainerStatus, nowMs: number): void {
  description.field('State', stateWord(status.state, nowMs), 2);
  if (Object.keys(status.lastState).length > 0) description.field('Last State', stateWord(status.lastState, nowMs), 2);
  description.field('Ready', status.ready ? 'True' : 'False', 2).field('Restart Count', status.restartCount, 2);
  if (status.containerID !== undefined) description.field('Container ID', status.containerID, 2);
  for (const { name, resources } of status.allocatedResourcesStatus ?? []) {
    description.list(
      'Devices',
      resources.map(({ resourceID, health }) => `${name}: ${resourceID} (${health})`),
      2,
    );
  }
}

function stateWord(state: ContainerStatus['state'], nowMs: number): string {
  const { running, terminated, waiting } = state;
  if (running !== undefined) return `Running since ${age(running.startedAt, nowMs) ?? ''}`;
  if (terminated !== undefined) {
    const how =
      terminated.signal === undefined
        ? `exit code ${String(terminated.exitCode)}`
        : `signal ${String(terminated.signal)}`;
    const message = terminated.message === undefined ? '' : `: ${terminated.message}`;
    return `Terminated: ${terminated.reason} (${how}), ${ageOf(terminated.finishedAt, nowMs)} ago${message}`;
  }
  return `Waiting: ${waiting?.reason ?? 'unknown'}${waiting?.message === undefined ? '' : `: ${waiting.message}`}`;
}

function age(time: string | undefined, nowMs: number): string | undefined {
  return time === undefined ? undefined : `${time} (${ageOf(time, nowMs)} ago)`;
}

function pairs(map: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
}
