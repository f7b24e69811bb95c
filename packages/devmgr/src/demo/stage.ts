import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiClient, loadConfig, startDaemon, type ApiClient, type Daemon, type Logger } from '@devmgr/manager';
import { hostDevicePlugin, parseSimulation, simulate, type Plugin, type SimulatedPlugin } from '@devmgr/plugin-sdk';
import { apiSocketPath, MAX_SOCKET_PATH_BYTES } from '../root-dir.ts';
import { exampleFile } from './example-files.ts';

/** Device nodes that every machine has, and what the demo offers them as. */
export const HOST_RESOURCE = 'devmgr.io/host';
export const HOST_DEVICES = ['/dev/null', '/dev/zero', '/dev/full', '/dev/random'];
export const GPU_RESOURCE = 'example.com/gpu';
export const FPGA_RESOURCE = 'example.com/fpga';

/** Room for the longest socket a plugin makes below the root directory. */
const ROOM_FOR_SOCKETS_BYTES = 60;

/**
 * Everything the demo runs: a manager and plugins, all in this process, in one directory.
 *
 * Invariant: after `close` nothing of it is left: no process, no socket, and no directory when it made one itself.
 */
export class Stage {
  readonly rootDir: string;
  readonly api: ApiClient;
  readonly #daemon: Daemon;
  readonly #ownsRootDir: boolean;
  readonly #plugins: (Plugin | SimulatedPlugin)[] = [];

  private constructor(rootDir: string, ownsRootDir: boolean, daemon: Daemon) {
    this.rootDir = rootDir;
    this.#ownsRootDir = ownsRootDir;
    this.#daemon = daemon;
    this.api = createApiClient(apiSocketPath(rootDir));
  }

  /** Starts a manager, in a fresh directory unless one is given. */
  static async open(rootDir: string | undefined): Promise<Stage> {
    const directory = rootDir ?? (await freshDirectory());
    try {
      const flags = { nodeName: 'demo', resources: { [FPGA_RESOURCE]: { expected: true } } };
      const daemon = await startDaemon(loadConfig({ rootDir: directory, flags }), { log: SILENT_LOG });
      return new Stage(directory, rootDir === undefined, daemon);
    } catch (error) {
      if (rootDir === undefined) await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** The plugin behind `devmgr plugin host`. */
  hostDevices(): void {
    this.#plugins.push(
      hostDevicePlugin({ resource: HOST_RESOURCE, devices: HOST_DEVICES, pluginDir: this.#pluginDir }),
    );
  }

  /** The plugins behind `devmgr simulate -f`. */
  async simulate(example: string): Promise<readonly SimulatedPlugin[]> {
    const path = exampleFile(example);
    const plugins = simulate(parseSimulation(await readFile(path, 'utf8'), path), { pluginDir: this.#pluginDir });
    this.#plugins.push(...plugins);
    return plugins;
  }

  /** Ends everything; may be called at any moment, once. */
  async close(): Promise<void> {
    // The manager first: its containers end while their devices are still there.
    await this.#daemon.stop();
    await Promise.allSettled(this.#plugins.map((plugin) => plugin.close()));
    if (this.#ownsRootDir) await rm(this.rootDir, { recursive: true, force: true, maxRetries: 5 });
  }

  get #pluginDir(): string {
    return join(this.rootDir, 'device-plugins');
  }
}

/** Short, because socket paths are: TMPDIR may be deep (macOS, CI), /tmp never is. */
async function freshDirectory(): Promise<string> {
  const name = 'devmgr-XXXXXX';
  const fits = Buffer.byteLength(join(tmpdir(), name)) + ROOM_FOR_SOCKETS_BYTES <= MAX_SOCKET_PATH_BYTES;
  return mkdtemp(join(fits ? tmpdir() : '/tmp', 'devmgr-'));
}

/** The demo tells its own story; what the manager would log is in its events. */
const SILENT_LOG: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT_LOG,
};
