/** The PodResources API of a whole daemon. */
import { until } from '@devmgr/plugin-sdk/testing';
import { createClient, podresources, type RpcClient } from '@devmgr/wire';
import { afterEach, expect, it } from 'vitest';
import { DaemonBench } from './daemon-bench.ts';

const R = 'example.com/r';
const ONE = { resources: { limits: { [R]: 1 } } };
type Client = RpcClient<typeof podresources.PodResourcesListerService>;

let bench: DaemonBench;
const clients: Client[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await bench.close();
});

function connect(): Client {
  const client = createClient(podresources.PodResourcesListerService, bench.podResourcesSocket);
  clients.push(client);
  return client;
}

/** Names of the pods in List with the ids they hold, each call on a connection of its own. */
async function listed(): Promise<Record<string, string[]>> {
  const client = connect();
  const { podResources } = await client.list({});
  client.close();
  return Object.fromEntries(
    podResources.map(({ name, containers }) => [
      name,
      containers.flatMap(({ devices }) => devices.flatMap(({ deviceIds }) => deviceIds)),
    ]),
  );
}

it('scenario 164: devices of a plugin without topology have none, before and after a restart', async () => {
  bench = await DaemonBench.start();
  await bench.plugin(R, ['d0', 'd1', 'd2']);
  await bench.pod('one', { containers: [{ name: 'main', ...ONE }] });
  await bench.pod('two', { containers: [{ name: 'main', resources: { limits: { [R]: 2 } } }] });
  await bench.phase('one', 'Running');
  await bench.phase('two', 'Running');
  const before = await connect().list({});
  const entries = before.podResources.flatMap(({ containers }) => containers.flatMap(({ devices }) => devices));
  expect(entries.map(({ deviceIds, topology }) => [deviceIds, topology])).toEqual(
    ['d0', 'd1', 'd2'].map((id) => [[id], undefined]),
  );
  const allocatable = await connect().getAllocatableResources({});
  expect(allocatable.devices.map(({ topology }) => topology)).toEqual([undefined, undefined, undefined]);

  await bench.restart();
  expect(await connect().list({})).toEqual(before);
  await until('the plugin to be back', async () => {
    const client = connect();
    const { devices } = await client.getAllocatableResources({});
    client.close();
    return devices.length === 3;
  });
  expect(await connect().getAllocatableResources({})).toEqual(allocatable);
  expect(await connect().list({})).toEqual(before);
});

it('scenario 166: /metrics has the calls that were made, and /readyz the socket', async () => {
  bench = await DaemonBench.start({ listen: '127.0.0.1:0' });
  const client = connect();
  await client.list({});
  await client.getAllocatableResources({});
  await expect(client.get({ podName: 'none', podNamespace: 'default' })).rejects.toThrow(
    'pod none in namespace default not found',
  );
  const text = await (await fetch(`${bench.address}/metrics`)).text();
  for (const [name, count] of Object.entries({
    requests_total: 3,
    requests_list: 1,
    requests_get_allocatable: 1,
    requests_get: 1,
    errors_list: 0,
    errors_get_allocatable: 0,
    errors_get: 1,
  })) {
    expect(text).toContain(`kubelet_pod_resources_endpoint_${name}{server_api_version="v1"} ${String(count)}\n`);
  }
  expect(await (await fetch(`${bench.address}/readyz?verbose`)).text()).toContain('[+]pod-resources ok');
});

it('scenarios 159, 167: pods come, end and go, and List is the running set at each step', async () => {
  bench = await DaemonBench.start();
  await bench.plugin(
    R,
    Array.from({ length: 6 }, (_, index) => `d${String(index)}`),
  );
  expect(await listed()).toEqual({});
  const held = (): Promise<string[]> => listed().then((pods) => Object.values(pods).flat().toSorted());

  for (let round = 0; round < 3; round += 1) {
    const name = (index: number): string => `p${String(round)}-${String(index)}`;
    const command = (index: number): string[] => (index % 2 === 0 ? ['sleep', '1000'] : ['true']);
    for (let index = 0; index < 6; index += 1) {
      await bench.pod(name(index), {
        restartPolicy: 'Never',
        containers: [{ name: 'main', command: command(index), ...ONE }],
      });
    }
    for (let index = 0; index < 6; index += 1)
      await bench.phase(name(index), index % 2 === 0 ? 'Running' : 'Succeeded');
    const running = await listed();
    expect(Object.keys(running).toSorted()).toEqual([name(0), name(2), name(4)]);
    expect(Object.values(running).map(({ length }) => length)).toEqual([1, 1, 1]);
    expect(new Set(await held()).size).toBe(3);

    await bench.remove(name(2));
    expect(Object.keys(await listed()).toSorted()).toEqual([name(0), name(4)]);
    // A refused pod is Failed at once, and never was active.
    await bench.pod('greedy', { containers: [{ name: 'main', resources: { limits: { [R]: 6 } } }] });
    await bench.phase('greedy', 'Failed');
    expect(Object.keys(await listed()).toSorted()).toEqual([name(0), name(4)]);
    for (const left of ['greedy', name(0), name(1), name(3), name(4), name(5)]) await bench.remove(left);
    expect(await listed()).toEqual({});
  }
});
