/**
 * Simulated hardware on a real cluster: the kubelet, scheduler and API server of Kubernetes take `devmgr simulate` for
 * what they take every device plugin for.
 */
import type { ChildProcess } from 'node:child_process';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cluster } from './cluster.ts';

const GPU = 'example.com/gpu';
const NODE = '127.0.0.1';
/** The node's status comes every two seconds here; a loaded machine takes its time. */
const SLOW_MS = 60_000;

let cluster: Cluster;
let gpus: ChildProcess & { readonly output: () => string };

interface PodStatus {
  readonly phase?: string;
  readonly conditions?: readonly { type: string; status: string; message?: string }[];
  readonly containerStatuses?: readonly {
    readonly restartCount: number;
    readonly containerID?: string;
    readonly allocatedResourcesStatus?: readonly {
      readonly name: string;
      readonly resources: readonly { resourceID: string; health: string }[];
    }[];
  }[];
}

async function json<T>(...args: readonly string[]): Promise<T> {
  return JSON.parse(await cluster.kubectl(...args, '-o', 'json')) as T;
}

async function quantities(): Promise<{ allocatable: string | undefined; capacity: string | undefined }> {
  const { status } = await json<{ status: Record<'allocatable' | 'capacity', Record<string, string>> }>(
    'get',
    'node',
    NODE,
  );
  return { allocatable: status.allocatable[GPU], capacity: status.capacity[GPU] };
}

