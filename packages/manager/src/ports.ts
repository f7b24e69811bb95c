/**
 * How the parts of the daemon see one another, as narrow interfaces. Adapters implement or receive these and never
 * import one another; the daemon's start-up file puts real parts behind them. Objects handed out are never mutated by
 * the receiver.
 */
import type { lifecycle } from '@devmgr/wire';
import type {
  Allocation,
  Device,
  Event,
  Explanation,
  JournalRecord,
  ObjectReference,
  Pod,
  Node,
  Release,
  Ledger,
} from '@devmgr/core';

/** Time, so that tests never sleep for real. Milliseconds since the epoch for `now`, any monotonic origin for `monotonicMs`. */
export interface Clock {
  now(): number;
  monotonicMs(): number;
  /** Runs `callback` once after `delayMs`; the returned function cancels it (harmless when it has already run). Never keeps the process alive by itself. */
  setTimeout(callback: () => void, delayMs: number): () => void;
}

/** Structured log, one constant message plus fields, as the kubelet's. `pino` satisfies it. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}

// ---- Plugins -------------------------------------------------------------------------------------------------

/** What GetDevicePluginOptions answered, read once per session. */
export interface PluginOptions {
  readonly preStartRequired: boolean;
  readonly preferredAllocationAvailable: boolean;
  /** Wants to be told when devices were given back. */
  readonly releaseRequired: boolean;
}

/** How a session came to be: the plugin called Register, its socket appeared in plugins_registry, or devmgr dialled a socket it remembered. */
export type PluginOrigin = 'register' | 'watcher' | 'remembered';

/** Limits of one plugin call. The call rejects with a `DevmgrError` PLUGIN_FAILED whose message is the kubelet's text for the cause. */
export interface CallLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * One connection to one plugin, with an identity of its own: a later session for the same resource or path is another
 * object, and nothing that happens to this one touches that one.
 */
export interface PluginSession {
  /** Unique within the life of the process, growing. */
  readonly id: number;
  readonly resource: string;
  readonly socketPath: string;
  readonly origin: PluginOrigin;
  readonly options: PluginOptions;
  /** Milliseconds since the epoch. */
  readonly connectedAt: number;
  /** False once the stream ended or `close` was called; calls then fail at once with `endpoint <path> has been stopped`. */
  readonly live: boolean;
  /** Allocate for one container; resolves to the undecoded ContainerAllocateResponse. Rejects with Go's error text (`rpc error: code = X desc = Y`) or `no containers return in allocation response …`. */
  allocate(deviceIds: readonly string[], limits: CallLimits): Promise<Uint8Array>;
  /** GetPreferredAllocation; an answer without containers is an empty list. Callers check `options` first: never call what a plugin does not offer. Rejects with Go's error text. */
  preferredAllocation(request: PreferredAllocationRequest, limits: CallLimits): Promise<readonly string[]>;
  /** PreStartContainer. Rejects with Go's error text. */
  preStart(deviceIds: readonly string[], limits: CallLimits): Promise<void>;
  /** Released; does nothing with a plugin that did not ask for it. Rejects with Go's error text. */
  released(release: Release, limits: CallLimits): Promise<void>;
  /** Cuts the stream and the connection; idempotent. `ended` is still delivered once. */
  close(): void;
}

export interface PreferredAllocationRequest {
  readonly available: readonly string[];
  readonly mustInclude: readonly string[];
  readonly size: number;
}

/** What plugin adapters tell the device manager. All methods are synchronous and never throw. */
export interface PluginHost {
  /** A Register request arrived (counted before it is validated; an invalid name is counted as `invalid`). */
  registrationRequested(resource: string): void;
  /** Dialled and options read. Called before Register is answered and before any list. */
  pluginConnected(session: PluginSession): void;
  /** One ListAndWatch message: the whole truth about the session's devices. */
  devicesReported(session: PluginSession, devices: readonly Device[]): void;
  /** The stream is over, for whatever reason; exactly once per connected session. */
  pluginEnded(session: PluginSession, reason: string): void;
}

/** Takes what plugins report of themselves beyond the device plugin API. */
export interface PluginReportSink {
  /** Keeps the report; why it is refused, when it is. Never throws. */
  report(report: lifecycle.PluginReport): string | undefined;
}

// ---- Pods and devices ------------------------------------------------------------------------------------------

