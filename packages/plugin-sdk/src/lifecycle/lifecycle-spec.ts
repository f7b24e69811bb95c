import type { PluginDevice } from '../plugin-device.ts';

/** What a hook is given besides its subject. */
export interface HookCall {
  /** Aborts at the hook's deadline and when the plugin closes. The next attempt begins only once this one has ended. */
  readonly signal: AbortSignal;
  /** 1 for the first attempt; grows with each that fails. */
  readonly attempt: number;
  /** Says how far it is, 0 to 100 (undefined when nobody knows), and what is being done. Shown while the hook runs. */
  readonly progress: (percent: number | undefined, message?: string) => void;
}

/** What `released` is given. */
export interface ReleaseCall extends HookCall {
  /** Names this release: the same on each repetition of the call. */
  readonly releaseId: string;
  /** Who had the devices. Undefined when that is not known any more; a kubelet does not tell the uid, which is empty then. */
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
}

/** Nothing, or the version of the driver: it is there. `false`: it is not. */
export type DriverVerdict = string | boolean | undefined | void; // eslint-disable-line @typescript-eslint/no-invalid-void-type -- so that a hook may return nothing

/** How to get the driver, run only when `ready` says it is not there (or when there is no `ready`). */
export interface DriverInstall {
  /** What is installed, for example the driver's version: what was installed under this name is not installed again. */
  readonly key: string;
  /** It does not outlive a reboot. Default: false. */
  readonly perBoot?: boolean | undefined;
  /** Installs; may be interrupted at any point by the end of the process, and is run again then. */
  run?(call: HookCall): void | Promise<void>;
  /** Instead of `run`: a program and its arguments. Lines `progress 40 what it does` on its standard output tell how far it is. */
  readonly command?: readonly string[] | undefined;
}

/** How a device is. `degraded` counts as healthy, `failing` does not. */
export interface HealthReport {
  readonly state: 'healthy' | 'degraded' | 'failing';
  /** In CamelCase, for programs. */
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
}

/** Nothing or `true`: healthy. `false`: failing. */
export type HealthVerdict = HealthReport | boolean | undefined | void; // eslint-disable-line @typescript-eslint/no-invalid-void-type -- so that a hook may return nothing

/**
 * The life of a plugin's devices beyond the Kubernetes API, as hooks; a hook that is there is used. Each call has a
 * deadline and is repeated with growing pauses when it fails; a device's failure is that device's alone. A hook fails by
 * throwing; a thrown {@link HookError} carries the reason that programs read.
 */
export interface PluginLifecycle {
  /**
   * Directory for what must outlive the process, one file a resource; made if missing. Needed with `install`, `initKey`,
   * `reset` and `released`. Two plugins of one resource must not share it.
   */
  readonly stateDir?: string | undefined;
  /** Is the driver there, and in which version? Nothing is discovered or registered before it is. */
  ready?(call: HookCall): DriverVerdict | Promise<DriverVerdict>;
  readonly install?: DriverInstall | undefined;
  /**
   * Makes a device fit for use; it is not offered before. Called for each device once a process, and again after the
   * device was away; must be idempotent. A device that is known to be in use is left alone.
   */
  init?(device: PluginDevice, call: HookCall): void | Promise<void>;
  /** Makes `init` remembered across restarts of the plugin, for as long as this says the same about the device (its firmware, the boot). */
  initKey?(device: PluginDevice): string;
  /** How the device is; asked every `healthEveryMs`. See also `reportHealth` of the plugin. */
  health?(device: PluginDevice, call: HookCall): HealthVerdict | Promise<HealthVerdict>;
  /** Resets devices, all those of a group at once and none of them in use. */
  reset?(devices: readonly PluginDevice[], call: HookCall): void | Promise<void>;
  /** `before` each start of a container, or `after` the devices were given back. Default: `after`. */
  readonly resetWhen?: 'before' | 'after' | undefined;
  /** Devices with the same group are reset together. Undefined: the device alone. */
  resetGroup?(device: PluginDevice): string | undefined;
  /** The last container that used the devices is gone. At least once a release; the devices are offered again only once it succeeded. */
  released?(devices: readonly PluginDevice[], call: ReleaseCall): void | Promise<void>;
  /** Where to ask who holds the devices. Default: `../pod-resources/kubelet.sock`, seen from the plugin directory. */
  readonly podResourcesSocket?: string | undefined;
  readonly limits?: Partial<LifecycleLimits> | undefined;
}

