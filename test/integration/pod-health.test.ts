/** Health of the devices a pod holds, in its status. (KEP-4680: allocatedResourcesStatus) */
import type { Pod } from '@devmgr/core';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { DaemonBench } from './daemon-bench.ts';
import { ManagerBench, pod } from './manager-bench.ts';

const R = 'example.com/r';
const S = 'example.com/s';
const U = (id: string): { id: string; health: string } => ({ id, health: 'Unhealthy' });

/** Containers of all kinds with what their status says about devices: `resource/id=health`. */
function healthOf({ status }: Pod): Record<string, string[]> {
  return Object.fromEntries(
    [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].map((container) => [
      container.name,
      (container.allocatedResourcesStatus ?? []).flatMap(({ name, resources }) =>
        resources.map(({ resourceID, health }) => `${name}/${resourceID}=${health}`),
      ),
    ]),
  );
}

describe('over a whole daemon', () => {
  let bench: DaemonBench;
  afterEach(async () => {
    await bench.close();
  });

  async function showsHealth(name: string, expected: Record<string, string[]>): Promise<Pod> {
    return bench.podWhere(
      name,
      `the status to say ${JSON.stringify(expected)}`,
      (now) => JSON.stringify(healthOf(now)) === JSON.stringify(expected),
    );
  }

  it('scenario 61: a healthy and an unhealthy device of one container are told apart', async () => {
    bench = await DaemonBench.start();
    const plugin = await bench.plugin(R, ['dev1', 'dev2']);
    await bench.pod('both', { containers: [{ name: 'main', resources: { limits: { [R]: 2 } } }] });
    await bench.phase('both', 'Running');
    plugin.list(['dev1', U('dev2')]);
    const { status } = await showsHealth('both', { main: [`${R}/dev1=Healthy`, `${R}/dev2=Unhealthy`] });
    expect(status?.containerStatuses?.[0]?.allocatedResourcesStatus).toEqual([
      {
        name: R,
        resources: [
          { resourceID: 'dev1', health: 'Healthy' },
          { resourceID: 'dev2', health: 'Unhealthy' },
        ],
      },
    ]);
  });

  it('scenario 63: a running pod shows each change, Unknown while nobody speaks for the device, and runs on', async () => {
    bench = await DaemonBench.start();
    const plugin = await bench.plugin(R, ['dev1']);
    await bench.pod('job', {
      initContainers: [{ name: 'proxy', restartPolicy: 'Always' }],
      containers: [{ name: 'main', resources: { limits: { [R]: 1 } } }],
    });
    await bench.phase('job', 'Running');
    const main = (health: string): Record<string, string[]> => ({ proxy: [], main: [`${R}/dev1=${health}`] });
    await showsHealth('job', main('Healthy'));
    plugin.list([U('dev1')]);
    await showsHealth('job', main('Unhealthy'));
    plugin.list(['dev1']);
    await showsHealth('job', main('Healthy'));
    plugin.list(['dev9']); // vanished
    await showsHealth('job', main('Unknown'));
    plugin.list(['dev1']);
    await showsHealth('job', main('Healthy'));
    await plugin.close();
    const last = await showsHealth('job', main('Unknown'));
    expect(last.status?.phase).toBe('Running');
    expect(last.status?.containerStatuses?.[0]?.restartCount).toBe(0);
  });

  it('scenario 63: a sidecar shows the health of its devices as well', async () => {
    bench = await DaemonBench.start();
    const plugin = await bench.plugin(R, ['dev1']);
    await bench.pod('job', {
      initContainers: [{ name: 'proxy', restartPolicy: 'Always', resources: { limits: { [R]: 1 } } }],
      containers: [{ name: 'main' }],
    });
    await bench.phase('job', 'Running');
    plugin.list([U('dev1')]);
    await showsHealth('job', { proxy: [`${R}/dev1=Unhealthy`], main: [] });
  });

  it('scenario 64: a pod whose container cannot start shows the same', async () => {
    bench = await DaemonBench.start();
    const plugin = await bench.plugin(R, ['dev1']);
    await bench.pod('broken', {
      containers: [{ name: 'main', command: ['/no/such/program'], resources: { limits: { [R]: 1 } } }],
    });
    const waiting = await bench.podWhere('broken', 'a container that waits', ({ status }) =>
      [status?.containerStatuses?.[0]].some(
        (main) => main?.state.waiting !== undefined && main.allocatedResourcesStatus !== undefined,
      ),
    );
    expect(healthOf(waiting)).toEqual({ main: [`${R}/dev1=Healthy`] });
    plugin.list([U('dev1')]);
    await showsHealth('broken', { main: [`${R}/dev1=Unhealthy`] });
  });

  it('scenario 65: of two resources with the same device id only the holder of the changed one is told', async () => {
    bench = await DaemonBench.start();
    const [first] = [await bench.plugin(R, ['same']), await bench.plugin(S, ['same'])];
    for (const [name, resource] of [
      ['has-r', R],
      ['has-s', S],
    ] as const) {
      await bench.pod(name, { containers: [{ name: 'main', resources: { limits: { [resource]: 1 } } }] });
      await bench.phase(name, 'Running');
    }
    const other = await bench.api.getPod('default', 'has-s');
    first.list([U('same')]);
    await showsHealth('has-r', { main: [`${R}/same=Unhealthy`] });
    const after = await bench.api.getPod('default', 'has-s');
    expect(after.metadata.resourceVersion).toBe(other.metadata.resourceVersion);
    expect(healthOf(after)).toEqual({ main: [`${S}/same=Healthy`] });
  });
});