export type AdmissionResult =
  | { readonly ok: true }
  /** `reason` as in a pod's status (`UnexpectedAdmissionError`, `TopologyAffinityError`, …), `message` without the "Pod was rejected: " prefix. */
  | { readonly ok: false; readonly reason: string; readonly message: string };

/** Called when an admission waits for plugins or for releases; again when what it waits for changes. */
export interface WaitingForDevices {
  /** Reason of the pod's condition and event. */
  readonly reason: 'WaitingForDevicePlugin' | 'WaitingForRelease';
  readonly resources: readonly string[];
  /** One line for people, for the pod's condition and event. */
  readonly message: string;
  /** Milliseconds since the epoch at which waiting ends in a refusal. */
  readonly until: number;
}

/** What a container gets from its device plugins, merged over its resources. (kubelet: DeviceRunContainerOptions) */
export interface ContainerOptions {
  readonly envs: ReadonlyMap<string, string>;
  readonly mounts: readonly { readonly containerPath: string; readonly hostPath: string; readonly readOnly: boolean }[];
  readonly devices: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly permissions: string;
  }[];
  readonly annotations: ReadonlyMap<string, string>;
  readonly cdiDevices: readonly string[];
  /** Resource name to device ids, for runtimes that tell the container what it holds. */
  readonly allocated: ReadonlyMap<string, readonly string[]>;
}

/** The device manager as pods see it. */
export interface DeviceAdmission {
  /** Decides about a whole pod: either every container has its devices and that is durable, or none has and nothing is held. Never rejects except when `signal` aborts (then nothing is held). */
  admit(
    pod: Pod,
    options: {
      signal: AbortSignal;
      onWaiting: (waiting: WaitingForDevices) => void;
      /** Refuse at once when devices are short that are being released; they are waited for unless this is set. */
      impatient?: boolean;
    },
  ): Promise<AdmissionResult>;
  /** Before every (re)start of a container: PreStartContainer where required, the beforeUse commands, then the merged options. `attempt` counts the tries of this start from 1. Rejects with the kubelet's text; the caller backs off and tries again. */
  prepareStart(pod: Pod, containerName: string, signal: AbortSignal, attempt?: number): Promise<ContainerOptions>;
  /** Gives everything the pod holds back; durable when resolved; nothing to do is fine. */
  release(podUid: string): Promise<void>;
  /** Health of what a container holds, for `allocatedResourcesStatus`. */
  allocatedHealth(
    podUid: string,
    containerName: string,
  ): readonly { resource: string; deviceId: string; health: 'Healthy' | 'Unhealthy' | 'Unknown' }[];
  /** Calls `listener` with the uid of each pod whose devices changed health; returns how to stop. */
  onHealthChange(listener: (podUid: string) => void): () => void;
}

/** One run of a command that the configuration names for a resource. */
export interface HookRun {
  readonly hook: 'onRelease' | 'beforeUse';
  /** Program and arguments; no shell is involved. */
  readonly command: readonly string[];
  readonly resource: string;
  readonly deviceIds: readonly string[];
  /** Namespace and name are empty when they are not known any more. */
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly container: string;
  /** How often it was run for the same purpose, this time included. */
  readonly attempt: number;
  readonly timeoutMs: number;
  /** Ends the command. */
  readonly signal: AbortSignal;
}

export interface HookRunner {
  /** Resolves when the command ended with exit code 0. Rejects with HOOK_FAILED otherwise; nothing of it runs any more then. */
  run(run: HookRun): Promise<void>;
}

/** Records v1 Events; repeated equal ones are counted, not multiplied. */
export interface EventSink {
  record(object: ObjectReference, type: Event['type'], reason: EventReason, message: string): void;
}