/** Times in milliseconds. */
export interface LifecycleLimits {
  readonly readyTimeoutMs: number;
  readonly installTimeoutMs: number;
  readonly initTimeoutMs: number;
  readonly healthTimeoutMs: number;
  /** A kubelet waits 30 seconds for a reset before the start of a container. */
  readonly resetTimeoutMs: number;
  readonly releasedTimeoutMs: number;
  readonly healthEveryMs: number;
  /** So many bad verdicts in a row make a device Failing, so many good ones Ready again. */
  readonly failAfter: number;
  readonly recoverAfter: number;
  /** A device that became Failing more often than that within `flapWindowMs` stays Failing for `holdDownMs`. */
  readonly flapsAllowed: number;
  readonly flapWindowMs: number;
  readonly holdDownMs: number;
  /** Pause after the first failure; it doubles up to `retryMaxMs`. */
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  /** A device is quarantined after so many failures in a row; from then on every `quarantineRetryMs` it gets a chance. */
  readonly quarantineAfter: number;
  readonly quarantineRetryMs: number;
  /** How long Allocate waits for a device that is being made ready, reset or released. */
  readonly allocateWaitMs: number;
  /** Between two looks at who holds the devices. */
  readonly holderPollMs: number;
  /** How long a kubelet must be up before a pod that it does not name counts as gone: it learns of its pods only bit by bit. */
  readonly settleMs: number;
}

export const DEFAULT_LIMITS: LifecycleLimits = {
  readyTimeoutMs: 30_000,
  installTimeoutMs: 1_800_000,
  initTimeoutMs: 60_000,
  healthTimeoutMs: 10_000,
  resetTimeoutMs: 25_000,
  releasedTimeoutMs: 60_000,
  healthEveryMs: 10_000,
  failAfter: 3,
  recoverAfter: 2,
  flapsAllowed: 3,
  flapWindowMs: 600_000,
  holdDownMs: 300_000,
  retryFirstMs: 500,
  retryMaxMs: 30_000,
  quarantineAfter: 5,
  quarantineRetryMs: 300_000,
  allocateWaitMs: 30_000,
  holderPollMs: 2_000,
  settleMs: 60_000,
};

/**
 * `Initializing`: not fit for use yet. `Ready`, `Degraded`: offered. `Failing`: unhealthy for now. `Resetting`,
 * `Releasing`: on its way back. `Quarantined`: failed again and again; tried once in a while.
 */
export type DevicePhase = 'Initializing' | 'Ready' | 'Degraded' | 'Failing' | 'Resetting' | 'Releasing' | 'Quarantined';

/** How a device is, and why. */
export interface DeviceStatus {
  readonly id: string;
  readonly phase: DevicePhase;
  /** In CamelCase, for programs; empty when there is nothing to say. */
  readonly reason: string;
  /** For people. */
  readonly message: string;
  readonly since: Date;
  /** Of the hook that runs, 0 to 100; undefined when it did not say. */
  readonly progress: number | undefined;
}

/** How the driver is. `Preparing`: looked for, installed, or waited for. `Failed`: cannot be installed; tried again. */
export interface DriverStatus {
  readonly phase: 'Preparing' | 'Ready' | 'Failed';
  readonly reason: string;
  readonly message: string;
  readonly version: string;
  readonly progress: number | undefined;
}
