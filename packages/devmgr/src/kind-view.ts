import type { Event, Node, Pod } from '@devmgr/core';
import type { DeviceView, PluginView, ReleaseView, ResourceView } from '@devmgr/manager';
import type { ApiClient } from '@devmgr/manager';
import { select } from './select.ts';
import {
  DEVICE_COLUMNS,
  EVENT_COLUMNS,
  NAMESPACE_COLUMN,
  NODE_COLUMNS,
  PLUGIN_COLUMNS,
  POD_COLUMNS,
  RELEASE_COLUMNS,
  RESOURCE_COLUMNS,
} from './output/columns.ts';
import type { Kind } from './output/kinds.ts';
import type { Column } from './output/table.ts';

/** Which objects are meant. */
export interface Selection {
  /** Undefined for all namespaces. */
  readonly namespace: string | undefined;
  readonly names: readonly string[];
}

/** How one kind is fetched, named and shown. */
export interface KindView<T> {
  readonly columns: readonly Column<T>[];
  /** Those that `selection` means, in the manager's order. Throws NOT_FOUND when a name means nothing. */
  list(manager: ApiClient, selection: Selection): Promise<readonly T[]>;
  /** As `-o name` prints it. */
  nameOf(item: T): string;
  /** The list as `-o json` prints it. */
  toList(items: readonly T[]): unknown;
  /** What makes two states of one item different; items are followed by name. */
  watch(manager: ApiClient, selection: Selection, signal: AbortSignal): AsyncIterable<T>;
}

const pods: KindView<Pod> = {
  columns: POD_COLUMNS,
  async list(manager, { namespace, names }) {
    const { items } = await manager.listPods(namespace);
    return select('pod', items, names, (pod, name) => pod.metadata.name === name);
  },
  nameOf: (pod) => `pod/${pod.metadata.name}`,
  toList: (items) => ({ apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: '' }, items }),
  async *watch(manager, { namespace, names }, signal) {
    for await (const event of manager.watchPods(namespace, signal)) {
      if (names.length === 0 || names.includes(event.object.metadata.name)) yield event.object;
    }
  },
};

const nodes: KindView<Node> = {
  columns: NODE_COLUMNS,
  async list(manager, { names }) {
    const { items } = await manager.listNodes();
    return select('node', items, names, (node, name) => node.metadata.name === name);
  },
  nameOf: (node) => `node/${node.metadata.name}`,
  toList: (items) => ({ apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: '' }, items }),
  async *watch(manager, { names }, signal) {
    for await (const event of manager.watchNodes(signal)) {
      if (names.length === 0 || names.includes(event.object.metadata.name)) yield event.object;
    }
  },
};

const events: KindView<Event> = {
  columns: EVENT_COLUMNS,
  async list(manager, { namespace, names }) {
    const { items } = await manager.listEvents(namespace);
    return select('event', items, names, matchesEvent);
  },
  nameOf: (event) => `event/${event.metadata.name}`,
  toList: (items) => ({ apiVersion: 'v1', kind: 'List', metadata: { resourceVersion: '' }, items }),
  async *watch(manager, { namespace, names }, signal) {
    for await (const event of manager.watchEvents(namespace, signal)) {
      if (names.length === 0 || names.some((name) => matchesEvent(event.object, name))) yield event.object;
    }
  },
};

const resources: KindView<ResourceView> = listed({
  kind: 'resource',
  columns: RESOURCE_COLUMNS,
  fetch: (manager) => manager.resources(),
  watch: (manager, signal) => manager.watchResources(signal),
  matches: (resource, name) => resource.name === name,
  key: (resource) => resource.name,
});

const devices: KindView<DeviceView> = listed({
  kind: 'device',
  columns: DEVICE_COLUMNS,
  fetch: (manager) => manager.devices(),
  watch: (manager, signal) => manager.watchDevices(undefined, signal),
  // A resource means all its devices; `resource/id` and a bare id mean one.
  matches: (device, name) =>
    device.resource === name || `${device.resource}/${device.id}` === name || device.id === name,
  key: (device) => `${device.resource}/${device.id}`,
});

const plugins: KindView<PluginView> = listed({
  kind: 'plugin',
  columns: PLUGIN_COLUMNS,
  fetch: (manager) => manager.plugins(),
  watch: (manager, signal) => manager.watchPlugins(signal),
  matches: (plugin, name) => plugin.name === name || plugin.resource === name || plugin.endpoint === name,
  key: (plugin) => plugin.name,
});

const releases: KindView<ReleaseView> = listed({
  kind: 'release',
  columns: RELEASE_COLUMNS,
  fetch: (manager) => manager.releases(),
  watch: (manager, signal) => manager.watchReleases(signal),
  matches: (release, name) => release.name === name || release.resource === name,
  key: (release) => release.name,
});

const VIEWS: Readonly<Record<Kind, unknown>> = {
  pod: pods,
  node: nodes,
  resource: resources,
  device: devices,
  plugin: plugins,
  release: releases,
  event: events,
};

/** The view of a kind; its items are opaque to the caller. `withNamespace` puts the namespace in front of kinds that have one. */
export function kindView(kind: Kind, options: { withNamespace: boolean }): KindView<unknown> {
  const view = VIEWS[kind] as KindView<unknown>;
  if (!options.withNamespace || (kind !== 'pod' && kind !== 'event')) return view;
  return { ...view, columns: [NAMESPACE_COLUMN as Column<unknown>, ...view.columns] };
}

/** A kind whose watch repeats the whole list; only what differs from before is told. */
function listed<T>(input: {
  kind: string;
  columns: readonly Column<T>[];
  fetch: (manager: ApiClient) => Promise<readonly T[]>;
  watch: (manager: ApiClient, signal: AbortSignal) => AsyncIterable<readonly T[]>;
  matches: (item: T, name: string) => boolean;
  key: (item: T) => string;
}): KindView<T> {
  return {
    columns: input.columns,
    list: async (manager, { names }) => select(input.kind, await input.fetch(manager), names, input.matches),
    nameOf: (item) => `${input.kind}/${input.key(item)}`,
    toList: (items) => ({ items }),
    async *watch(manager, { names }, signal) {
      const seen = new Map<string, string>();
      for await (const items of input.watch(manager, signal)) {
        for (const item of items) {
          if (names.length > 0 && !names.some((name) => input.matches(item, name))) continue;
          const text = JSON.stringify(item);
          if (seen.get(input.key(item)) === text) continue;
          seen.set(input.key(item), text);
          yield item;
        }
      }
    },
  };
}

function matchesEvent(event: Event, name: string): boolean {
  return event.metadata.name === name || event.involvedObject.name === name;
}
