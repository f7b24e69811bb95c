import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DevmgrError, Ledger, type Pod } from '@devmgr/core';
import {
  startScriptedPlugin,
  until,
  type ScriptedPlugin,
  type ScriptedPluginOptions,
} from '@devmgr/plugin-sdk/testing';
import { Admission, type AdmissionOptions } from '../../packages/manager/src/admission.ts';
import { DecisionBook } from '../../packages/manager/src/decision-book.ts';
import { DeviceManager } from '../../packages/manager/src/device-manager.ts';
import { Explainer } from '../../packages/manager/src/explainer.ts';
import { Inventory } from '../../packages/manager/src/inventory.ts';
import { startPlugins, type PluginEndpoints } from '../../packages/manager/src/plugins/plugin-endpoints.ts';
import type {
  AdmissionResult,
  RecoveredState,
  StateRecord,
  StateWriter,
  WaitingForDevices,
} from '../../packages/manager/src/ports.ts';
import { TopologyManager, type TopologySettings } from '../../packages/manager/src/topology/topology-manager.ts';
import { SkewedClock } from './skewed-clock.ts';

/** Keeps records in memory; can be told to fail as a full disk does. */
export class RecordingState implements StateWriter {
  readonly records: StateRecord[] = [];
  full = false;

  async append(record: StateRecord): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.full) {
      throw new DevmgrError(
        'STATE_WRITE_FAILED',
        'failed to write checkpoint file "kubelet_internal_checkpoint": ENOSPC: no space left on device',
      );
    }
    this.records.push(record);
  }

  touch(): void {
    // only counted by the real store
  }
}

export interface BenchOptions extends Partial<Omit<AdmissionOptions, 'manager' | 'log'>> {
  readonly expectedResources?: readonly string[];
  readonly recovered?: Pick<RecoveredState, 'allocations' | 'resources'>;
  /** A directory to go on with, for restarts. */
  readonly dir?: string;
  /** Topology policy and machine; policy `none` without. */
  readonly alignment?: TopologySettings;
}

const silent = { debug: noop, info: noop, warn: noop, error: noop, child: () => silent };
function noop(): void {
  // a test that fails tells enough
}

/** A device manager with admission and its real sockets, without pods: what the daemon is to plugins. */
export class ManagerBench {
  readonly dir: string;
  readonly pluginDir: string;
  readonly registryDir: string;
  readonly clock = new SkewedClock();
  readonly state = new RecordingState();
  readonly events: { reason: string; message: string }[] = [];
  readonly calls: { resource: string; call: string; ok: boolean }[] = [];
  readonly registrations: string[] = [];
  readonly manager: DeviceManager;
  readonly admission: Admission;
  readonly topology: TopologyManager | undefined;
  readonly inventory: Inventory;
  readonly explainer: Explainer;
  #endpoints: PluginEndpoints | undefined;
  readonly #plugins: ScriptedPlugin[] = [];
  readonly #ownsDir: boolean;

  constructor(options: BenchOptions) {
    this.#ownsDir = options.dir === undefined;
    this.dir = options.dir ?? mkdtempSync(join(tmpdir(), 'dm-'));
    this.pluginDir = join(this.dir, 'device-plugins');
    this.registryDir = join(this.dir, 'plugins_registry');
    this.manager = new DeviceManager({
      ledger: new Ledger(),
      state: this.state,
      events: { record: (_object, _type, reason, message) => this.events.push({ reason, message }) },
      metrics: {
        registration: (resource) => this.registrations.push(resource),
        pluginCall: (resource, call, _seconds, ok) => this.calls.push({ resource, call, ok }),
      },
      clock: this.clock,
      log: silent,
      nodeName: 'bench',
      ...(options.expectedResources === undefined ? {} : { expectedResources: options.expectedResources }),
    });
    this.topology =
      options.alignment === undefined ? undefined : new TopologyManager(options.alignment, this.manager.ledger);
    const podName = (uid: string): string => `default/${uid}`;
    const decisions = new DecisionBook(this.manager, podName);
    this.admission = new Admission({
      waitForPluginMs: 0,
      decisions,
      ...options,
      ...(this.topology === undefined ? {} : { topology: this.topology }),
      manager: this.manager,
      log: silent,
    });
    this.inventory = new Inventory(this.manager, podName);
    this.explainer = new Explainer({
      manager: this.manager,
      decisions,
      pods: { get: () => undefined },
      inventory: this.inventory,
      podName,
      ...(options.unknownResources === undefined ? {} : { unknownResources: options.unknownResources }),
      ...(options.alignment === undefined ? {} : { topology: options.alignment }),
    });
    if (options.recovered !== undefined) this.manager.restore(options.recovered);
  }