async function nodeShows(allocatable: number, capacity: number): Promise<void> {
  let seen: unknown;
  await until(
    `${allocatable} of ${capacity} on the node`,
    async () => {
      seen = await quantities();
      return JSON.stringify(seen) === JSON.stringify({ allocatable: String(allocatable), capacity: String(capacity) });
    },
    SLOW_MS,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}; it shows ${JSON.stringify(seen)}\n${gpus.output()}\n${cluster.complaints()}`);
  });
}

async function apply(name: string, count: number): Promise<void> {
  const script = 'env | sort; ls /dev/gpu*; trap "exit 0" TERM; sleep 1000 & wait';
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: 'localhost/busybox:1',
          imagePullPolicy: 'Never',
          command: ['sh', '-c', script],
          resources: { limits: { [GPU]: count } },
        },
      ],
    },
  };
  await cluster.apply(pod);
}

const statusOf = async (name: string): Promise<PodStatus> =>
  (await json<{ status: PodStatus }>('get', 'pod', name)).status;

async function running(name: string): Promise<PodStatus> {
  return until(
    `${name} to run`,
    async () => {
      const status = await statusOf(name);
      return status.phase === 'Running' ? status : undefined;
    },
    SLOW_MS,
  );
}

/** `gpu-0 Healthy` for each device of the pod. */
async function devicesOf(name: string): Promise<string[]> {
  const { containerStatuses = [] } = await statusOf(name);
  return containerStatuses
    .flatMap(({ allocatedResourcesStatus = [] }) => allocatedResourcesStatus)
    .filter((status) => status.name === GPU)
    .flatMap(({ resources }) => resources.map(({ resourceID, health }) => `${resourceID} ${health}`))
    .sort();
}

const idsOf = async (name: string): Promise<string[]> =>
  (await devicesOf(name)).map((line) => line.slice(0, line.indexOf(' ')));

beforeAll(async () => {
  cluster = await Cluster.up();
  gpus = cluster.plugin('simulate', '--preset', 'gpu-server-8', '--root-dir', '/var/lib/kubelet');
});

afterAll(async () => {
  expect(await cluster.down()).toEqual([]);
});

test('eight simulated GPUs are on the node, and the scheduler places pods on them', async () => {
  await nodeShows(8, 8);
  await apply('two', 2);
  await apply('four', 4);
  await running('two');
  await running('four');
  const [two, four] = [await idsOf('two'), await idsOf('four')];
  expect(two).toHaveLength(2);
  expect(new Set([...two, ...four]).size).toBe(6);
  // The plugin's preference: no pod's GPUs are on both NUMA nodes.
  for (const ids of [two, four]) expect(new Set(ids.map((id) => Number(id.slice(4)) < 4)).size).toBe(1);
  const log = await until('the log', async () => {
    const text = await cluster.kubectl('logs', 'two');
    return text.includes('/dev/gpu') ? text : undefined;
  });
  expect(/^GPU_IDS=(.*)$/m.exec(log)?.[1]?.split(',').sort()).toEqual(two);
  for (const id of two) expect(log).toContain(`/dev/gpu${id.slice(4)}\n`);

  await apply('late', 4);
  await until('the third to wait', async () =>
    (await statusOf('late')).conditions?.some(({ message }) => message?.includes(`1 Insufficient ${GPU}`)),
  );
});

test('a flap shows in what the node offers and in the status of the pod that has the device', async () => {
  const [id = ''] = await idsOf('two');
  await cluster.devmgr('simulate', 'flap', id, '--every', '10s');
  await nodeShows(7, 8);
  await until('the pod to know', async () => (await devicesOf('two')).includes(`${id} Unhealthy`), SLOW_MS);
  await nodeShows(8, 8);
  await until('the pod to know', async () => (await devicesOf('two')).includes(`${id} Healthy`), SLOW_MS);
  await cluster.devmgr('simulate', 'calm');
  await nodeShows(8, 8);
  expect((await statusOf('two')).phase).toBe('Running');
});

test('devices that are plugged in are used, those that are unplugged are gone', async () => {
  expect((await statusOf('late')).phase).toBe('Pending');
  await cluster.devmgr('simulate', 'add', 'gpu-8', 'gpu-9', '--numa', '1');
  await nodeShows(10, 10);
  await running('late');
  await cluster.devmgr('simulate', 'remove', 'gpu-9');
  await nodeShows(9, 9);
  expect((await statusOf('late')).phase).toBe('Running');
  await cluster.devmgr('simulate', 'add', 'gpu-9', '--numa', '1');
  await nodeShows(10, 10);
});

test('the kubelet is restarted, and everything is as it was', async () => {
  const names = ['two', 'four', 'late'];
  const before = await Promise.all(names.map(idsOf));
  const containers = await Promise.all(
    names.map(async (name) => (await statusOf(name)).containerStatuses?.[0]?.containerID),
  );
  await cluster.stop('kubelet');
  await cluster.start('kubelet');
  // It has removed the plugin's socket and forgotten the plugin, which notices by itself.
  await nodeShows(10, 10);
  expect(await Promise.all(names.map(idsOf))).toEqual(before);
  for (const [index, name] of names.entries()) {
    expect((await running(name)).containerStatuses?.[0]).toMatchObject({
      restartCount: 0,
      containerID: containers[index],
    });
  }
  // A new pod gets what is free, as before.
  await cluster.kubectl('delete', 'pod', 'late', '--wait=true');
  await apply('new', 1);
  await running('new');
  const [id = ''] = await idsOf('new');
  expect([...(before[0] ?? []), ...(before[1] ?? [])]).not.toContain(id);
});

test('the plugin dies, and comes back to the kubelet it knows', async () => {
  await cluster.devmgr('simulate', 'die');
  await nodeShows(0, 10);
  expect((await statusOf('two')).phase).toBe('Running');
  await cluster.devmgr('simulate', 'restart');
  await nodeShows(10, 10);
});

test('a list that is too long for a kubelet is not taken, and does no lasting harm', async () => {
  await cluster.devmgr('simulate', 'oversize', '5M');
  await nodeShows(0, 10);
  await cluster.devmgr('simulate', 'calm');
  await nodeShows(10, 10);
});

test('a plugin that ends leaves nothing but its capacity', async () => {
  gpus.kill('SIGTERM');
  await nodeShows(0, 10);
  await until('its end', () => gpus.exitCode !== null);
  expect(gpus.exitCode).toBe(0);
  expect(await cluster.devmgr('simulate', 'get', '-o', 'json')).toBe('[]\n');
});