/** Reasons of the events devmgr records. `docs/events.md` explains each; a test holds the two together. */
export const EVENT_REASONS = {
  AdmissionRefused:
    'The pod was refused by admission; it is Failed for good. (The reason on the event is the admission reason.)',
  BackOff: 'A container that keeps ending waits before it is started again.',
  CheckpointRestored: 'Allocations were read back after a restart.',
  CheckpointSetAside:
    'A checkpoint or journal could not be read; it was kept under another name and the previous generation used.',
  DevicesChanged: 'A plugin listed devices that differ from its last list.',
  DevicePhaseChanged: 'A plugin reports another phase, or another reason for it, of some of its devices.',
  DeviceQuarantined:
    'Devices could not be released several times in a row; they stay out of use while that is tried on, slowly.',
  DeviceReleased: 'Devices whose release had failed before, or was given up by hand, are free.',
  DeviceUnhealthy: 'A device became unhealthy.',
  DeviceHealthy: 'A device became healthy again.',
  DeviceVanished: 'A device that a container holds is no longer listed.',
  Failed: 'A container could not be started.',
  FailedToWriteState: 'State could not be made durable.',
  Killing: 'A container is being stopped.',
  ManifestInvalid: 'A file in the manifest directory could not be used.',
  OutOfDevices: 'Not enough devices: the admission reason of that form.',
  PluginConnected: 'A device plugin registered, or was found again after a restart.',
  PluginDisconnected: 'The last connection to a plugin ended: its devices are unhealthy until it registers again.',
  PluginFailed: 'A plugin reports that it cannot serve, and why.',
  PluginPreparing: 'A plugin reports what it does before it can serve, for example install its driver.',
  PluginRefused: 'A registration was refused.',
  PluginServing: 'A plugin that had reported something else reports that it serves.',
  PluginSuperseded: 'A newer connection for the same resource took over.',
  PodResourcesUnavailable: 'The PodResources API cannot be served; it is tried again every ten seconds.',
  ReleaseFailed: 'A hook for devices that were given back failed; it is tried again, and nobody gets them before.',
  ResourceRemoved: 'A resource whose plugin stayed away for the grace period was removed from the node.',
  Started: 'A container was started.',
  Starting: 'The manager started.',
  Stopping: 'The manager is stopping.',
  UnexpectedAdmissionError: 'The pod was refused; the message says why.',
  WaitingForDevicePlugin:
    'The pod asks for a known resource whose plugin is not there yet; admission waits, for a bounded time.',
  WaitingForRelease:
    'The pod asks for devices that were given back and are not released yet; admission waits, for a bounded time.',
} as const;
export type EventReason = keyof typeof EVENT_REASONS;

/** A growing number for `resourceVersion`; one for all objects of a manager. */
export interface VersionCounter {
  next(): string;
  current(): string;
}

export type WatchListener<T> = (event: { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }) => void;

/** Pods as the API and the command line see them. Methods reject with a `DevmgrError`. */
export interface PodService {
  /** Validates and creates; the answer has uid, creationTimestamp and a Pending status. Admission follows by itself. MANIFEST_INVALID, ALREADY_EXISTS, STATE_WRITE_FAILED. */
  create(namespace: string, manifest: unknown): Promise<Pod>;
  /** Creates, or changes nothing when the same spec is there already; a different spec is CONFLICT (a running pod's spec cannot change). */
  apply(namespace: string, manifest: unknown): Promise<{ pod: Pod; outcome: 'created' | 'unchanged' | 'configured' }>;
  get(namespace: string, name: string): Pod | undefined;
  /** All namespaces when `namespace` is undefined. In order of creation. */
  list(namespace?: string): readonly Pod[];
  /** Starts deletion; resolves to the pod with deletionTimestamp. The object goes away (watch DELETED) once its containers are gone. NOT_FOUND. */
  remove(namespace: string, name: string, options: { gracePeriodSeconds?: number }): Promise<Pod>;
  watch(listener: WatchListener<Pod>): () => void;
  /** Output of one container; ends when followed and the container is gone for good, or `signal` aborts. NOT_FOUND, BAD_REQUEST. */
  logs(namespace: string, name: string, options: LogOptions): AsyncIterable<Uint8Array>;
}

export interface LogOptions {
  readonly container?: string;
  readonly follow: boolean;
  readonly previous: boolean;
  readonly tailLines?: number;
  readonly signal: AbortSignal;
}

/** `devmgr run`: devices for one command that is not a child of the daemon. A lease shows as a Pod with the annotation `devmgr.io/lease`. */
export interface LeaseService {
  /** Yields `waiting` any number of times, then `granted` or `refused` once, and ends. Aborting before `granted` leaves nothing held. */
  acquire(request: LeaseRequest, signal: AbortSignal): AsyncIterable<LeaseMessage>;
  /** Names the process that uses the lease (pid plus start time in clock ticks since boot, /proc/PID/stat field 22): the lease ends when it is gone. */
  attach(uid: string, process: { pid: number; startTime: number }): Promise<void>;
  /** Ends the lease; durable when resolved. */
  end(uid: string, exitCode: number | undefined): Promise<void>;
}

