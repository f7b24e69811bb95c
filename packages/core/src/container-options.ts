/** A plugin's answer to Allocate for one container, decoded. (device plugin API v1beta1: ContainerAllocateResponse) */
export interface ContainerResponse {
  readonly envs: ReadonlyMap<string, string>;
  readonly mounts: readonly MountSpec[];
  readonly devices: readonly DeviceSpec[];
  readonly annotations: ReadonlyMap<string, string>;
  readonly cdiDevices: readonly { readonly name: string }[];
}

export interface MountSpec {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readOnly: boolean;
}

/** A device node. `permissions` is some of `r`, `w`, `m`, passed on as given. */
export interface DeviceSpec {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly permissions: string;
}

/** What several plugins together give one container. */
export interface MergedOptions {
  readonly envs: ReadonlyMap<string, string>;
  readonly mounts: readonly MountSpec[];
  readonly devices: readonly DeviceSpec[];
  readonly annotations: ReadonlyMap<string, string>;
  /** Fully qualified CDI names, each once. */
  readonly cdiDevices: readonly string[];
}

/** Two different answers for the same thing; `kept` is in force. To be logged, never a failure. */
export interface OptionConflict {
  readonly kind: 'env' | 'mount' | 'device' | 'annotation';
  /** Name of the variable or annotation, or container path. */
  readonly key: string;
  /** The resource whose answer was dropped. */
  readonly resource: string;
  readonly kept: string;
  readonly dropped: string;
}

/**
 * Merges the answers of a container's resources, in order of resource name so that the outcome never depends on timing.
 * What is the same is told by variable name, annotation key, container path or CDI name; the first wins.
 * (kubelet: device manager, deviceRunContainerOptions)
 */
export function mergeContainerOptions(responses: ReadonlyMap<string, ContainerResponse>): {
  readonly options: MergedOptions;
  readonly conflicts: readonly OptionConflict[];
} {
  const envs = new Map<string, string>();
  const mounts = new Map<string, MountSpec>();
  const devices = new Map<string, DeviceSpec>();
  const annotations = new Map<string, string>();
  const cdiDevices = new Set<string>();
  const conflicts: OptionConflict[] = [];

  const sorted = [...responses].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [resource, response] of sorted) {
    const put = <T>(
      kind: OptionConflict['kind'],
      into: Map<string, T>,
      key: string,
      value: T,
      text: (of: T) => string,
    ) => {
      const kept = into.get(key);
      if (kept === undefined) into.set(key, value);
      else if (text(kept) !== text(value)) {
        conflicts.push({ kind, key, resource, kept: text(kept), dropped: text(value) });
      }
    };
    for (const [name, value] of response.envs) put('env', envs, name, value, String);
    for (const mount of response.mounts) put('mount', mounts, mount.containerPath, mount, mountText);
    for (const device of response.devices) put('device', devices, device.containerPath, device, deviceText);
    for (const [key, value] of response.annotations) put('annotation', annotations, key, value, String);
    for (const { name } of response.cdiDevices) cdiDevices.add(name);
  }
  return {
    options: {
      envs,
      mounts: [...mounts.values()],
      devices: [...devices.values()],
      annotations,
      cdiDevices: [...cdiDevices],
    },
    conflicts,
  };
}

function mountText({ hostPath, readOnly }: MountSpec): string {
  return readOnly ? `${hostPath} (read-only)` : hostPath;
}

function deviceText({ hostPath, permissions }: DeviceSpec): string {
  return `${hostPath} (${permissions})`;
}
