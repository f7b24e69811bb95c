import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DevmgrError } from '@devmgr/core';
import { startScriptedPlugin, type ScriptedPlugin, type ScriptedPluginOptions } from '@devmgr/plugin-sdk/testing';
import { RpcError, createClient, podresources, probeUnix } from '@devmgr/wire';
import { NotReady } from '../bench/bench-errors.ts';
import type { ManagerDescription } from '../report/report.ts';

const LOOK_EVERY_MS = 50;
/** Of what a manager does by itself; a kubelet looks into plugins_registry every second. */
const SOON_MS = 10_000;

/** Where a manager keeps what plugins and monitors meet. */
export interface ManagerDirectories {
  readonly pluginDir: string;
  /** plugins_registry, when there is one. */
  readonly registryDir: string | undefined;
  /** Socket of the PodResources API, when there is one. */
  readonly podResources: string | undefined;
}

/**
 * Finds the sockets of a manager: below `dir` when it is a root directory (`dir/device-plugins/kubelet.sock`), beside it when it is
 * the plugin directory itself (`dir/kubelet.sock`).
 *
 * @throws DevmgrError when no manager answers.
 */
export async function findManager(dir: string): Promise<ManagerDirectories> {
  const given = resolve(dir);
  const isRoot = existsSync(join(given, 'device-plugins', 'kubelet.sock'));
  const rootDir = isRoot ? given : dirname(given);
  const pluginDir = isRoot ? join(given, 'device-plugins') : given;
  const found = await probeUnix(join(pluginDir, 'kubelet.sock'), 5_000);
  if (found !== 'grpc') {
    throw new DevmgrError(
      'MANAGER_UNREACHABLE',
      `no manager answers on ${join(pluginDir, 'kubelet.sock')} (${found})`,
      {
        remedy:
          'Name the directory that holds device-plugins/kubelet.sock, or kubelet.sock itself, of a running manager.',
      },
    );
  }
  const registryDir = join(rootDir, 'plugins_registry');
  const podResources = join(rootDir, 'pod-resources', 'kubelet.sock');
  return {
    pluginDir,
    registryDir: existsSync(registryDir) ? registryDir : undefined,
    podResources: (await probeUnix(podResources, 5_000)) === 'grpc' ? podResources : undefined,
  };
}

export interface ManagerBenchOptions extends ManagerDirectories {
  /** The longest wait for anything the manager has to do. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Ids to NUMA nodes. */
export type AllocatableDevices = ReadonlyMap<string, readonly number[]>;

/**
 * Where a manager is tested: the suite is its plugins. What a check starts is gone when the next one begins; the names of
 * its resources are used once only.
 */
export class ManagerBench {
  readonly pluginDir: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly #options: ManagerBenchOptions;
  readonly #run = randomBytes(3).toString('hex');
  readonly #plugins: ScriptedPlugin[] = [];
  #names = 0;

  constructor(options: ManagerBenchOptions) {
    this.pluginDir = options.pluginDir;
    this.timeoutMs = Math.min(options.timeoutMs, SOON_MS);
    this.signal = options.signal;
    this.#options = options;
  }

  get kubeletSocket(): string {
    return join(this.pluginDir, 'kubelet.sock');
  }

  /** For reports. */
  describe(): ManagerDescription {
    const { registryDir, podResources } = this.#options;
    return { socket: this.kubeletSocket, registry: registryDir ?? null, podResources: podResources ?? null };
  }

  /** plugins_registry. Throws NotReady when the manager has none. */
  get registryDir(): string {
    const { registryDir } = this.#options;
    if (registryDir === undefined) throw new NotReady('the manager has no plugins_registry directory');
    return registryDir;
  }

  /** Whether the manager's view can be read. */
  get hasView(): boolean {
    return this.#options.podResources !== undefined;
  }