export interface LeaseRequest {
  readonly name?: string;
  readonly namespace?: string;
  /** Resource name to whole number. */
  readonly limits: Readonly<Record<string, number>>;
  readonly command: readonly string[];
  /** How long to wait for plugins and for free devices; 0 refuses at once when devices are not free. */
  readonly waitForDevicesMs: number;
}

export type LeaseMessage =
  | { readonly type: 'waiting'; readonly message: string }
  | {
      readonly type: 'granted';
      readonly uid: string;
      readonly name: string;
      readonly env: Readonly<Record<string, string>>;
      readonly devices: Readonly<Record<string, readonly string[]>>;
      readonly devicePaths: readonly string[];
    }
  | { readonly type: 'refused'; readonly reason: string; readonly message: string };

// ---- Views of the inventory ----------------------------------------------------------------------------------

export interface ResourceView {
  readonly name: string;
  readonly capacity: number;
  readonly allocatable: number;
  readonly allocated: number;
  readonly healthy: number;
  readonly unhealthy: number;
  readonly plugin: { readonly endpoint: string; readonly state: PluginState; readonly since: string } | null;
}

/** `Connected` lists devices, `Connecting` has registered and not listed yet, `Standby` is live while another session owns the list, `Disconnected` is within its grace period. */
export type PluginState = 'Connected' | 'Connecting' | 'Standby' | 'Disconnected';

export interface DeviceView {
  readonly resource: string;
  readonly id: string;
  readonly health: string;
  readonly numaNodes: readonly number[];
  /** `Releasing` and `Quarantined` were given back and are handed out to nobody before their release succeeded. */
  readonly state: 'Free' | 'Reserved' | 'Allocated' | 'Releasing' | 'Quarantined' | 'Vanished';
  /** `namespace/name` of the holder, or of who had it last while it is released. */
  readonly pod: string | null;
  readonly container: string | null;
  /** RFC 3339 time of the last change of health or holder. */
  readonly since: string;
  /** What its plugin reports of it beyond its health; absent when it reports nothing. */
  readonly report?: DeviceReportView;
  /** It was given back and is not released yet; absent otherwise. */
  readonly release?: ReleaseView;
}

/** As the plugin says it. */
export interface DeviceReportView {
  readonly phase: string;
  /** Empty when there is nothing to say, as the message. */
  readonly reason: string;
  readonly message: string;
  readonly progressPercent: number | null;
  /** RFC 3339. */
  readonly since: string | null;
}

/** As the plugin says it. */
export interface PluginReportView {
  readonly phase: string;
  /** Empty when there is nothing to say, as the message. */
  readonly reason: string;
  readonly message: string;
  readonly progressPercent: number | null;
  readonly driverVersion: string | null;
  /** RFC 3339 time of the first report of this phase, and of the latest one. */
  readonly since: string;
  readonly reportedAt: string;
}

export interface PluginView {
  /** Resource name and endpoint, e.g. `example.com/gpu@gpu.sock`. */
  readonly name: string;
  readonly resource: string;
  readonly endpoint: string;
  /** `Preparing` and `Failed` are those that only report, and have not registered. */
  readonly state: PluginState | 'Preparing' | 'Failed';
  readonly origin: PluginOrigin | null;
  readonly preStartRequired: boolean;
  readonly preferredAllocation: boolean;
  readonly devices: number;
  readonly since: string;
  /** Wants to be told when devices were given back; absent when it does not. */
  readonly releaseRequired?: true;
  /** Why the last session ended, when Disconnected; what it reports, when it has not registered. */
  readonly message: string | null;
  /** What it reports of itself; absent when it reports nothing. */
  readonly report?: PluginReportView;
}

/** Devices of one allocation that were given back and are not free yet. */
export interface ReleaseView {
  readonly name: string;
  readonly resource: string;
  readonly devices: readonly string[];
  /** `namespace/name` of the pod that had them, or its uid. */
  readonly pod: string;
  readonly container: string;
  readonly state: 'Releasing' | 'Quarantined';
  /** What is to be done next. */
  readonly hook: 'command' | 'plugin';
  /** Attempts of that begun so far. */
  readonly attempts: number;
  /** Attempts that failed in a row. */
  readonly failures: number;
  /** Of the last attempt that failed. */
  readonly lastError: string | null;
  /** RFC 3339 time at which the devices were given back. */
  readonly since: string;
  /** RFC 3339 time of the next attempt; null while one is under way or the plugin is waited for. */
  readonly nextTry: string | null;
  readonly waitingForPlugin: boolean;
}