  static async start(options: BenchOptions = {}): Promise<ManagerBench> {
    const bench = new ManagerBench(options);
    bench.#endpoints = await startPlugins({
      devicePluginDir: bench.pluginDir,
      registryDir: bench.registryDir,
      host: bench.manager,
      clock: bench.clock,
      log: silent,
      limits: { dialTimeoutMs: 10_000, optionsTimeoutMs: 10_000, maxReceiveBytes: 256 * 1024 * 1024 },
      remembered: (options.recovered?.resources ?? []).flatMap(({ resource, endpoint }) =>
        endpoint === null ? [] : [{ resource, endpoint }],
      ),
      events: (_type, reason, message) => bench.events.push({ reason, message }),
      reports: bench.manager.reports,
    });
    return bench;
  }

  /** A scripted plugin, registered and, if it has devices, listed. */
  async plugin(
    resource: string,
    devices: ScriptedPluginOptions['devices'],
    more: Partial<ScriptedPluginOptions> = {},
  ): Promise<ScriptedPlugin> {
    const plugin = await startScriptedPlugin({ pluginDir: this.pluginDir, resource, devices, ...more });
    this.#plugins.push(plugin);
    await plugin.register();
    if (devices !== undefined) await until(`${resource} to be ready`, () => this.manager.isReady(resource));
    return plugin;
  }

  /** `allocatable/capacity` as the node shows it, or `absent`. */
  node(resource: string): string {
    const view = this.inventory.resources().find(({ name }) => name === resource);
    return view === undefined ? 'absent' : `${String(view.allocatable)}/${String(view.capacity)}`;
  }

  async waitForNode(resource: string, expected: string): Promise<void> {
    await until(`${resource} at ${expected}, now ${this.node(resource)}`, () => this.node(resource) === expected);
  }

  async admit(
    pod: Pod,
    signal: AbortSignal = new AbortController().signal,
    waiting: WaitingForDevices[] = [],
  ): Promise<AdmissionResult> {
    return this.admission.admit(pod, { signal, onWaiting: (info) => waiting.push(info) });
  }

  /** Admits a pod and answers the text it was refused with, or `admitted`. */
  async outcome(pod: Pod): Promise<string> {
    const result = await this.admit(pod);
    if (result.ok) return 'admitted';
    return /^Allocate failed due to (.*), which is unexpected$/s.exec(result.message)?.[1] ?? result.message;
  }

  /** Ids a container holds, sorted. */
  held(podUid: string, container: string, resource: string): string[] {
    const allocation = this.manager.ledger.allocation(podUid, container, resource);
    return allocation === undefined ? [] : [...new Set([...allocation.deviceIds.values()].flat())].sort();
  }

  async close(): Promise<void> {
    await this.#endpoints?.close();
    this.manager.stop();
    await Promise.all(this.#plugins.map((plugin) => plugin.close()));
    if (this.#ownsDir) rmSync(this.dir, { recursive: true, force: true });
  }
}

export type Limits = Readonly<Record<string, number | string>>;

/** A pod as admission sees it: limits of its app containers `c0`, `c1`, … and of its init containers `i0`, …; a sidecar is `{ sidecar: limits }`. */
export function pod(
  uid: string,
  app: readonly Limits[],
  init: readonly (Limits | { readonly sidecar: Limits })[] = [],
): Pod {
  const resources = (limits: Limits) => ({ resources: { limits: { ...limits } } });
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: uid, namespace: 'default', uid },
    spec: {
      initContainers: init.map((limits, index) => {
        const sidecar = (limits as { sidecar?: Limits }).sidecar;
        return sidecar === undefined
          ? { name: `i${String(index)}`, ...resources(limits as Limits) }
          : { name: `i${String(index)}`, restartPolicy: 'Always', ...resources(sidecar) };
      }),
      containers: app.map((limits, index) => ({ name: `c${String(index)}`, ...resources(limits) })),
    },
  };
}
