import { link, lstat, mkdir, readdir, rename, rm, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { checkResourceName, goQuote } from '@devmgr/core';
import { bindService, createClient, deviceplugin, listenUnix, pluginregistration, probeUnix } from '@devmgr/wire';
import type { CallContext, UnixProbe, UnixServer } from '@devmgr/wire';
import { DIAL_LIMIT_MS, dialPlugin, type PluginSession } from './plugin-session.ts';
import { RegistryWatch } from './registry-watch.ts';
import type { Traffic } from './traffic.ts';

const API_VERSION = 'v1beta1';

/** One call of Register, or one socket found in plugins_registry. */
export interface Registration {
  readonly atMs: number;
  /** Which manager in a row took it, from 1. */
  readonly manager: number;
  readonly way: 'register' | 'registry';
  readonly version: string;
  readonly resource: string;
  readonly endpoint: string;
  readonly socketPath: string;
  /** As sent with Register; undefined when left out. */
  readonly options: deviceplugin.DevicePluginOptions | undefined;
  /** The `:authority` of the call, undecoded; undefined when there was none. */
  readonly authority: string | undefined;
  /** The client's own limit on the call. */
  readonly timeLimitMs: number | undefined;
  /** What was found behind the endpoint when the call arrived. */
  probe?: UnixProbe;
  /** Why it was refused; undefined while under way and when accepted. */
  refused?: string;
  /** It was refused for what it says: version or resource name. */
  malformed?: boolean;
  session?: PluginSession;
}

export interface TestManagerOptions {
  readonly pluginDir: string;
  /** Where to look for sockets of plugins that do not call Register; undefined to look nowhere. */
  readonly registryDir: string | undefined;
  /** Where we find what a plugin calls by this absolute path: it may live in a view of its own. */
  readonly toOurPath: (path: string) => string;
  readonly timeoutMs: number;
  readonly traffic: Traffic;
}

/**
 * The suite's own device manager: takes registrations as a kubelet does, dials back, holds ListAndWatch, and keeps a
 * record of everything. It can end and come back in every way a manager can.
 */
export class TestManager {
  readonly pluginDir: string;
  /** Every registration of every manager of this bench, oldest first. */
  readonly registrations: Registration[] = [];
  /** Set to refuse what registers with this text. */
  refuse: string | undefined;
  readonly #options: TestManagerOptions;
  readonly #registry: RegistryWatch | undefined;
  #server: UnixServer | undefined;
  #incarnation = 0;

  constructor(options: TestManagerOptions) {
    this.pluginDir = options.pluginDir;
    this.#options = options;
    this.#registry =
      options.registryDir === undefined
        ? undefined
        : new RegistryWatch(options.registryDir, (path) => this.#adopt(path));
  }

  get listening(): boolean {
    return this.#server !== undefined;
  }

  /** How many managers there were, the present one included. */
  get incarnation(): number {
    return this.#incarnation;
  }

  get #socketPath(): string {
    return join(this.pluginDir, 'kubelet.sock');
  }

  /** Registrations that the present manager took. */
  get current(): readonly Registration[] {
    return this.registrations.filter(({ manager }) => manager === this.#incarnation);
  }

  /** The newest session of each resource that the present manager has a list of. */
  sessions(): readonly PluginSession[] {
    const newest = new Map<string, PluginSession>();
    for (const { session } of this.current) {
      if (session?.stream.latest !== undefined) newest.set(session.resource, session);
    }
    return [...newest.values()];
  }

  /** Starts a manager. Unless told otherwise all sockets of the directory are deleted first, as the kubelet does. */
  async listen({ clean = true } = {}): Promise<void> {
    await mkdir(this.pluginDir, { recursive: true });
    if (clean) await this.removeSockets();
    this.#incarnation += 1;
    this.#options.traffic.recorder?.note({ kind: 'manager', event: 'start', clean });
    await this.#bind();
    this.#registry?.start();
  }

  /** Deletes every socket in the plugin directory and nothing else. (kubelet: start of the device plugin server) */
  async removeSockets(): Promise<void> {
    await removeSockets(this.pluginDir);
  }

  /** Deletes what an instance that was killed has left in plugins_registry, where no manager cleans up. */
  async removeRegistrySockets(): Promise<void> {
    if (this.#options.registryDir !== undefined) await removeSockets(this.#options.registryDir);
  }

  /**
   * Makes kubelet.sock anew while everything else goes on: streams live, no other file is touched. The new manager finds
   * what is in plugins_registry by itself, as every manager does.
   */
  async recreateSocket(): Promise<void> {
    await this.#registry?.stop();
    await rm(this.#socketPath, { force: true });
    await this.#server?.close(0);
    this.#incarnation += 1;
    this.#options.traffic.recorder?.note({ kind: 'manager', event: 'socket-anew' });
    await this.#bind();
    this.#registry?.start();
  }

  /** Ends the manager: streams and connections cut, kubelet.sock gone or, with `leaveSocket`, left behind dead as by a kill. */
  async close({ leaveSocket = false } = {}): Promise<void> {
    await this.#registry?.stop();
    for (const { session } of this.registrations) session?.close();
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    this.#options.traffic.recorder?.note({ kind: 'manager', event: 'end', leavesSocket: leaveSocket });
    if (!leaveSocket) await rm(this.#socketPath, { force: true });
    await server.close(0);
  }

  /** Replaces the plugin directory by an empty one of the same name. The manager must be closed. */
  async replaceDirectory(): Promise<void> {
    this.#options.traffic.recorder?.note({ kind: 'manager', event: 'directory-replaced' });
    const aside = `${this.pluginDir}.old`;
    await rename(this.pluginDir, aside);
    await mkdir(this.pluginDir);
    await rm(aside, { recursive: true, force: true });
  }

  /**
   * Listens on a hidden name, gives that socket the name kubelet.sock, and takes the hidden one away. To watchers of the
   * directory that is what a kubelet does: the file is created, not moved there; and as the server does not know its
   * name, a killed manager leaves it behind untouched. (Plugins take whatever happens to that file for a start.)
   */
  async #bind(): Promise<void> {
    const channel = this.#options.traffic.channel('register');
    const service = this.#options.traffic.noting(deviceplugin.RegistrationService, channel, 'manager');
    const registration = bindService(service, {
      register: async (request: deviceplugin.RegisterRequest, context: CallContext) => {
        const { recorder } = this.#options.traffic;
        const answer = async (): Promise<deviceplugin.Empty> => {
          await this.#register(request, context);
          return {};
        };
        if (recorder === undefined) return answer();
        const at = { connection: channel, socketPath: 'kubelet.sock' };
        return recorder.served(service.register, at, request, context, answer);
      },
    });
    this.#server = await listenUnix({
      path: join(this.pluginDir, `.test-${String(this.#incarnation)}`),
      services: [registration],
      keepSentAuthority: true,
    });
    await rm(this.#socketPath, { force: true });
    await link(this.#server.path, this.#socketPath);
    await unlink(this.#server.path);
  }

  async #register(request: deviceplugin.RegisterRequest, context: CallContext): Promise<void> {
    await this.#take({
      atMs: this.#options.traffic.nowMs(),
      manager: this.#incarnation,
      way: 'register',
      version: request.version,
      resource: request.resourceName,
      endpoint: request.endpoint,
      socketPath: join(this.pluginDir, request.endpoint),
      options: request.options,
      authority: context.sentAuthority,
      timeLimitMs: context.timeLimitMs,
    });
  }

  /** What a kubelet does with a registration, in its order and with its texts. */
  async #take(registration: Registration): Promise<void> {
    this.registrations.push(registration);
    const { manager } = registration;
    // What lies there right now; a socket that is slow to speak is given as long as the dial below.
    const probing = probeUnix(registration.socketPath, DIAL_LIMIT_MS).then((probe) => {
      registration.probe = probe;
    });
    try {
      if (this.refuse !== undefined) throw new Error(this.refuse);
      const problem = problemOf(registration);
      if (problem !== undefined) {
        await probing; // whoever waits for the plugin stops once it is known to be malformed
        registration.malformed = true;
        throw new Error(problem);
      }
      const session = await dialPlugin({ ...registration, ...this.#options });
      await probing;
      if (manager === this.#incarnation && this.listening) registration.session = session;
      else session.close();
    } catch (error) {
      registration.refused = error instanceof Error ? error.message : String(error);
      throw error;
    }
  }

  /** What the kubelet's plugin watcher does with a socket it found. */
  async #adopt(path: string): Promise<void> {
    if ((await probeUnix(path, DIAL_LIMIT_MS)) !== 'grpc') throw new Error(`nobody serves ${path}`);
    const channel = this.#options.traffic.channel('registry');
    const service = this.#options.traffic.noting(pluginregistration.RegistrationService, channel, 'plugin');
    const plain = createClient(service, path);
    const client =
      this.#options.traffic.recorder?.client(service, plain, { connection: channel, socketPath: path }) ?? plain;
    try {
      await client.waitForReady(10_000);
      const info = await client.getInfo({}, { timeoutMs: 5_000 });
      if (info.type !== 'DevicePlugin') return;
      const outcome = await this.#take({
        atMs: this.#options.traffic.nowMs(),
        manager: this.#incarnation,
        way: 'registry',
        version: info.supportedVersions.includes(API_VERSION) ? API_VERSION : info.supportedVersions.join(' '),
        resource: info.name,
        endpoint: info.endpoint,
        socketPath: info.endpoint === '' ? path : this.#options.toOurPath(resolve('/', info.endpoint)),
        options: undefined,
        authority: undefined,
        timeLimitMs: undefined,
      }).then(
        () => '',
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      await client.notifyRegistrationStatus({ pluginRegistered: outcome === '', error: outcome }, { timeoutMs: 5_000 });
    } finally {
      client.close();
    }
  }
}

/** Deletes every socket of a directory and nothing else; a missing directory has none. */
async function removeSockets(dir: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    const path = join(dir, name);
    if ((await lstat(path).catch(() => undefined))?.isSocket() === true) await unlink(path).catch(() => undefined);
  }
}

/** Why a kubelet refuses a registration before it dials, in its words; undefined when it does not. (kubelet: device plugin registration) */
function problemOf({ version, resource }: Registration): string | undefined {
  if (version !== API_VERSION) {
    const asked = `requested API version ${goQuote(version)} is not supported by kubelet.`;
    return `${asked} Supported version is ["${API_VERSION}"]`;
  }
  const name = checkResourceName(resource);
  return name.ok ? undefined : name.message;
}
