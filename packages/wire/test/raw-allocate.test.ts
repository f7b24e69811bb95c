import { expect, test } from 'vitest';
import {
  DevicePluginClientService,
  bindService,
  createClient,
  decodeContainerAllocateResponse,
  encodeContainerAllocateResponse,
  listenUnix,
} from '../src/index.ts';
import { useDirectory } from './support/directory.ts';

const directory = useDirectory();

const RESPONSE = {
  envs: new Map([['KEY', 'value']]),
  mounts: [],
  devices: [{ containerPath: '/dev/a', hostPath: '/dev/b', permissions: 'rwm' }],
  annotations: new Map<string, string>(),
  cdiDevices: [{ name: 'example.com/class=one' }],
};
/** Field 99, a string, and field 7, a varint: what a later version of the API may have. */
const UNKNOWN_FIELDS = Buffer.from([0x9a, 0x06, 0x03, 0x6e, 0x65, 0x77, 0x38, 0x2a]);

test('scenario 147: unknown fields of an Allocate answer reach the manager unharmed', async () => {
  const path = directory.path('p.sock');
  const sent = [Buffer.concat([encodeContainerAllocateResponse(RESPONSE), UNKNOWN_FIELDS]), Buffer.alloc(0)];
  const service = bindService(DevicePluginClientService, {
    getDevicePluginOptions: () => ({ preStartRequired: false, getPreferredAllocationAvailable: false }),
    async *listAndWatch() {
      // no lists
    },
    getPreferredAllocation: () => ({ containerResponses: [] }),
    allocate: () => ({ containerResponses: sent }),
    preStartContainer: () => ({}),
  });
  const server = await listenUnix({ path, services: [service] });
  directory.atEnd(() => server.close(0));
  const client = createClient(DevicePluginClientService, path);
  directory.atEnd(() => {
    client.close();
  });
  const { containerResponses } = await client.allocate({ containerRequests: [{ devicesIds: ['a'] }] });
  expect(containerResponses.map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual(
    sent.map((bytes) => bytes.toString('hex')),
  );
  const [first = new Uint8Array()] = containerResponses;
  expect(first.buffer.byteLength).toBe(first.length); // of its own, not a window on the received message
  expect(decodeContainerAllocateResponse(first)).toEqual(RESPONSE);
});

test('fields beside the container responses are skipped', () => {
  const one = encodeContainerAllocateResponse(RESPONSE);
  const bytes = Buffer.concat([Buffer.of(0x10, 0x05), Buffer.of(0x0a, one.length), one, UNKNOWN_FIELDS]);
  const { containerResponses } = DevicePluginClientService.allocate.responseDeserialize(bytes);
  expect(containerResponses).toEqual([Uint8Array.from(one)]);
});

test('an answer that is not protobuf is refused with a reason', () => {
  expect(() => decodeContainerAllocateResponse(Buffer.from([0x0a, 0xff]))).toThrow(
    /^ContainerAllocateResponse cannot be decoded: ./,
  );
  expect(() => DevicePluginClientService.allocate.responseDeserialize(Buffer.from([0x0a, 0xff]))).toThrow(Error);
});
