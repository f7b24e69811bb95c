import { resolve } from 'node:path';
import { DevmgrError, checkResourceName } from '@devmgr/core';
import { bindService, deviceplugin, pluginregistration } from '@devmgr/wire';
import type { RpcError, ServiceBinding } from '@devmgr/wire';
import { DeviceFeed } from './device-feed.ts';
import { checkSource, followSource } from './device-source.ts';
import { checkDevices } from './plugin-device.ts';
import type { DeviceInput } from './plugin-device.ts';
import { messageOf, silentLog } from './plugin-log.ts';
import type { PluginLog } from './plugin-log.ts';
import { PluginService } from './plugin-service.ts';
import { PluginSocket } from './plugin-socket.ts';
import { DEFAULT_TIMING } from './plugin-spec.ts';
import type { Plugin, PluginBehaviour, PluginPlacement, PluginState, PluginTiming } from './plugin-spec.ts';
import { API_VERSION } from './register-call.ts';
import { RegistrationKeeper } from './registration.ts';

const KUBELET_DIR = '/var/lib/kubelet';

/**
 * Serves a device plugin, for devmgr or a kubelet, until it is closed.
 *
 * The plugin registers once its first list of devices is known and its socket listens, and again whenever a manager
 * needs it: after a restart, after the end of the stream, after somebody deleted its socket or replaced the directory.
 * Several plugins can be served by one process.
 *
 * @throws DevmgrError PLUGIN_INVALID or PATH_TOO_LONG when the description cannot work. What goes wrong later shows in
 * `state`, `problem` and the log, and is tried again.
 */
export function servePlugin(options: PluginBehaviour & PluginPlacement): Plugin {
  return new ServedPlugin(options, options);
}

/** The implementation of {@link Plugin}; the simulated plugin reaches behind the interface. */
export class ServedPlugin implements Plugin {
  readonly resource: string;
  readonly registered: Promise<void>;
  readonly #feed = new DeviceFeed();
  readonly #service: PluginService;
  readonly #socket: PluginSocket;
  readonly #keeper: RegistrationKeeper;
  readonly #timing: PluginTiming;
  readonly #log: PluginLog;
  readonly #life = new AbortController();
  /** Why the last list of the source could not be had or used. */
  #sourceProblem: string | undefined;
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #settleRegistered: { resolve: () => void; reject: (error: Error) => void } | undefined;

