import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { RpcCode, RpcError } from '@devmgr/wire';
import { describe, expect, test, vi } from 'vitest';
import { ConnectionRateLimit } from '../src/podresources/connection-rate-limit.ts';
import { SystemClock } from '../src/system-clock.ts';
import { eventually } from './helpers/eventually.ts';
import { ManualClock } from './pods-support.ts';
import { PodResourcesKit, container, device, entry, podResources } from './podresources-kit.ts';

const GPU = 'example.com/gpu';
const NIC = 'example.com/nic';

describe('List', () => {
  test('scenario 158: no pods, a pod without devices, a pod with devices of two resources', async () => {
    const kit = new PodResourcesKit();
    const { socketPath } = await kit.start();
    const client = kit.client(socketPath);
    expect(await client.list({})).toEqual({ podResources: [] });

    kit.pod('plain', ['main', 'helper']);
    const plain = podResources('plain', [container('main'), container('helper')]);
    expect(await client.list({})).toEqual({ podResources: [plain] });
    expect(await client.get({ podName: 'plain', podNamespace: 'default' })).toEqual({ podResources: plain });

    kit.ledger.replaceDevices(GPU, [device('gpu-0', [0]), device('gpu-1', [1])]);
    kit.ledger.replaceDevices(NIC, [device('nic-0')]);
    kit.pod('train', ['main', 'helper']);
    kit.allocate('train', 'main', GPU, 2);
    kit.allocate('train', 'main', NIC, 1);
    const train = podResources('train', [
      container('main', [entry(GPU, 'gpu-0', 0), entry(GPU, 'gpu-1', 1), entry(NIC, 'nic-0')]),
      container('helper'),
    ]);
    expect(await client.list({})).toEqual({ podResources: [plain, train] });
    expect(await client.get({ podName: 'train', podNamespace: 'default' })).toEqual({ podResources: train });
  });

  test('scenario 159: pods that are over are absent, although their devices may still be on their way back', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    const names = async (): Promise<string[]> => (await client.list({})).podResources.map(({ name }) => name);
    kit.ledger.replaceDevices(GPU, [device('gpu-0'), device('gpu-1'), device('gpu-2')]);
    for (const name of ['good', 'bad', 'going', 'stays']) kit.pod(name, ['main']);
    for (const name of ['good', 'bad', 'stays']) kit.allocate(name, 'main', GPU, 1);
    expect(await names()).toEqual(['good', 'bad', 'going', 'stays']);
    kit.setPhase('good', 'Succeeded');
    kit.setPhase('bad', 'Failed');
    kit.inactive.add('uid-going');
    expect(await names()).toEqual(['stays']);
    await expect(client.get({ podName: 'good', podNamespace: 'default' })).rejects.toThrow('not found');
  });

  test('scenario 160: ordinary init containers are absent, sidecars come first, in List and Get', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    kit.ledger.replaceDevices(GPU, [device('gpu-0'), device('gpu-1'), device('gpu-2')]);
    kit.pod('web', ['app'], ['setup', 'proxy+', 'fetch', 'log+']);
    kit.allocate('web', 'setup', GPU, 1, 'init');
    kit.allocate('web', 'proxy', GPU, 1, 'sidecar');
    kit.allocate('web', 'app', GPU, 1);
    const expected = podResources('web', [
      container('proxy', [entry(GPU, 'gpu-1')]),
      container('log'),
      container('app', [entry(GPU, 'gpu-2')]),
    ]);
    expect(await client.list({})).toEqual({ podResources: [expected] });
    expect(await client.get({ podName: 'web', podNamespace: 'default' })).toEqual({ podResources: expected });
  });

  test('shows what was recorded, also for devices that moved, fell ill or vanished since', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    kit.ledger.replaceDevices(GPU, [device('gpu-0', [0, 1]), device('gpu-1')]);
    kit.pod('train', ['main']);
    kit.allocate('train', 'main', GPU, 2);
    const before = await client.list({});
    const devices = before.podResources[0]?.containers[0]?.devices ?? [];
    // One entry a node for a device on two of them.
    expect(devices).toHaveLength(3);
    expect(devices).toEqual(
      expect.arrayContaining([entry(GPU, 'gpu-0', 0), entry(GPU, 'gpu-0', 1), entry(GPU, 'gpu-1')]),
    );
    kit.ledger.replaceDevices(GPU, [device('gpu-1', [1], 'Unhealthy')]);
    expect(await client.list({})).toEqual(before);
    kit.ledger.forgetResource(GPU);
    expect(await client.list({})).toEqual(before);
  });

  test('an answer is never older than the last change', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    const held = async (): Promise<string[]> =>
      (await client.list({})).podResources.flatMap(({ containers }) =>
        containers.flatMap(({ devices }) => devices.flatMap(({ deviceIds }) => deviceIds)),
      );
    kit.ledger.replaceDevices(GPU, [device('gpu-0'), device('gpu-1')]);
    kit.pod('one', ['main']);
    expect(await held()).toEqual([]);
    kit.allocate('one', 'main', GPU, 1);
    expect(await held()).toEqual(['gpu-0']);
    expect(await held()).toEqual(['gpu-0']);
    kit.pod('two', ['main']);
    kit.allocate('two', 'main', GPU, 1);
    expect(await held()).toEqual(['gpu-0', 'gpu-1']);
    kit.ledger.releasePod('uid-one');
    expect(await held()).toEqual(['gpu-1']);
    kit.pods.delete('uid-two');
    expect((await client.list({})).podResources.map(({ name }) => name)).toEqual(['one']);
  });
});

