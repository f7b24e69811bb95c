import { deviceplugin } from '@devmgr/wire';

const { allocate, getPreferredAllocation, preStartContainer } = deviceplugin.DevicePluginService;

/** What a request asks for, without the order of ids, which managers choose at random; for comparing and for people. */
export function describeRequest(method: string, bytes: Buffer): string {
  try {
    switch (method) {
      case allocate.path:
        return allocate
          .requestDeserialize(bytes)
          .containerRequests.map(({ devicesIds }) => ids(devicesIds))
          .join(' and ');
      case getPreferredAllocation.path:
        return getPreferredAllocation
          .requestDeserialize(bytes)
          .containerRequests.map(({ allocationSize, availableDeviceIDs, mustIncludeDeviceIDs }) => {
            const must = mustIncludeDeviceIDs.length === 0 ? '' : ` with ${ids(mustIncludeDeviceIDs)}`;
            return `${String(allocationSize)} of ${ids(availableDeviceIDs)}${must}`;
          })
          .join(' and ');
      case preStartContainer.path:
        return ids(preStartContainer.requestDeserialize(bytes).devicesIds);
      default:
        return bytes.toString('base64');
    }
  } catch {
    return bytes.toString('base64');
  }
}

/** `Allocate` of `/v1beta1.DevicePlugin/Allocate`. */
export function methodName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function ids(list: readonly string[]): string {
  return `[${[...list].sort().join(' ')}]`;
}