  /** @param spoil what to make of the handlers before they are served; plugins for tests misbehave there */
  constructor(
    behaviour: PluginBehaviour,
    placement: PluginPlacement,
    spoil: (handlers: PluginService['handlers']) => PluginService['handlers'] = (handlers) => handlers,
  ) {
    const { resource, devices } = behaviour;
    checkBehaviour(behaviour);
    const way = placement.registration ?? 'register';
    const dir = resolve(
      placement.pluginDir ?? `${KUBELET_DIR}/${way === 'register' ? 'device-plugins' : 'plugins_registry'}`,
    );
    this.resource = resource;
    this.#log = placement.log ?? silentLog;
    this.#timing = { ...DEFAULT_TIMING, ...placement.timing };
    this.#service = new PluginService({
      behaviour,
      feed: this.#feed,
      log: this.#log,
      onStreamOpened: (stream) => {
        this.#keeper.streamOpened(stream);
      },
      onStreamEnded: (stream) => {
        this.#keeper.streamEnded(stream);
      },
    });
    const services = [bindService(deviceplugin.DevicePluginService, spoil(this.#service.handlers))];
    if (way === 'registry') services.push(this.#registryService());
    this.#socket = new PluginSocket({
      resource,
      dir,
      name: placement.socketName,
      mode: placement.mode,
      services,
      onFailure: (error) => {
        this.#log.warn({ resource, cause: messageOf(error) }, 'the socket failed, opening it again');
        this.#keeper.hint();
      },
    });
    this.#keeper = new RegistrationKeeper({
      resource,
      dir,
      way,
      socket: this.#socket,
      offered: () => this.#service.offered(),
      timing: this.#timing,
      log: this.#log,
      onRegistered: () => this.#settleRegistered?.resolve(),
    });
    this.registered = new Promise((resolve, reject) => {
      this.#settleRegistered = { resolve, reject };
    });
    this.registered.catch(() => undefined); // Nobody has to wait for it.
    // A list that cannot be sent is the author's mistake, told now and not in a log.
    if (isList(devices)) this.update(devices);
    else void this.#follow(behaviour);
    const { signal } = placement;
    if (signal !== undefined) this.#closeWith(signal);
  }

  get socketPath(): string {
    return this.#socket.path;
  }

  get state(): PluginState {
    return this.#keeper.state;
  }

  get problem(): string | undefined {
    return this.#sourceProblem ?? this.#keeper.problem;
  }

  get streams(): number {
    return this.#service.streams;
  }

  update(devices: readonly DeviceInput[]): void {
    const changed = this.#feed.replace(checkDevices(this.resource, devices));
    if (changed) this.#log.debug({ resource: this.resource, devices: devices.length }, 'devices changed');
    if (!this.#life.signal.aborted) this.#running ??= this.#keeper.run();
  }

  /** Ends the streams as a failing plugin would, and goes on. */
  endStreams(error?: RpcError): void {
    this.#service.endStreams(error);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#life.abort();
    this.#keeper.close();
    this.#service.endStreams();
    this.#settleRegistered?.reject(
      new DevmgrError('PLUGIN_FAILED', `${this.resource}: the plugin was closed before a manager accepted it`),
    );
    await this.#socket.close(this.#timing.closeGraceMs);
    await this.#running;
    await this.#socket.close(0); // The keeper may have been binding a new one.
    this.#log.debug({ resource: this.resource }, 'closed');
  }

  #follow({ devices }: PluginBehaviour): Promise<void> {
    return followSource(devices, {
      signal: this.#life.signal,
      onDevices: (list) => {
        this.update(list);
        this.#sourceProblem = undefined;
      },
      onError: (error) => {
        const cause = messageOf(error);
        if (cause === this.#sourceProblem) return; // Logged already.
        this.#sourceProblem = cause;
        this.#log.error({ resource: this.resource, cause }, 'listing devices failed');
      },
    });
  }

  #registryService(): ServiceBinding {
    return bindService(pluginregistration.RegistrationService, {
      getInfo: () => {
        this.#keeper.registryAsked();
        return { type: 'DevicePlugin', name: this.resource, endpoint: '', supportedVersions: [API_VERSION] };
      },
      notifyRegistrationStatus: ({ pluginRegistered, error }) => {
        this.#keeper.registryAnswered(pluginRegistered, error);
        return {};
      },
    });
  }

  #closeWith(signal: AbortSignal): void {
    const close = (): void => {
      this.close().catch((error: unknown) => {
        this.#log.error({ resource: this.resource, cause: messageOf(error) }, 'closing failed');
      });
    };
    if (signal.aborted) close();
    else {
      signal.addEventListener('abort', close, { once: true });
      this.#life.signal.addEventListener('abort', () => {
        signal.removeEventListener('abort', close);
      });
    }
  }
}

function checkBehaviour(behaviour: PluginBehaviour): void {
  const { resource } = behaviour;
  const name = checkResourceName(resource);
  if (!name.ok) {
    throw new DevmgrError('PLUGIN_INVALID', name.message, {
      remedy: 'A resource is called like "example.com/gpu": a domain, a slash, a name.',
    });
  }
  checkSource(resource, behaviour.devices);
  for (const method of ['allocate', 'preferredAllocation', 'preStart', 'intercept'] as const) {
    const value: unknown = Reflect.get(behaviour, method);
    if (value !== undefined && typeof value !== 'function') {
      throw new DevmgrError('PLUGIN_INVALID', `${resource}: ${method} is not a function`);
    }
  }
}

function isList(devices: PluginBehaviour['devices']): devices is readonly DeviceInput[] {
  return Array.isArray(devices);
}