describe('Get', () => {
  test("scenario 162: an unknown pod is answered with the kubelet's text", async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    kit.pod('here', ['main']);
    for (const [podName, podNamespace] of [
      ['gone', 'default'],
      ['here', 'elsewhere'],
      ['here', ''],
      ['', ''],
    ] as const) {
      const answer = client.get({ podName, podNamespace });
      await expect(answer).rejects.toBeInstanceOf(RpcError);
      await expect(answer).rejects.toMatchObject({
        code: RpcCode.Unknown,
        details: `pod ${podName} in namespace ${podNamespace} not found`,
      });
    }
  });
});

describe('GetAllocatableResources', () => {
  test('scenario 161: nothing, then each healthy device once a NUMA node, held or free', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    const devices = async () => (await client.getAllocatableResources({})).devices;
    expect(await client.getAllocatableResources({})).toEqual({ devices: [], cpuIds: [], memory: [] });

    kit.ledger.replaceDevices(GPU, [device('gpu-0', [0]), device('gpu-1', [0, 1]), device('gpu-2', [1], 'Unhealthy')]);
    kit.ledger.replaceDevices(NIC, [device('nic-0')]);
    const all = [entry(GPU, 'gpu-0', 0), entry(GPU, 'gpu-1', 0), entry(GPU, 'gpu-1', 1), entry(NIC, 'nic-0')];
    expect(await devices()).toEqual(all);
    kit.pod('train', ['main']);
    kit.allocate('train', 'main', GPU, 1);
    expect(await devices()).toEqual(all);

    kit.ledger.replaceDevices(GPU, [device('gpu-2', [1]), device('gpu-9', [-1])]);
    // A node of -1 is what the plugin said; only a recorded allocation means "no topology" by it.
    expect(await devices()).toEqual([entry(GPU, 'gpu-2', 1), entry(GPU, 'gpu-9', -1), entry(NIC, 'nic-0')]);
    kit.ledger.markAllUnhealthy(GPU);
    expect(await devices()).toEqual([entry(NIC, 'nic-0')]);
    kit.ledger.forgetResource(NIC);
    expect(await devices()).toEqual([]);
  });

  test('ids and names of any length and script arrive as they are', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    const ids = ['', 'ä', '設備', '\u{1f600}', 'x'.repeat(127), 'y'.repeat(128), 'z'.repeat(20_000), '0::1/2 "q"'];
    const long = `example.com/${'r'.repeat(200)}`;
    const nodes = [[], [0], [7, 1_000_000]];
    for (const resource of [GPU, long]) {
      kit.ledger.replaceDevices(
        resource,
        ids.map((id, index) => device(id, nodes[index % 3])),
      );
    }
    const expected = [GPU, long].flatMap((resource) =>
      [...kit.ledger.devices(resource)].flatMap(({ id, numaNodes }) =>
        numaNodes.length === 0 ? [entry(resource, id)] : numaNodes.map((node) => entry(resource, id, node)),
      ),
    );
    expect(expected).toHaveLength(20);
    expect((await client.getAllocatableResources({})).devices).toEqual(expected);
  });

  test('100,000 devices are encoded when a list changes, not for each call', async () => {
    const kit = new PodResourcesKit();
    const client = kit.client((await kit.start()).socketPath);
    const many = Array.from({ length: 100_000 }, (_, index) => device(`gpu-${String(index)}`, [index % 2]));
    kit.ledger.replaceDevices(GPU, many);
    kit.ledger.replaceDevices(NIC, [device('nic-0')]);
    const first = await client.getAllocatableResources({});
    expect(first.devices).toHaveLength(100_001);
    expect(first.devices[99_999]).toEqual(entry(GPU, 'gpu-99999', 1));
    kit.pod('train', ['main']);
    kit.allocate('train', 'main', GPU, 1);
    kit.ledger.replaceDevices(GPU, many);
    kit.ledger.releasePod('uid-train');
    expect(await client.getAllocatableResources({})).toEqual(first);
    expect(kit.listings).toBe(1);
    kit.ledger.replaceDevices(GPU, [...many.slice(1), device('gpu-0', [0], 'Unhealthy')]);
    expect((await client.getAllocatableResources({})).devices).toHaveLength(100_000);
    expect(kit.listings).toBe(2);
  });
});

