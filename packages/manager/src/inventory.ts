import { basename } from 'node:path';
import { naturalCompare, releasedPod, type DeviceState } from '@devmgr/core';
import type { DeviceManager } from './device-manager.ts';
import type { DeviceView, InventoryService, PluginReportView, PluginView, ReleaseView, ResourceView } from './ports.ts';
import type { ResourcePlugins } from './resource-plugins.ts';

/** Names a pod for people: `namespace/name`, or undefined when it is not known here. */
export type PodNames = (podUid: string) => string | undefined;

/** The device manager's state as the API shows it. Views are made when asked for and hold no state of their own. */
export class Inventory implements InventoryService {
  readonly #manager: DeviceManager;
  readonly #podName: PodNames;

  constructor(manager: DeviceManager, podName: PodNames) {
    this.#manager = manager;
    this.#podName = podName;
  }

  resources(): ResourceView[] {
    const { ledger } = this.#manager;
    return [...ledger.resourceNames()].sort(naturalCompare).flatMap((name) => {
      const numbers = ledger.capacity(name);
      if (numbers === undefined) return [];
      const { capacity, allocatable, allocated, healthy, unhealthy } = numbers;
      return [{ name, capacity, allocatable, allocated, healthy, unhealthy, plugin: this.#pluginOf(name) }];
    });
  }

  devices(resource?: string): DeviceView[] {
    const names = resource === undefined ? [...this.#manager.ledger.resourceNames()].sort(naturalCompare) : [resource];
    const views: DeviceView[] = [];
    for (const name of names) {
      const connected = this.#manager.pluginsOf(name)?.stoppedAt === undefined;
      const releases = new Map(
        this.#manager.ledger.releasing(name).devices === 0 ? [] : this.releases().map((view) => [view.name, view]),
      );
      for (const device of this.#manager.ledger.devices(name)) {
        views.push(this.#deviceView(name, device, connected, releases));
      }
    }
    return views;
  }

  plugins(): PluginView[] {
    const views: PluginView[] = [];
    for (const plugins of this.#manager.plugins()) {
      const live = plugins.sessions();
      for (const { session, state, devices, since } of live) {
        views.push({
          name: `${session.resource}@${basename(session.socketPath)}`,
          resource: session.resource,
          endpoint: session.socketPath,
          state,
          origin: session.origin,
          preStartRequired: session.options.preStartRequired,
          preferredAllocation: session.options.preferredAllocationAvailable,
          devices,
          since: new Date(since).toISOString(),
          ...(session.options.releaseRequired ? { releaseRequired: true } : {}),
          message: null,
          ...this.#report(session.resource, basename(session.socketPath)),
        });
      }
      if (live.length === 0) views.push(this.#absentView(plugins));
    }
    for (const { resource, endpoint, view } of this.#manager.reports.all()) {
      if (this.#manager.pluginsOf(resource) === undefined) views.push(reportedView(resource, endpoint, view));
    }
    return views.sort((a, b) => naturalCompare(a.name, b.name));
  }

  releases(): ReleaseView[] {
    return this.#manager.releases.views();
  }

  forgetRelease(name: string): Promise<void> {
    return this.#manager.releases.forget(name);
  }

  onChange(listener: () => void): () => void {
    return this.#manager.onChange(listener);
  }

  #pluginOf(resource: string): ResourceView['plugin'] {
    const plugins = this.#manager.pluginsOf(resource);
    if (plugins === undefined) return null;
    const primary = plugins.sessions().find(({ session }) => session === plugins.primary);
    if (primary === undefined) {
      return {
        endpoint: plugins.endpoint ?? '',
        state: 'Disconnected',
        since: new Date(plugins.stoppedAt ?? 0).toISOString(),
      };
    }
    return { endpoint: primary.session.socketPath, state: primary.state, since: new Date(primary.since).toISOString() };
  }

  /** Before a plugin serves again it reports without an endpoint. */
  #report(resource: string, endpoint: string): Pick<PluginView, 'report'> {
    const { reports } = this.#manager;
    const kept = reports.of(resource, endpoint) ?? reports.of(resource, '');
    return kept === undefined ? {} : { report: kept.view };
  }

  #absentView(plugins: ResourcePlugins): PluginView {
    const { resource } = plugins;
    return {
      name: `${resource}@${plugins.endpoint === null ? '' : basename(plugins.endpoint)}`,
      resource,
      endpoint: plugins.endpoint ?? '',
      state: 'Disconnected',
      origin: plugins.origin,
      preStartRequired: plugins.preStartRequired,
      preferredAllocation: false,
      devices: this.#manager.ledger.capacity(resource)?.capacity ?? 0,
      since: new Date(plugins.stoppedAt ?? 0).toISOString(),
      message: plugins.stopReason ?? null,
      ...this.#report(resource, plugins.endpoint === null ? '' : basename(plugins.endpoint)),
    };
  }

  #deviceView(
    resource: string,
    device: DeviceState,
    connected: boolean,
    releases: ReadonlyMap<string, ReleaseView>,
  ): DeviceView {
    const holder = device.holders[0];
    const { release } = device;
    const report = this.#manager.reports.device(resource, device.id);
    const releaseView = release && releases.get(release.id);
    const pod =
      holder !== undefined ? (this.#podName(holder.podUid) ?? holder.podUid) : release && releasedPod(release);
    return {
      resource,
      id: device.id,
      health: connected && device.listed ? device.health : 'Unknown',
      numaNodes: device.numaNodes,
      state: stateOf(device),
      pod: pod ?? null,
      container: holder?.container ?? release?.container ?? null,
      since: new Date(this.#manager.deviceSince(resource, device.id)).toISOString(),
      ...(report === undefined ? {} : { report }),
      ...(releaseView === undefined ? {} : { release: releaseView }),
    };
  }
}

function stateOf({ listed, holders, reserved, release }: DeviceState): DeviceView['state'] {
  if (holders.length === 0 && release !== undefined) return release.quarantined ? 'Quarantined' : 'Releasing';
  if (!listed) return 'Vanished';
  return holders.length > 0 ? 'Allocated' : reserved ? 'Reserved' : 'Free';
}

/** A plugin that reports and has not registered. */
function reportedView(resource: string, endpoint: string, report: PluginReportView): PluginView {
  return {
    name: `${resource}@${endpoint}`,
    resource,
    endpoint,
    state: report.phase === 'Failed' ? 'Failed' : 'Preparing',
    origin: null,
    preStartRequired: false,
    preferredAllocation: false,
    devices: 0,
    since: report.since,
    message: report.message === '' ? null : report.message,
    report,
  };
}
