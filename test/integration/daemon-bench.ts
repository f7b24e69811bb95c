import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pod } from '@devmgr/core';
import { createApiClient, loadConfig, startDaemon, type ApiClient, type Daemon, type Logger } from '@devmgr/manager';
import {
  startScriptedPlugin,
  until,
  type ScriptedPlugin,
  type ScriptedPluginOptions,
} from '@devmgr/plugin-sdk/testing';

const silent: Logger = { debug: noop, info: noop, warn: noop, error: noop, child: () => silent };
function noop(): void {
  // a test that fails tells enough
}

/** The whole daemon in this process, with real plugins and real containers, in a directory of its own. */
export class DaemonBench {
  readonly rootDir = mkdtempSync(join(tmpdir(), 'dm-'));
  readonly pluginDir = join(this.rootDir, 'device-plugins');
  readonly podResourcesSocket = join(this.rootDir, 'pod-resources', 'kubelet.sock');
  readonly api: ApiClient = createApiClient(join(this.rootDir, 'devmgr', 'api.sock'));
  #daemon: Daemon | undefined;
  readonly #flags: Readonly<Record<string, unknown>>;
  readonly #plugins: ScriptedPlugin[] = [];

  constructor(flags: Readonly<Record<string, unknown>>) {
    this.#flags = flags;
  }

  static async start(flags: Readonly<Record<string, unknown>> = {}): Promise<DaemonBench> {
    const bench = new DaemonBench(flags);
    try {
      await bench.start();
    } catch (error) {
      await bench.close();
      throw error;
    }
    return bench;
  }

  /** Stops the daemon, its containers left running, and starts another on the same directory. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Stops the daemon; its containers go on unless told otherwise. */
  async stop(options: { keepRunning: boolean } = { keepRunning: true }): Promise<void> {
    await this.#daemon?.stop(options);
  }

  /** Starts a daemon on the directory again; with another `bootId` the machine was rebooted meanwhile. */
  async start(bootId?: string): Promise<void> {
    const flags = { nodeName: 'bench', ...this.#flags };
    const config = loadConfig({ rootDir: this.rootDir, flags });
    this.#daemon = await startDaemon(config, { log: silent, ...(bootId === undefined ? {} : { bootId }) });
  }

  /** `http://HOST:PORT` of the read-only listener; the flag `listen` makes one. */
  get address(): string {
    return this.#daemon?.sockets.listen ?? '';
  }

  /** A scripted plugin, registered; resolves once the node shows all its devices. */
  async plugin(
    resource: string,
    devices: NonNullable<ScriptedPluginOptions['devices']>,
    more: Partial<ScriptedPluginOptions> = {},
  ): Promise<ScriptedPlugin> {
    const plugin = await startScriptedPlugin({ pluginDir: this.pluginDir, resource, devices, ...more });
    this.#plugins.push(plugin);
    await plugin.register();
    await until(`${resource} to be listed`, async () =>
      (await this.api.resources()).some(({ name, capacity }) => name === resource && capacity === devices.length),
    );
    return plugin;
  }

  /** Creates a pod of the default namespace; its containers sleep unless they have a command, and end at once when told to. */
  async pod(name: string, spec: Partial<Pod['spec']>): Promise<Pod> {
    const sleeping = (containers: Pod['spec']['containers'] = []): Pod['spec']['containers'] =>
      containers.map((container) => ({ command: ['sleep', '1000'], ...container }));
    return this.api.createPod('default', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        terminationGracePeriodSeconds: 0,
        ...spec,
        ...(spec.initContainers === undefined ? {} : { initContainers: sleeping(spec.initContainers) }),
        containers: sleeping(spec.containers),
      },
    });
  }

  /** Waits until the pod is as `accept` wants it. */
  async podWhere(name: string, what: string, accept: (pod: Pod) => boolean): Promise<Pod> {
    let last: Pod | undefined;
    try {
      return await until(what, async () => {
        last = await this.api.getPod('default', name);
        return accept(last) ? last : undefined;
      });
    } catch (error) {
      throw new Error(`${String(error)}; the pod is ${JSON.stringify(last?.status)}`, { cause: error });
    }
  }

  async phase(name: string, phase: NonNullable<Pod['status']>['phase']): Promise<Pod> {
    return this.podWhere(name, `${name} to be ${phase}`, ({ status }) => status?.phase === phase);
  }

  async remove(name: string): Promise<void> {
    await this.api.deletePod('default', name, { gracePeriodSeconds: 0 });
    await until(`${name} to be gone`, async () => {
      const { items } = await this.api.listPods('default');
      return items.every(({ metadata }) => metadata.name !== name);
    });
  }

  async close(): Promise<void> {
    await this.#daemon?.stop();
    await Promise.all(this.#plugins.map((plugin) => plugin.close()));
    rmSync(this.rootDir, { recursive: true, force: true, maxRetries: 5 });
  }
}
