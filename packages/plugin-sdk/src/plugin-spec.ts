import type { ResponsePiece } from './container-response.ts';
import type { DeviceSource } from './device-source.ts';
import type { DeviceStatus, DriverStatus, HealthVerdict, PluginLifecycle } from './lifecycle/lifecycle-spec.ts';
import type { DeviceInput } from './plugin-device.ts';
import type { PluginLog } from './plugin-log.ts';

/** What one call was given besides its arguments. */
export interface CallInfo {
  /** Aborts when the manager gave up on the call or the plugin closes. */
  readonly signal: AbortSignal;
}

export type PluginMethod = 'GetDevicePluginOptions' | 'Allocate' | 'GetPreferredAllocation' | 'PreStartContainer';

export interface PreferenceRequest {
  /** Free, healthy devices, those that must be included among them. */
  readonly available: readonly string[];
  readonly mustInclude: readonly string[];
  /** How many are wanted, those that must be included among them. */
  readonly size: number;
}

/** What a plugin does. Only `resource` and `devices` are required; an optional method that is there is offered to the manager. */
export interface PluginBehaviour {
  /** Extended resource, `vendor-domain/name`. */
  readonly resource: string;
  readonly devices: DeviceSource;
  /**
   * What a container that was given these devices needs; called once a container. A thrown error refuses the container
   * and its message is what the user of the pod reads. Without this method a container gets nothing but the promise
   * that nobody else holds the devices.
   */
  allocate?(
    deviceIds: readonly string[],
    call: CallInfo,
  ): ResponsePiece | readonly ResponsePiece[] | Promise<ResponsePiece | readonly ResponsePiece[]>;
  /** Which of the free devices the plugin would rather give. Advice: the manager may do otherwise. */
  preferredAllocation?(request: PreferenceRequest, call: CallInfo): readonly string[] | Promise<readonly string[]>;
  /** Makes the devices ready; called before each start of the container, within 30 seconds. A thrown error stops the start. */
  preStart?(deviceIds: readonly string[], call: CallInfo): void | Promise<void>;
  /** Sees each call before it is answered and holds it up until done; throwing fails the call. For logging, and for faults in tests. */
  intercept?(method: PluginMethod, deviceIds: readonly string[], call: CallInfo): void | Promise<void>;
  /** What is to happen to devices before, between and after their uses: driver, initialisation, health, reset, release. */
  readonly lifecycle?: PluginLifecycle | undefined;
}

/**
 * `register`: the plugin calls Register on `kubelet.sock` in the plugin directory. `registry`: it waits to be found by
 * its socket in the plugins_registry directory. Managers serve both.
 */
export type RegistrationWay = 'register' | 'registry';

/** Where and how a plugin is served. */
export interface PluginPlacement {
  /** Directory of the sockets. Default: the kubelet's, `/var/lib/kubelet/device-plugins` or `/var/lib/kubelet/plugins_registry`. It need not exist yet. */
  readonly pluginDir?: string | undefined;
  /** Name of the plugin's socket in that directory. Default: made from the resource name, unique to this plugin. */
  readonly socketName?: string | undefined;
  readonly registration?: RegistrationWay | undefined;
  /** Permission bits of the socket, e.g. `0o600`. Default: what the umask leaves. */
  readonly mode?: number | undefined;
  /** Closes the plugin when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Default: silent. See `consoleLog`. */
  readonly log?: PluginLog | undefined;
  readonly timing?: Partial<PluginTiming> | undefined;
}

/** All in milliseconds. The defaults suit production; tests may shorten them. */
export interface PluginTiming {
  /** How often sockets and directories are looked at when no file event did it earlier. */
  readonly pollMs: number;
  /** Pause before the second attempt to register; it doubles up to `retryMaxMs`. */
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  /** Limit of one Register call. The kubelet dials back within the call, for up to 10 seconds. */
  readonly registerTimeoutMs: number;
  /** How long a manager that accepted the registration may take to open ListAndWatch. */
  readonly streamGraceMs: number;
  /** How long calls that are being answered may go on when the plugin closes. */
  readonly closeGraceMs: number;
}

export const DEFAULT_TIMING: PluginTiming = {
  pollMs: 1_000,
  retryFirstMs: 250,
  retryMaxMs: 30_000,
  registerTimeoutMs: 20_000,
  streamGraceMs: 10_000,
  closeGraceMs: 1_000,
};

/**
 * `starting`: no list of devices yet. `waiting`: no manager to register with. `registering`, `registered`. `refused`:
 * the manager did not accept the plugin; tried again with growing pauses. `closed`.
 */
export type PluginState = 'starting' | 'waiting' | 'registering' | 'registered' | 'refused' | 'closed';

/** A plugin that is being served. */
export interface Plugin {
  readonly resource: string;
  /** Where the plugin's socket is, or will be once its directory exists. Another after a manager insisted on a new name. */
  readonly socketPath: string;
  readonly state: PluginState;
  /** Why the plugin is not registered, or its devices cannot be listed, in one line; undefined when nothing is wrong. */
  readonly problem: string | undefined;
  /** ListAndWatch streams open now. */
  readonly streams: number;
  /** How each device is, and why; what managers that know of it are told too. */
  readonly devices: readonly DeviceStatus[];
  /** How the driver is; undefined without `ready` and `install`. */
  readonly driver: DriverStatus | undefined;
  /** Resolves at the first registration; rejects when the plugin is closed before it. Need not be awaited. */
  readonly registered: Promise<void>;
  /**
   * Replaces the whole list of devices; streams get it if it says something new. With a scan or an async iterable as
   * source it holds until the source's next list. Throws PLUGIN_INVALID and changes nothing when the list cannot be sent.
   */
  update(devices: readonly DeviceInput[]): void;
  /** Scans now instead of at the next turn. Does nothing with a list or an async iterable as source. */
  rescan(): void;
  /** A verdict on a device's health from the author's own watching; needs no confirmation by others. Throws PLUGIN_INVALID for an unknown id or without a lifecycle. */
  reportHealth(deviceId: string, verdict: HealthVerdict): void;
  /** Gives a quarantined or failing device its next chance now; without an id, the driver. Throws PLUGIN_INVALID for an unknown id. */
  recover(deviceId?: string): void;
  /** Ends streams, closes and unlinks the socket; resolves when nothing is left. May be called again. */
  close(): Promise<void>;
}