test('scenario 163: v1alpha1 lists every pod, app containers alone, without topology', async () => {
  const kit = new PodResourcesKit();
  const { socketPath } = await kit.start();
  kit.ledger.replaceDevices(GPU, [device('gpu-0', [0]), device('gpu-1', [1])]);
  kit.pod('over', ['main'], [], 'Succeeded');
  kit.pod('web', ['app'], ['setup', 'proxy+']);
  kit.allocate('web', 'proxy', GPU, 1, 'sidecar');
  kit.allocate('web', 'app', GPU, 1);
  expect(await kit.alpha(socketPath).list({})).toEqual({
    podResources: [
      { name: 'over', namespace: 'default', containers: [{ name: 'main', devices: [] }] },
      {
        name: 'web',
        namespace: 'default',
        containers: [{ name: 'app', devices: [{ resourceName: GPU, deviceIds: ['gpu-1'] }] }],
      },
    ],
  });
});

describe('the rate limit', () => {
  test('scenario 165: a tight loop is refused after ten calls, others are not, and the loop recovers', async () => {
    const clock = new ManualClock();
    const kit = new PodResourcesKit(clock);
    const { socketPath } = await kit.start();
    const [greedy, modest, alpha] = [kit.client(socketPath), kit.client(socketPath), kit.alpha(socketPath)];
    for (let call = 0; call < 10; call += 1) await greedy.list({});
    await expect(greedy.list({})).rejects.toMatchObject({
      code: RpcCode.ResourceExhausted,
      details: 'rejected by rate limit',
    });
    // The limit is one for all calls of a connection.
    await expect(greedy.getAllocatableResources({})).rejects.toMatchObject({ code: RpcCode.ResourceExhausted });
    await modest.list({});
    await alpha.list({});
    clock.advance(10);
    await greedy.list({});
    await expect(greedy.list({})).rejects.toMatchObject({ code: RpcCode.ResourceExhausted });

    const text = await kit.metrics.render();
    expect(text).toContain('kubelet_pod_resources_endpoint_requests_list{server_api_version="v1"} 12\n');
    expect(text).toContain('devmgr_pod_resources_rejected_total 3\n');
  });

  test('a loop at full speed over real time gets both answers', async () => {
    const kit = new PodResourcesKit(new SystemClock());
    const client = kit.client((await kit.start()).socketPath);
    const outcomes = await Promise.allSettled(Array.from({ length: 200 }, () => client.list({})));
    const refused = outcomes.filter(({ status }) => status === 'rejected').length;
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThanOrEqual(190);
    await eventually('the server to answer again', () =>
      client.list({}).then(
        () => true,
        () => false,
      ),
    );
  });

  test('100 a second, 10 at once, and a time that goes backwards gives nothing away', () => {
    const limit = new ConnectionRateLimit();
    let allowed = 0;
    for (let ms = 0; ms < 10_000; ms += 1) if (limit.allow('a', ms)) allowed += 1;
    expect(allowed).toBeGreaterThanOrEqual(1_005);
    expect(allowed).toBeLessThanOrEqual(1_010);
    expect(limit.allow('a', 0)).toBe(false);
  });

  test('connections that come and go are not remembered', () => {
    const limit = new ConnectionRateLimit();
    for (let index = 0; index < 10_000; index += 1) limit.allow(String(index), index * 10);
    expect(limit.size).toBeLessThan(100);
  });
});