  /** A resource name that was never used before. */
  resource(): string {
    this.#names += 1;
    return `conformance.devmgr.io/r${String(this.#names)}-${this.#run}`;
  }

  /** A serving plugin that has not registered. Its socket is in the plugin directory unless told otherwise. */
  async plugin(options: Partial<ScriptedPluginOptions> = {}): Promise<ScriptedPlugin> {
    const resource = options.resource ?? this.resource();
    const endpoint = options.endpoint ?? this.endpoint();
    const plugin = await startScriptedPlugin({
      pluginDir: this.pluginDir,
      devices: ['d0', 'd1'],
      ...options,
      resource,
      endpoint,
    });
    this.#plugins.push(plugin);
    return plugin;
  }

  /** The name of a socket that was never used before. */
  endpoint(): string {
    this.#names += 1;
    return `dmc-${this.#run}-${String(this.#names)}.sock`;
  }

  /** A plugin that has registered and whose list is being watched. Rejects with an RpcError, or NotReady. */
  async registered(options: Partial<ScriptedPluginOptions> = {}): Promise<ScriptedPlugin> {
    const plugin = await this.plugin(options);
    await plugin.register();
    if (!(await this.until(() => plugin.streams > 0))) throw new NotReady('no ListAndWatch came after Register');
    return plugin;
  }

  /** Healthy devices of a resource, as the manager tells monitors. Rejects with NotReady when it tells nobody. */
  async allocatable(resource: string): Promise<AllocatableDevices> {
    const { allocatable } = await this.#view((client) =>
      client.getAllocatableResources({}, { timeoutMs: 5_000 }).then(({ devices }) => ({ allocatable: devices })),
    );
    const devices = new Map<string, number[]>();
    for (const { resourceName, deviceIds, topology } of allocatable) {
      if (resourceName !== resource) continue;
      for (const id of deviceIds) {
        const nodes = topology?.nodes.map(({ ID }) => Number(ID)) ?? [];
        devices.set(
          id,
          [...(devices.get(id) ?? []), ...nodes].sort((a, b) => a - b),
        );
      }
    }
    return devices;
  }

  /** What containers hold, as the manager tells monitors. Rejects with NotReady when it tells nobody. */
  async held(): Promise<readonly podresources.ContainerDevices[]> {
    const { podResources } = await this.#view((client) => client.list({}, { timeoutMs: 5_000 }));
    return podResources.flatMap(({ containers }) => containers.flatMap(({ devices }) => devices));
  }

  /** True once the manager's view of a resource is these ids; false when it is not in time. */
  async sees(resource: string, ids: readonly string[], timeoutMs = this.timeoutMs): Promise<boolean> {
    const wanted = [...ids].sort().join(' ');
    return this.until(
      async () => [...(await this.allocatable(resource)).keys()].sort().join(' ') === wanted,
      timeoutMs,
    );
  }

  /** True once the condition holds; false when it does not within the limit. */
  async until(condition: () => boolean | Promise<boolean>, timeoutMs = this.timeoutMs): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (await condition()) return true;
      if (performance.now() > deadline) return false;
      await this.pause(LOOK_EVERY_MS);
    }
  }

  async pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.signal });
  }

  /** Ends all plugins of a check. */
  async clear(): Promise<void> {
    await Promise.all(this.#plugins.splice(0).map((plugin) => plugin.close()));
  }

  async #view<T>(read: (client: ReturnType<typeof podResourcesClient>) => Promise<T>): Promise<T> {
    const { podResources } = this.#options;
    if (podResources === undefined) {
      throw new NotReady("the manager's view is hidden: nobody answers on pod-resources/kubelet.sock");
    }
    const client = podResourcesClient(podResources);
    try {
      return await read(client);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      throw new NotReady(`PodResources cannot be read: ${error.message}`, { cause: error });
    } finally {
      client.close();
    }
  }
}

function podResourcesClient(path: string) {
  return createClient(podresources.PodResourcesListerService, path);
}
