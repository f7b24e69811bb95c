import type { Release } from './release.ts';

/**
 * What is in a kubelet's device checkpoint, as it stands in the file: absent lists and maps stay apart from empty ones,
 * because the checksum does. (kubelet: device manager, checkpoint)
 */
export interface CheckpointData {
  /** In file order; null when the file says so or leaves it out. */
  readonly entries: readonly CheckpointEntry[] | null;
  /** Resource name to the ids healthy at the time of writing. */
  readonly registered: ReadonlyMap<string, readonly string[] | null> | null;
}

/** The share of one container in one resource. */
export interface CheckpointEntry {
  readonly podUid: string;
  readonly container: string;
  readonly resource: string;
  readonly devices: CheckpointDevices;
  /** Protobuf-encoded ContainerAllocateResponse, never re-encoded. */
  readonly response: Uint8Array | null;
}

/** Ids by NUMA node (version 2, since Kubernetes 1.20) or as a plain list (version 1). */
export type CheckpointDevices = ReadonlyMap<number, readonly string[] | null> | readonly string[] | null;

/** Version 2 groups ids by NUMA node; version 1 does not. */
export type CheckpointVersion = 1 | 2;

/** Kept beside the kubelet's keys, under `devmgr`: a kubelet ignores it, and the checksum does not cover it. */
export interface CheckpointExtension {
  /** Number of the last state record that the file includes. */
  readonly sequence: number;
  /** The system's boot id at the time of writing; empty when unknown. */
  readonly bootId: string;
  /** What to dial at the next start, by resource. */
  readonly endpoints: ReadonlyMap<string, CheckpointEndpoint>;
  /** Resources whose plugins ask to be told when devices are given back; the key is left out when there is none. */
  readonly releaseRequired?: readonly string[];
  /** Devices that wait for their release; the key is left out when there are none. */
  readonly releases?: readonly Release[];
}

export interface CheckpointEndpoint {
  /** Socket path; null when there is none to dial. */
  readonly endpoint: string | null;
  readonly preStartRequired: boolean;
}
