import { bindService, deviceplugin } from '../../src/index.ts';
import type { RpcHandlers, ServiceBinding } from '../../src/index.ts';

export type PluginHandlers = RpcHandlers<typeof deviceplugin.DevicePluginService>;

/** A device plugin of which a test writes only the methods it is about; the others answer with nothing. */
export function devicePlugin(handlers: Partial<PluginHandlers>): ServiceBinding {
  return bindService(deviceplugin.DevicePluginService, {
    getDevicePluginOptions: () => ({ preStartRequired: false, getPreferredAllocationAvailable: false }),
    async *listAndWatch() {
      // no lists
    },
    getPreferredAllocation: () => ({ containerResponses: [] }),
    allocate: () => ({ containerResponses: [] }),
    preStartContainer: () => ({}),
    ...handlers,
  });
}

/** `count` devices with ids of `idBytes` characters. */
export function manyDevices(count: number, idBytes: number): deviceplugin.Device[] {
  return Array.from({ length: count }, (_, index) => ({
    ID: String(index).padStart(idBytes, 'd'),
    health: 'Healthy',
    topology: undefined,
  }));
}
