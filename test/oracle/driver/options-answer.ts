import type { ContainerOptions } from '../../../packages/manager/src/ports.ts';
import type { OptionsAnswer } from '../protocol.ts';

/** What a container gets, as the kubelet's DeviceRunContainerOptions is written as JSON; null when it holds nothing. */
export function toOptionsAnswer(options: ContainerOptions): OptionsAnswer | null {
  if (options.allocated.size === 0) return null;
  const list = <T>(items: readonly T[]): readonly T[] | null => (items.length === 0 ? null : items);
  const pairs = (map: ReadonlyMap<string, string>): { Name: string; Value: string }[] =>
    [...map].map(([Name, Value]) => ({ Name, Value }));
  return {
    Envs: list(pairs(options.envs)),
    Mounts: list(
      options.mounts.map(({ containerPath, hostPath, readOnly }) => ({
        Name: containerPath,
        ContainerPath: containerPath,
        HostPath: hostPath,
        ReadOnly: readOnly,
        RecursiveReadOnly: false,
        SELinuxRelabel: false,
        Propagation: 0,
        Image: null,
        ImageSubPath: '',
        BindMountOptions: null,
      })),
    ),
    Devices: list(
      options.devices.map(({ containerPath, hostPath, permissions }) => ({
        PathOnHost: hostPath,
        PathInContainer: containerPath,
        Permissions: permissions,
      })),
    ),
    Annotations: list(pairs(options.annotations)),
    CDIDevices: list(options.cdiDevices.map((Name) => ({ Name }))),
  };
}
