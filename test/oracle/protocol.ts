/**
 * The protocol of the oracle: one JSON object a line in, one a line out. The real kubelet's parts (`kubelet/`) and devmgr's
 * (`devmgr-driver.ts`) both speak it, so that whatever is asked of one can be asked of the other.
 */

export interface ProtocolContainer {
  readonly name: string;
  /** With init containers: a sidecar. */
  readonly restartable?: boolean;
  /** Extended resource to quantity. */
  readonly limits?: Readonly<Record<string, string>>;
}

export interface ProtocolPod {
  readonly uid: string;
  readonly name?: string;
  readonly initContainers?: readonly ProtocolContainer[];
  readonly containers?: readonly ProtocolContainer[];
}

/** What the container runtime knew when the manager started. */
export interface RunningContainer {
  readonly uid: string;
  readonly container: string;
  readonly id: string;
  readonly running: boolean;
}

export interface TopologySettings {
  /** NUMA node ids of the machine; default one node, 0. */
  readonly numa?: readonly number[];
  readonly distances?: readonly (readonly number[])[];
  readonly policy?: string;
  readonly scope?: string;
  readonly options?: Readonly<Record<string, string>>;
}

export interface Command extends TopologySettings {
  readonly op: string;
  readonly id?: number;
  /** Directory of kubelet.sock and of the checkpoint. */
  readonly dir?: string;
  readonly ready?: boolean;
  readonly pod?: ProtocolPod;
  readonly uid?: string;
  readonly container?: string;
  readonly n?: number;
  readonly resource?: string;
  readonly count?: number;
  /** A plugins_registry directory. */
  readonly watch?: string;
  readonly running?: readonly RunningContainer[];
  readonly allocatable?: Readonly<Record<string, number>>;
  /** Of the PodResources API. */
  readonly socket?: string;
}

/** Container to resource to ids, sorted. */
export type HeldDevices = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

export interface AdmitAnswer {
  readonly admit: boolean;
  readonly reason: string;
  readonly message: string;
  readonly devices: HeldDevices;
  readonly us: number;
}

export interface CapacityAnswer {
  readonly capacity: Readonly<Record<string, number>>;
  readonly allocatable: Readonly<Record<string, number>>;
  readonly removed: readonly string[];
}

/** Resource to id to what the plugin said, healthy devices only. */
export type AllocatableAnswer = Readonly<
  Record<string, Readonly<Record<string, { readonly health: string; readonly numa: readonly number[] }>>>
>;

/** What a container gets from its plugins, under Go's names; null when it holds nothing. */
export interface OptionsAnswer {
  readonly Envs: readonly { readonly Name: string; readonly Value: string }[] | null;
  readonly Mounts:
    | readonly {
        readonly Name: string;
        readonly ContainerPath: string;
        readonly HostPath: string;
        readonly ReadOnly: boolean;
      }[]
    | null;
  readonly Devices:
    readonly { readonly PathOnHost: string; readonly PathInContainer: string; readonly Permissions: string }[] | null;
  readonly Annotations: readonly { readonly Name: string; readonly Value: string }[] | null;
  readonly CDIDevices: readonly { readonly Name: string }[] | null;
}

/** ContainerStatus, as far as device managers write it. */
export interface StatusAnswer {
  readonly name: string;
  readonly allocatedResourcesStatus?: readonly {
    readonly name: string;
    readonly resources: readonly { readonly resourceID: string; readonly health: string }[];
  }[];
}

/** `mask` has a bit for each NUMA node; null is "any". */
export interface ProtocolHint {
  readonly NUMANodeAffinity: number | null;
  readonly Preferred: boolean;
}

/** One side of a comparison: answers commands, one after the other. Rejects with the text of an `error`. */
export interface DeviceManagerPeer {
  do(command: Command): Promise<unknown>;
  close(): Promise<void>;
}
