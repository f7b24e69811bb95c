import { basename, join, resolve } from 'node:path';
import { DevmgrError, HEALTHY, checkResourceName } from '@devmgr/core';
import type { Device } from '@devmgr/core';
import { bindService, deviceplugin, pluginregistration } from '@devmgr/wire';
import type { RpcError, ServiceBinding, lifecycle } from '@devmgr/wire';
import { DeviceFeed } from './device-feed.ts';
import { checkSource, followSource } from './device-source.ts';
import { livingBehaviour } from './lifecycle/living-behaviour.ts';
import type { DeviceStatus, DriverStatus, HealthVerdict } from './lifecycle/lifecycle-spec.ts';
import { PluginLife } from './lifecycle/plugin-life.ts';
import { pluginReport } from './lifecycle/plugin-report.ts';
import { PluginReporter } from './lifecycle/plugin-reporter.ts';
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

/** Since when devices are what they are, where nobody keeps account. */
const STARTED = new Date();
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
  readonly #reporter: PluginReporter;
  readonly #living: PluginLife | undefined;
  readonly #timing: PluginTiming;
  readonly #log: PluginLog;
  readonly #life = new AbortController();
  /** Devices may be taken in: whatever has to be there before them is. */
  #isPrepared: boolean;
  /** The newest list of the source, not taken in yet. */
  #early: readonly Device[] | undefined;
  /** Why the last list of the source could not be had or used. */
  #sourceProblem: string | undefined;
  #rescan: (() => void) | undefined;
  #running: Promise<void> | undefined;
  readonly #reporting: Promise<void>;
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
    const managerSocket = join(way === 'register' ? dir : resolve(dir, '..', 'device-plugins'), 'kubelet.sock');
    this.resource = resource;
    this.#log = placement.log ?? silentLog;
    this.#timing = { ...DEFAULT_TIMING, ...placement.timing };
    this.#living =
      behaviour.lifecycle === undefined
        ? undefined
        : new PluginLife({
            resource,
            hooks: behaviour.lifecycle,
            pluginDir: dir,
            managerSocket,
            log: this.#log,
            manager: () => this.#reporter.manager,
            publish: (list) => {
              this.#publish(list);
            },
            onChange: () => {
              this.#reporter.changed();
            },
          });
    this.#isPrepared = this.#living === undefined;
    this.#service = new PluginService({
      behaviour: this.#living === undefined ? behaviour : livingBehaviour(behaviour, this.#living),
      feed: this.#feed,
      log: this.#log,
      releaseRequired: this.#living?.releaseRequired,
      onStreamOpened: (stream) => {
        this.#keeper.streamOpened(stream);
      },
      onStreamEnded: (stream) => {
        this.#keeper.streamEnded(stream);
      },
    });
    const services = [bindService(deviceplugin.DevicePluginService, spoil(this.#service.handlers))];
    if (way === 'registry') services.push(this.#registryService());
    if (this.#living?.releaseRequired === true) services.push(this.#living.service());
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
    this.#reporter = new PluginReporter({ managerSocket, signal: this.#life.signal, report: () => this.#report() });
    // A list that cannot be sent is the author's mistake, told now and not in a log.
    if (isList(devices)) this.update(devices);
    void this.#begin(behaviour);
    this.#reporting = this.#reporter.run();
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
    return this.#living?.problem ?? this.#sourceProblem ?? this.#keeper.problem;
  }

  get streams(): number {
    return this.#service.streams;
  }

  get devices(): readonly DeviceStatus[] {
    return this.#living?.devices ?? (this.#feed.current ?? []).map(listedStatus);
  }

  get driver(): DriverStatus | undefined {
    return this.#living?.driver;
  }

  update(devices: readonly DeviceInput[]): void {
    const checked = checkDevices(this.resource, devices);
    if (!this.#isPrepared) this.#early = checked;
    else if (this.#living === undefined) this.#publish(checked);
    else this.#living.found(checked);
  }

  rescan(): void {
    this.#rescan?.();
  }

  reportHealth(deviceId: string, verdict: HealthVerdict): void {
    this.#mustLive().report(deviceId, verdict);
  }

  recover(deviceId?: string): void {
    this.#mustLive().recover(deviceId);
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
    this.#living?.close();
    this.#keeper.close();
    this.#service.endStreams();
    this.#settleRegistered?.reject(
      new DevmgrError('PLUGIN_FAILED', `${this.resource}: the plugin was closed before a manager accepted it`),
    );
    await this.#socket.close(this.#timing.closeGraceMs);
    await this.#running;
    await this.#socket.close(0); // The keeper may have been binding a new one.
    await this.#reporting;
    this.#log.debug({ resource: this.resource }, 'closed');
  }

  /** Prepares what has to be there first, then follows the source. */
  async #begin(behaviour: PluginBehaviour): Promise<void> {
    await this.#living?.prepare();
    if (this.#life.signal.aborted) return;
    this.#isPrepared = true;
    this.#reporter.changed();
    const early = this.#early;
    this.#early = undefined;
    if (early !== undefined) this.#living?.found(early);
    if (!isList(behaviour.devices)) await this.#follow(behaviour);
  }

  /** Gives managers the list, and begins to look for one. */
  #publish(devices: readonly Device[]): void {
    const changed = this.#feed.replace(devices);
    if (changed) this.#log.debug({ resource: this.resource, devices: devices.length }, 'devices changed');
    if (this.#life.signal.aborted || this.#running !== undefined) return;
    this.#running = this.#keeper.run();
    this.#reporter.changed();
  }

  #follow({ devices }: PluginBehaviour): Promise<void> {
    return followSource(devices, {
      signal: this.#life.signal,
      onScanning: (rescan) => {
        this.#rescan = rescan;
      },
      onDevices: (list) => {
        this.update(list);
        if (this.#sourceProblem === undefined) return;
        this.#sourceProblem = undefined;
        this.#reporter.changed();
      },
      onError: (error) => {
        const cause = messageOf(error);
        if (cause === this.#sourceProblem) return; // Logged already.
        this.#sourceProblem = cause;
        this.#reporter.changed();
        this.#log.error({ resource: this.resource, cause }, 'listing devices failed');
      },
    });
  }

  #report(): lifecycle.PluginReport {
    return pluginReport({
      resource: this.resource,
      endpoint: basename(this.socketPath),
      state: this.state,
      driver: this.driver,
      hasListed: this.#feed.current !== undefined,
      problem: this.problem,
      sourceProblem: this.#sourceProblem,
      devices: this.#living?.devices ?? [],
    });
  }

  #mustLive(): PluginLife {
    if (this.#living !== undefined) return this.#living;
    throw new DevmgrError('PLUGIN_INVALID', `${this.resource}: the plugin was given no lifecycle`);
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

/** What is to be said about a device whose life is its source's own business. */
function listedStatus({ id, health }: Device): DeviceStatus {
  const status = { id, since: STARTED, progress: undefined };
  if (health === HEALTHY) return { ...status, phase: 'Ready', reason: '', message: '' };
  return { ...status, phase: 'Failing', reason: 'ListedUnhealthy', message: `its source lists it as ${health}` };
}
