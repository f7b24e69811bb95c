import { expect, test } from 'vitest';
import { createClient, deviceplugin, listenUnix } from '../src/index.ts';
import { devicePlugin, manyDevices } from './support/device-plugin.ts';
import { useDirectory } from './support/directory.ts';

const directory = useDirectory();
const MIB = 1024 * 1024;

test.each<[what: string, count: number, idBytes: number, atLeastBytes: number]>([
  ['of 6 MiB', 6000, 1040, 6 * MIB],
  ['of 8 MiB', 80_000, 100, 8 * MIB],
  ['with 100,000 devices', 100_000, 40, 5 * MIB],
])('scenario 46: a list %s is accepted', { timeout: 120_000 }, async (_what, count, idBytes, atLeastBytes) => {
  const list = { devices: manyDevices(count, idBytes) };
  expect(deviceplugin.ListAndWatchResponse.encode(list).finish().length).toBeGreaterThanOrEqual(atLeastBytes);
  const path = directory.path('p.sock');
  const plugin = devicePlugin({
    async *listAndWatch() {
      yield list;
      yield { devices: [] };
      yield list;
    },
  });
  const server = await listenUnix({ path, services: [plugin] });
  directory.atEnd(() => server.close(0));
  const client = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    client.close();
  });
  const counts: number[] = [];
  let last: deviceplugin.Device | undefined;
  for await (const { devices } of client.listAndWatch({})) {
    counts.push(devices.length);
    last = devices.at(-1) ?? last;
  }
  expect(counts).toEqual([count, 0, count]);
  expect(last).toEqual(list.devices.at(-1));
});
