import { BinaryReader } from '@bufbuild/protobuf/wire';
import { expect, test } from 'vitest';
import { deviceplugin, pluginregistration, podresources, podresourcesV1alpha1 } from '../src/index.ts';

/** The field numbers of an encoded message, in order, each once. */
function numbers(bytes: Uint8Array): number[] {
  const reader = new BinaryReader(bytes);
  const found = new Set<number>();
  while (reader.pos < reader.len) {
    const [fieldNumber, wireType] = reader.tag();
    found.add(fieldNumber);
    reader.skip(wireType, fieldNumber);
  }
  return [...found];
}

const paths = (service: Record<string, { path: string }>): string[] => Object.values(service).map(({ path }) => path);

test('methods have the names Kubernetes gives them', () => {
  expect(paths(deviceplugin.RegistrationService)).toEqual(['/v1beta1.Registration/Register']);
  expect(paths(deviceplugin.DevicePluginService)).toEqual([
    '/v1beta1.DevicePlugin/GetDevicePluginOptions',
    '/v1beta1.DevicePlugin/ListAndWatch',
    '/v1beta1.DevicePlugin/GetPreferredAllocation',
    '/v1beta1.DevicePlugin/Allocate',
    '/v1beta1.DevicePlugin/PreStartContainer',
  ]);
  expect(paths(pluginregistration.RegistrationService)).toEqual([
    '/pluginregistration.Registration/GetInfo',
    '/pluginregistration.Registration/NotifyRegistrationStatus',
  ]);
  expect(paths(podresources.PodResourcesListerService)).toEqual([
    '/v1.PodResourcesLister/List',
    '/v1.PodResourcesLister/GetAllocatableResources',
    '/v1.PodResourcesLister/Get',
  ]);
  expect(paths(podresourcesV1alpha1.PodResourcesListerService)).toEqual(['/v1alpha1.PodResourcesLister/List']);
});

test('a Register request has the bytes a Go plugin sends', () => {
  const request = {
    version: 'v1beta1',
    endpoint: 'p.sock',
    resourceName: 'a.b/c',
    options: { preStartRequired: true, getPreferredAllocationAvailable: true },
  };
  expect(Buffer.from(deviceplugin.RegisterRequest.encode(request).finish()).toString('latin1')).toBe(
    '\n\x07v1beta1\x12\x06p.sock\x1a\x05a.b/c"\x04\x08\x01\x10\x01',
  );
});

test('a device list has the bytes a Go plugin sends', () => {
  const list = { devices: [{ ID: 'd', health: 'Healthy', topology: { nodes: [{ ID: 1n }, { ID: 0n }] } }] };
  expect(Buffer.from(deviceplugin.ListAndWatchResponse.encode(list).finish()).toString('latin1')).toBe(
    '\n\x14\n\x01d\x12\x07Healthy\x1a\x06\n\x02\x08\x01\n\x00',
  );
});

test('fields have the numbers Kubernetes gives them', () => {
  const text = 'x';
  const device = { containerPath: text, hostPath: text };
  expect(
    numbers(
      deviceplugin.ContainerAllocateResponse.encode({
        envs: new Map([[text, text]]),
        mounts: [{ ...device, readOnly: true }],
        devices: [{ ...device, permissions: 'r' }],
        annotations: new Map([[text, text]]),
        cdiDevices: [{ name: text }],
      }).finish(),
    ),
  ).toEqual([1, 2, 3, 4, 5]);
  expect(
    numbers(
      deviceplugin.ContainerPreferredAllocationRequest.encode({
        availableDeviceIDs: [text],
        mustIncludeDeviceIDs: [text],
        allocationSize: 1,
      }).finish(),
    ),
  ).toEqual([1, 2, 3]);
  expect(
    numbers(
      pluginregistration.PluginInfo.encode({
        type: text,
        name: text,
        endpoint: text,
        supportedVersions: [text],
      }).finish(),
    ),
  ).toEqual([1, 2, 3, 4]);
  const topology = { nodes: [{ ID: 1n }] };
  const memory = { memoryType: text, size: 18_446_744_073_709_551_615n, topology };
  const claim = { cdiDevices: [{ name: text }], driverName: text, poolName: text, deviceName: text, shareId: text };
  const dynamicResource = { claimName: text, claimNamespace: text, claimResources: [claim] };
  const container = {
    name: text,
    devices: [{ resourceName: text, deviceIds: [text], topology }],
    cpuIds: [1n],
    memory: [memory],
    dynamicResources: [dynamicResource],
  };
  const pod = { name: text, namespace: text, containers: [container], cpuIds: [1n], memory: [memory] };
  expect(numbers(podresources.PodResources.encode(pod).finish())).toEqual([1, 2, 3, 4, 5]);
  expect(numbers(podresources.ContainerResources.encode(container).finish())).toEqual([1, 2, 3, 4, 5]);
  expect(numbers(podresources.DynamicResource.encode(dynamicResource).finish())).toEqual([2, 3, 4]);
  expect(numbers(podresources.ClaimResource.encode(claim).finish())).toEqual([1, 2, 3, 4, 5]);
  expect(podresources.PodResources.decode(podresources.PodResources.encode(pod).finish())).toEqual(pod);
});
