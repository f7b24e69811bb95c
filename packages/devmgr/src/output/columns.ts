import type { Event, Node, Pod } from '@devmgr/core';
import type { DeviceView, PluginReportView, PluginView, ReleaseView, ResourceView } from '@devmgr/manager';
import { ageOf } from './age.ts';
import { podDevices, podReadyWord, podRestarts, podStatusWord } from './pod-status.ts';
import { NONE, type Column } from './table.ts';

/** Columns of `get`, a table a kind. */
export const POD_COLUMNS: readonly Column<Pod>[] = [
  { header: 'NAME', cell: (pod) => pod.metadata.name },
  { header: 'READY', cell: podReadyWord },
  { header: 'STATUS', cell: podStatusWord },
  { header: 'RESTARTS', cell: (pod) => String(podRestarts(pod)) },
  { header: 'AGE', cell: (pod, nowMs) => ageOf(pod.metadata.creationTimestamp, nowMs) },
  { header: 'NODE', cell: (pod) => pod.spec.nodeName ?? NONE, wide: true },
  { header: 'DEVICES', cell: (pod) => podDevices(pod).join(' ') || NONE, wide: true },
];

/** In front of a kind's own columns when all namespaces are shown. */
export const NAMESPACE_COLUMN: Column<{ metadata: { namespace?: string } }> = {
  header: 'NAMESPACE',
  cell: (object) => object.metadata.namespace ?? 'default',
};

export const NODE_COLUMNS: readonly Column<Node>[] = [
  { header: 'NAME', cell: (node) => node.metadata.name },
  { header: 'STATUS', cell: nodeStatusWord },
  { header: 'AGE', cell: (node, nowMs) => ageOf(node.metadata.creationTimestamp, nowMs) },
  { header: 'VERSION', cell: (node) => node.status.nodeInfo?.['kubeletVersion'] ?? NONE },
  { header: 'ALLOCATABLE', cell: (node) => nodeAllocatable(node).join(' ') || NONE, wide: true },
];

export const RESOURCE_COLUMNS: readonly Column<ResourceView>[] = [
  { header: 'NAME', cell: (resource) => resource.name },
  { header: 'CAPACITY', cell: (resource) => String(resource.capacity) },
  { header: 'ALLOCATABLE', cell: (resource) => String(resource.allocatable) },
  { header: 'ALLOCATED', cell: (resource) => String(resource.allocated) },
  { header: 'UNHEALTHY', cell: (resource) => String(resource.unhealthy) },
  { header: 'PLUGIN', cell: (resource) => resource.plugin?.state ?? NONE },
  { header: 'ENDPOINT', cell: (resource) => resource.plugin?.endpoint ?? NONE, wide: true },
  { header: 'SINCE', cell: (resource, nowMs) => ageOf(resource.plugin?.since, nowMs), wide: true },
];

export const DEVICE_COLUMNS: readonly Column<DeviceView>[] = [
  { header: 'RESOURCE', cell: (device) => device.resource },
  { header: 'ID', cell: (device) => device.id },
  { header: 'HEALTH', cell: (device) => device.health || NONE },
  { header: 'NUMA', cell: (device) => device.numaNodes.join(',') || NONE },
  { header: 'STATE', cell: (device) => device.state },
  { header: 'POD', cell: (device) => device.pod ?? NONE },
  { header: 'AGE', cell: (device, nowMs) => ageOf(device.since, nowMs) },
  { header: 'CONTAINER', cell: (device) => device.container ?? NONE, wide: true },
];

export const PLUGIN_COLUMNS: readonly Column<PluginView>[] = [
  { header: 'NAME', cell: (plugin) => plugin.name },
  { header: 'STATE', cell: pluginStateWord },
  { header: 'DEVICES', cell: (plugin) => String(plugin.devices) },
  { header: 'AGE', cell: (plugin, nowMs) => ageOf(plugin.since, nowMs) },
  { header: 'ORIGIN', cell: (plugin) => plugin.origin ?? NONE, wide: true },
  { header: 'PREFERENCE', cell: (plugin) => yesNo(plugin.preferredAllocation), wide: true },
  { header: 'PRESTART', cell: (plugin) => yesNo(plugin.preStartRequired), wide: true },
  { header: 'MESSAGE', cell: (plugin) => plugin.message ?? NONE, wide: true },
];

export const RELEASE_COLUMNS: readonly Column<ReleaseView>[] = [
  { header: 'NAME', cell: (release) => release.name },
  { header: 'RESOURCE', cell: (release) => release.resource },
  { header: 'DEVICES', cell: (release) => release.devices.join(',') },
  { header: 'STATE', cell: (release) => release.state },
  { header: 'POD', cell: (release) => release.pod },
  { header: 'FAILURES', cell: (release) => String(release.failures) },
  { header: 'AGE', cell: (release, nowMs) => ageOf(release.since, nowMs) },
  { header: 'NEXT', cell: releaseNextWord, wide: true },
  { header: 'LAST ERROR', cell: (release) => release.lastError ?? NONE, wide: true },
];

export const EVENT_COLUMNS: readonly Column<Event>[] = [
  { header: 'LAST SEEN', cell: (event, nowMs) => ageOf(event.lastTimestamp, nowMs) },
  { header: 'TYPE', cell: (event) => event.type },
  { header: 'REASON', cell: (event) => event.reason },
  { header: 'OBJECT', cell: (event) => `${event.involvedObject.kind.toLowerCase()}/${event.involvedObject.name}` },
  { header: 'COUNT', cell: (event) => String(event.count), wide: true },
  { header: 'MESSAGE', cell: (event) => event.message },
];

/** The state; of a plugin that has not registered also what it does: `Preparing (InstallingDriver 40%)`. */
export function pluginStateWord({ state, report }: PluginView): string {
  if (report === undefined || (state !== 'Preparing' && state !== 'Failed')) return state;
  const doing = [report.reason, progressWord(report)].filter((word) => word !== '').join(' ');
  return doing === '' ? state : `${state} (${doing})`;
}

/** `40%`, or nothing. */
export function progressWord({ progressPercent }: Pick<PluginReportView, 'progressPercent'>): string {
  return progressPercent === null ? '' : `${String(progressPercent)}%`;
}

/** What a release does next: `command in 12s`, `plugin now`, `plugin when it is back`. */
export function releaseNextWord({ hook, nextTry, waitingForPlugin }: ReleaseView, nowMs: number): string {
  if (waitingForPlugin) return 'plugin when it is back';
  if (nextTry === null) return `${hook} now`;
  return `${hook} in ${String(Math.max(0, Math.ceil((Date.parse(nextTry) - nowMs) / 1000)))}s`;
}

/** `yes` or `no`. */
export function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}

/** `Ready` or `NotReady`, with a cordon said as kubectl says it. */
export function nodeStatusWord(node: Node): string {
  const ready = node.status.conditions.find((condition) => condition.type === 'Ready');
  const word = ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady';
  return node.spec?.['unschedulable'] === true ? `${word},SchedulingDisabled` : word;
}

/** Extended resources of the node as `name=allocatable/capacity`. */
export function nodeAllocatable(node: Node): string[] {
  return Object.entries(node.status.capacity)
    .filter(([resource]) => resource.includes('/'))
    .map(([resource, capacity]) => `${resource}=${node.status.allocatable[resource] ?? '0'}/${capacity}`);
}