describe('metrics', () => {
  test('scenario 166: requests and errors are counted under the names of the kubelet', async () => {
    const kit = new PodResourcesKit();
    const { socketPath } = await kit.start();
    const client = kit.client(socketPath);
    const samples = async (): Promise<string[]> =>
      (await kit.metrics.render()).split('\n').filter((line) => line.startsWith('kubelet_pod_resources_endpoint'));
    const names = ['list', 'get_allocatable', 'get'].flatMap((call) => [`requests_${call}`, `errors_${call}`]);
    const zeros = ['requests_total', ...names].map(
      (name) => `kubelet_pod_resources_endpoint_${name}{server_api_version="v1"} 0`,
    );
    expect((await samples()).toSorted()).toEqual(zeros.toSorted());

    kit.pod('here', ['main']);
    await client.list({});
    await client.list({});
    await client.getAllocatableResources({});
    await client.get({ podName: 'here', podNamespace: 'default' });
    await expect(client.get({ podName: 'gone', podNamespace: 'default' })).rejects.toThrow();
    await kit.alpha(socketPath).list({});
    const counts = new Map((await samples()).map((line) => line.split(' ') as [string, string]));
    const of = (name: string, version = 'v1'): string | undefined =>
      counts.get(`kubelet_pod_resources_endpoint_${name}{server_api_version="${version}"}`);
    expect([of('requests_total'), of('requests_list'), of('requests_get_allocatable'), of('requests_get')]).toEqual([
      '5',
      '2',
      '1',
      '2',
    ]);
    expect([of('errors_list'), of('errors_get_allocatable'), of('errors_get')]).toEqual(['0', '0', '1']);
    expect([of('requests_total', 'v1alpha1'), of('requests_list', 'v1alpha1')]).toEqual(['1', undefined]);
  });
});

describe('the socket', () => {
  test('is in a directory of its own with mode 0750, is replaced without a gap, and goes with the manager', async () => {
    const kit = new PodResourcesKit();
    const first = await kit.start();
    expect(first.socketPath).toBe(join(kit.rootDir, 'pod-resources', 'kubelet.sock'));
    const umask = Number.parseInt(/^Umask:\s*(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '', 8);
    expect(statSync(join(kit.rootDir, 'pod-resources')).mode & 0o777).toBe(0o750 & ~umask);
    const second = await kit.start();
    // The old one may not take the new one's file with it.
    await first.close();
    await kit.client(second.socketPath).list({});
    await second.close();
    await second.close();
    expect(statSync(second.socketPath, { throwIfNoEntry: false })).toBeUndefined();
  });

  test('that cannot be had is told and tried again; the manager goes on', async () => {
    const clock = new ManualClock();
    const kit = new PodResourcesKit(clock);
    mkdirSync(join(kit.rootDir, 'pod-resources'));
    const path = join(kit.rootDir, 'pod-resources', 'kubelet.sock');
    writeFileSync(path, 'in the way');
    const endpoint = await kit.start();
    const text = `the PodResources API cannot be served on ${path}: cannot listen on ${path}: a file that is not a socket lies there`;
    expect(endpoint.health()).toBe(text);
    expect(kit.events).toEqual([{ reason: 'PodResourcesUnavailable', message: text }]);

    clock.advance(10_000);
    await eventually('the next attempt to be planned', () => clock.pending().length === 1);
    expect(kit.events).toHaveLength(1); // the same problem is told once
    rmSync(path);
    clock.advance(10_000);
    await eventually('it to serve', () => endpoint.health() === undefined);
    expect(await kit.client(path).list({})).toEqual({ podResources: [] });
    expect(clock.pending()).toEqual([]);
  });

  test('that fails later is told and listened on again', async () => {
    const clock = new ManualClock();
    const kit = new PodResourcesKit(clock);
    const servers: net.Server[] = [];
    const listen = vi.spyOn(net.Server.prototype, 'listen').mockImplementation(function (
      this: net.Server,
      ...options: unknown[]
    ) {
      servers.push(this);
      listen.mockRestore();
      return (this.listen as (...all: unknown[]) => net.Server)(...options);
    } as never);
    const endpoint = await kit.start();
    expect(endpoint.health()).toBeUndefined();
    servers[0]?.emit('error', new Error('accept: bad file'));
    const text = `the PodResources API cannot be served on ${endpoint.socketPath}: accept: bad file`;
    expect(endpoint.health()).toBe(text);
    expect(kit.events).toEqual([{ reason: 'PodResourcesUnavailable', message: text }]);
    clock.advance(10_000);
    await eventually('it to serve', () => endpoint.health() === undefined);
    await kit.client(endpoint.socketPath).list({});
  });

  test('no attempt follows the end', async () => {
    const clock = new ManualClock();
    const kit = new PodResourcesKit(clock);
    writeFileSync(join(kit.rootDir, 'pod-resources'), 'in the way');
    const endpoint = await kit.start();
    expect(endpoint.health()).toContain('EEXIST');
    await endpoint.close();
    expect(endpoint.health()).toBeUndefined();
    expect(clock.pending()).toEqual([]);
  });
});