describe('who is told', () => {
  let bench: ManagerBench;
  /** Pods in the order in which they were told, with the health of their device at that moment. */
  let told: string[];
  afterEach(async () => {
    await bench.close();
  });

  async function start(): Promise<void> {
    bench = await ManagerBench.start();
    told = [];
    bench.admission.onHealthChange((uid) => {
      const health = bench.admission.allocatedHealth(uid, 'c0').map((device) => device.health);
      told.push(`${uid} ${health.join()}`);
    });
  }

  it('scenario 62: repeated lists tell nobody; of 200 lists with a change each, no pod misses its last state', async () => {
    await start();
    const names = Array.from({ length: 200 }, (_, index) => String(index));
    const plugin = await bench.plugin(
      R,
      names.map((name) => `dev${name}`),
    );
    for (const name of names) expect(await bench.outcome(pod(`pod${name}`, [{ [R]: 1 }]))).toBe('admitted');
    const list = (unhealthy: number): void => {
      plugin.list(names.map((name) => (Number(name) < unhealthy ? U(`dev${name}`) : `dev${name}`)));
    };
    for (let repeat = 0; repeat < 200; repeat += 1) list(0);
    // The next one that differs also says that all before it were read.
    for (let unhealthy = 1; unhealthy <= 200; unhealthy += 1) list(unhealthy);
    await bench.waitForNode(R, '0/200');
    expect(told).toEqual(names.map((name) => `pod${name} Unhealthy`));
  });

  it('scenario 66: nobody is told of a device nobody holds; the holder of one on two NUMA nodes is told once', async () => {
    await start();
    const wide = { id: 'wide', numaNodes: [0, 1] };
    const plugin = await bench.plugin(R, [wide, 'zz-free']);
    expect(await bench.outcome(pod('holder', [{ [R]: 1 }]))).toBe('admitted');
    expect(bench.held('holder', 'c0', R)).toEqual(['wide']);
    plugin.list([wide, U('zz-free')]);
    await bench.waitForNode(R, '1/2');
    expect(told).toEqual([]);
    plugin.list([{ ...wide, health: 'Unhealthy' }, U('zz-free')]);
    await until('the holder to be told', () => told.length > 0);
    await bench.waitForNode(R, '0/2');
    expect(told).toEqual(['holder Unhealthy']);
  });
});