/** Read side of the inventory. `changed` listeners are told the kind of what changed, coalesced per turn of the event loop. */
export interface InventoryService {
  resources(): readonly ResourceView[];
  /** All devices, or those of one resource, in natural order. */
  devices(resource?: string): readonly DeviceView[];
  plugins(): readonly PluginView[];
  /** Oldest first. */
  releases(): readonly ReleaseView[];
  /** Gives a release up: its devices are free without it. NOT_FOUND, STATE_WRITE_FAILED. */
  forgetRelease(name: string): Promise<void>;
  onChange(listener: () => void): () => void;
}

/** Why admissions were decided as they were, and what would come of others. Calls no plugin and leaves nothing changed. */
export interface ExplainService {
  /** From the record of its admission, while it is remembered, for pods that are gone too; else from what is known of it now. NOT_FOUND. */
  explainPod(namespace: string, name: string): Explanation;
  /** Whether a container that asks for this (resource to whole number) would get it now. */
  explainLimits(limits: Readonly<Record<string, number>>): Explanation;
}

/** The node object; `changed` listeners fire when capacity, allocatable or conditions differ from before. */
export interface NodeService {
  get(): Node;
  watch(listener: WatchListener<Node>): () => void;
}

/** Events as the API sees them, oldest first. */
export interface EventService extends EventSink {
  list(namespace?: string): readonly Event[];
  watch(listener: WatchListener<Event>): () => void;
}

// ---- Pod resources -------------------------------------------------------------------------------------------

/** What the PodResources API shows. */
export interface PodResourcesSource {
  /** Every pod there is, leases included, in order of creation; a pod that changes is another object. */
  pods(): readonly Pod[];
  pod(namespace: string, name: string): Pod | undefined;
  /** False once nothing of the pod runs and its devices are free. */
  isActive(podUid: string): boolean;
  readonly ledger: Pick<Ledger, 'version' | 'listVersion' | 'containerAllocations' | 'allocatableDevices'>;
}

export type PodResourcesVersion = 'v1' | 'v1alpha1';
export type PodResourcesCall = 'list' | 'get' | 'get_allocatable';

/** What the PodResources API counts. */
export interface PodResourcesMetrics {
  podResourcesRequest(version: PodResourcesVersion, call: PodResourcesCall): void;
  podResourcesError(version: PodResourcesVersion, call: PodResourcesCall): void;
  /** A call was refused by the rate limit; such a call is no request. */
  podResourcesRejected(): void;
}

// ---- Durable state ---------------------------------------------------------------------------------------------

/** Appends to the journal. Resolves once the record is on disk; rejects with STATE_WRITE_FAILED when it is certain that it is not. */
export interface StateWriter {
  append(record: StateRecord): Promise<void>;
  /** Something only the snapshot holds has changed (the list of healthy ids): write it when things calm down. */
  touch(): void;
}

/** One durable change of state; a `pod` record is the whole object as it is now, an endpoint of null means that none is to be dialled at the next start. */
export type StateRecord = JournalRecord;

/** What was read at start: snapshot plus journal. */
export interface RecoveredState {
  readonly allocations: readonly Allocation[];
  readonly resources: readonly {
    readonly resource: string;
    readonly endpoint: string | null;
    readonly preStartRequired: boolean;
  }[];
  /** Devices that were given back and wait for their release. */
  readonly releases: readonly Release[];
  /** Resources whose plugins ask for releases, those included that are known no more and of which something is held. */
  readonly releaseRequired: readonly string[];
  readonly pods: readonly Pod[];
  /** True when the machine was restarted since the state was written (boot ids differ). */
  readonly rebooted: boolean;
  /** What could not be read, one line each for log and events; empty in a good start. */
  readonly problems: readonly string[];
}

/** What a snapshot says beyond the records; asked for synchronously at the moment it is written. */
export interface SnapshotSource {
  /** Known resources with the ids healthy now. */
  resources(): readonly {
    readonly resource: string;
    readonly healthyIds: readonly string[];
    readonly endpoint: string | null;
    readonly preStartRequired: boolean;
  }[];
}
