import { mkdir, readdir, lstat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bindService, createClient, deviceplugin, lifecycle, listenUnix, pluginregistration } from '@devmgr/wire';
import type { UnixServer } from '@devmgr/wire';
import { openSession } from './fake-session.ts';
import type { FakeSession } from './fake-session.ts';
import { leavingSocketFile } from '../socket-file.ts';
import { until } from './until.ts';

export interface FakeManagerOptions {
  /** Directory of `kubelet.sock`; made if missing. */
  readonly pluginDir: string;
  /** Delete all sockets in the directory before listening, as the kubelet does. Default: true. */
  readonly clean?: boolean | undefined;
  /** Called for each Register before the plugin is dialled; throwing refuses it with that message. */
  readonly onRegister?: ((request: deviceplugin.RegisterRequest) => void | Promise<void>) | undefined;
  /** Dial the plugin back and hold ListAndWatch. Default: true. */
  readonly dialBack?: boolean | undefined;
  /** Take reports of plugins, as devmgr does and a kubelet does not. Default: false. */
  readonly takeReports?: boolean | undefined;
}

/** A manager for tests of plugins: it serves Registration on a real socket, dials back, and remembers everything. */
export interface FakeManager {
  readonly socketPath: string;
  /** Every Register request, refused ones among them. */
  readonly registrations: readonly deviceplugin.RegisterRequest[];
  /** Every report, oldest first. */
  readonly reports: readonly lifecycle.PluginReport[];
  /** Every session, ended ones among them, oldest first. */
  readonly sessions: readonly FakeSession[];
  /** The newest living session of a resource that has sent a list, waited for. */
  session(resource: string, timeoutMs?: number): Promise<FakeSession>;
  /** Does what the plugin watcher does with a socket in plugins_registry: GetInfo, dial, NotifyRegistrationStatus. */
  adopt(socketPath: string, verdict?: { refuse: string }): Promise<pluginregistration.PluginInfo>;
  /** Ends as a killed process does: connections cut, the socket file left behind. */
  crash(): Promise<void>;
  /** Ends and unlinks the socket. */
  close(): Promise<void>;
}

/** Starts a {@link FakeManager}; several may follow one another on one directory. */
export async function startFakeManager(options: FakeManagerOptions): Promise<FakeManager> {
  await mkdir(options.pluginDir, { recursive: true });
  if (options.clean ?? true) await removeSockets(options.pluginDir);
  const manager = new ListeningManager(options);
  await manager.listen();
  return manager;
}

class ListeningManager implements FakeManager {
  readonly socketPath: string;
  readonly registrations: deviceplugin.RegisterRequest[] = [];
  readonly reports: lifecycle.PluginReport[] = [];
  readonly sessions: FakeSession[] = [];
  readonly #options: FakeManagerOptions;
  readonly #life = new AbortController();
  #server: UnixServer | undefined;

  constructor(options: FakeManagerOptions) {
    this.#options = options;
    this.socketPath = join(options.pluginDir, 'kubelet.sock');
  }

  async listen(): Promise<void> {
    const registration = bindService(deviceplugin.RegistrationService, {
      register: async (request) => {
        this.registrations.push(request);
        await this.#options.onRegister?.(request);
        if (this.#options.dialBack ?? true) {
          await this.#dial(request.resourceName, join(this.#options.pluginDir, request.endpoint));
        }
        return {};
      },
    });
    const reports = bindService(lifecycle.PluginReportsService, {
      report: (report) => {
        this.reports.push(report);
        return {};
      },
    });
    const services = this.#options.takeReports === true ? [registration, reports] : [registration];
    this.#server = await listenUnix({ path: this.socketPath, services });
  }

  async session(resource: string, timeoutMs?: number): Promise<FakeSession> {
    return until(
      `a session of ${resource} with a list`,
      () => this.sessions.findLast((one) => one.resource === resource && one.live && one.lists.length > 0),
      timeoutMs,
    );
  }

  async adopt(socketPath: string, verdict?: { refuse: string }): Promise<pluginregistration.PluginInfo> {
    const client = createClient(pluginregistration.RegistrationService, socketPath);
    try {
      const info = await client.getInfo({}, { timeoutMs: 10_000 });
      if (verdict === undefined) await this.#dial(info.name, info.endpoint === '' ? socketPath : info.endpoint);
      const status = { pluginRegistered: verdict === undefined, error: verdict?.refuse ?? '' };
      await client.notifyRegistrationStatus(status, { timeoutMs: 10_000 });
      return info;
    } finally {
      client.close();
    }
  }

  async crash(): Promise<void> {
    await leavingSocketFile(this.socketPath, () => this.close());
  }

  async close(): Promise<void> {
    this.#life.abort();
    for (const session of this.sessions) session.close();
    const server = this.#server;
    this.#server = undefined;
    await server?.close(0);
  }

  async #dial(resource: string, socketPath: string): Promise<void> {
    const session = await openSession(resource, socketPath, this.#life.signal);
    if (this.#life.signal.aborted) session.close();
    this.sessions.push(session);
  }
}

/** Deletes every socket of a directory and nothing else. (kubelet: device plugin server, clean-up at start) */
export async function removeSockets(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const path = join(dir, name);
    const found = await lstat(path).catch(() => undefined);
    if (found?.isSocket() === true) await unlink(path).catch(() => undefined);
  }
}
