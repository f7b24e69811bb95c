/** What becomes of pods and their devices when containers, plugins, the manager or the machine start anew. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pod } from '@devmgr/core';
import { until } from '@devmgr/plugin-sdk/testing';
import { createClient, podresources, podresourcesV1alpha1 } from '@devmgr/wire';
import { afterEach, expect, it } from 'vitest';
import { DaemonBench } from './daemon-bench.ts';

const R = 'example.com/r';
const ONE = { resources: { limits: { [R]: 1 } } };
const SAY = 'echo "got $SCRIPTED_DEVICES"';

let bench: DaemonBench;
afterEach(async () => {
  await bench.close();
});

/** Pod to the ids that List (v1) tells of it. */
async function listed(): Promise<Record<string, string[]>> {
  const client = createClient(podresources.PodResourcesListerService, bench.podResourcesSocket);
  try {
    const { podResources } = await client.list({}, { timeoutMs: 10_000 });
    return Object.fromEntries(
      podResources.map((pod) => [
        pod.name,
        pod.containers.flatMap(({ devices }) => devices.flatMap(({ deviceIds }) => deviceIds)),
      ]),
    );
  } finally {
    client.close();
  }
}

async function output(name: string): Promise<string> {
  let text = '';
  const signal = AbortSignal.timeout(10_000);
  for await (const part of bench.api.podLogs('default', name, { follow: false, previous: false, signal }))
    text += Buffer.from(part).toString();
  return text;
}

/** What must stay as it is while a pod runs on undisturbed. */
const instance = (pod: Pod): unknown => {
  const [status] = pod.status?.containerStatuses ?? [];
  return [pod.metadata.uid, status?.restartCount, status?.containerID, status?.state.running];
};
const ready = (): Promise<unknown> =>
  until('the plugin to be back', async () =>
    (await bench.api.resources()).some(({ name, plugin }) => name === R && plugin?.state === 'Connected'),
  );

it('scenario 148: a pod is told its device, and List says the same in both versions', async () => {
  bench = await DaemonBench.start();
  await bench.plugin(R, ['Dev-1', 'Dev-2']);
  await bench.pod('p', { containers: [{ name: 'main', command: ['sh', '-c', `${SAY}; sleep 1000`], ...ONE }] });
  await bench.phase('p', 'Running');
  await until('its output', async () => (await output('p')).includes('got Dev-1'));
  expect(await listed()).toEqual({ p: ['Dev-1'] });
  const alpha = createClient(podresourcesV1alpha1.PodResourcesListerService, bench.podResourcesSocket);
  const { podResources } = await alpha.list({}, { timeoutMs: 10_000 });
  alpha.close();
  expect(podResources).toMatchObject([
    { name: 'p', containers: [{ name: 'main', devices: [{ resourceName: R, deviceIds: ['Dev-1'] }] }] },
  ]);
});

it('scenarios 150, 152: a container that restarts keeps its device, also over a restart of the manager; another pod gets another', async () => {
  bench = await DaemonBench.start();
  const plugin = await bench.plugin(R, ['Dev-1', 'Dev-2']);
  // Ends once with an error, then stays.
  const command = ['sh', '-c', `${SAY}; [ -e "$FLAG" ] || { touch "$FLAG"; exit 1; }; sleep 1000`];
  const env = [{ name: 'FLAG', value: join(bench.rootDir, 'flag') }];
  await bench.pod('p', { restartPolicy: 'OnFailure', containers: [{ name: 'main', command, env, ...ONE }] });
  const restarted = await bench.podWhere('p', 'p to run again', ({ status }) => {
    const [main] = status?.containerStatuses ?? [];
    return main?.restartCount === 1 && main.state.running !== undefined;
  });
  await until('its second output', async () => (await output('p')).includes('got Dev-1'));
  await bench.pod('q', { containers: [{ name: 'main', ...ONE }] });
  await bench.phase('q', 'Running');
  expect(await listed()).toEqual({ p: ['Dev-1'], q: ['Dev-2'] });
  expect(plugin.callsOf('Allocate')).toHaveLength(2);

  await bench.restart();
  await ready();
  expect(await listed()).toEqual({ p: ['Dev-1'], q: ['Dev-2'] });
  expect(instance(await bench.phase('p', 'Running'))).toEqual(instance(restarted));
});

it('scenarios 151, 153: restarts of the manager, of the plugin and of both leave a running pod alone', async () => {
  bench = await DaemonBench.start();
  const plugin = await bench.plugin(R, ['Dev-1', 'Dev-2']);
  await bench.pod('p', { containers: [{ name: 'main', ...ONE }] });
  const before = instance(await bench.phase('p', 'Running'));
  const unchanged = async (): Promise<void> => {
    await ready();
    expect(instance(await bench.phase('p', 'Running'))).toEqual(before);
    expect(await listed()).toEqual({ p: ['Dev-1'] });
  };
  await bench.restart();
  await unchanged();

  await plugin.kill();
  await until('the end to be seen', async () =>
    (await bench.api.resources()).some(({ plugin: state }) => state?.state === 'Disconnected'),
  );
  await plugin.listen();
  await plugin.register();
  await unchanged();

  await bench.stop();
  await plugin.kill();
  await bench.start();
  await plugin.listen();
  await plugin.register();
  await unchanged();
  expect(plugin.callsOf('Allocate')).toHaveLength(1);
});

it('scenario 154: a pod that has succeeded stays so, without its plugin, over a restart', async () => {
  bench = await DaemonBench.start();
  const plugin = await bench.plugin(R, ['Dev-1']);
  await bench.pod('p', { restartPolicy: 'Never', containers: [{ name: 'main', command: ['true'], ...ONE }] });
  const ended = await bench.phase('p', 'Succeeded');
  await plugin.close();
  await bench.restart();
  expect((await bench.phase('p', 'Succeeded')).status).toMatchObject({
    containerStatuses: ended.status!.containerStatuses!,
  });
  expect(await listed()).toEqual({});
});

it('scenario 155: a pod whose manifest went while the manager was down gives its devices back', async () => {
  const manifests = mkdtempSync(join(tmpdir(), 'dmm-'));
  bench = new DaemonBench({ manifests });
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'main', command: ['sleep', '1000'], ...ONE }] },
  };
  try {
    await bench.start();
    await bench.plugin(R, ['Dev-1']);
    writeFileSync(join(manifests, 'p.json'), JSON.stringify(manifest));
    const [pod] = await until('the pod to run', async () => {
      const { items } = await bench.api.listPods();
      return items.length === 1 && items[0]?.status?.phase === 'Running' ? items : undefined;
    });
    expect(await listed()).toEqual({ [pod!.metadata.name]: ['Dev-1'] });
    await bench.stop();
    rmSync(join(manifests, 'p.json'));
    await bench.start();
    await until('the pod to be gone', async () => (await bench.api.listPods()).items.length === 0);
    await ready();
    expect(await listed()).toEqual({});
    expect(await bench.api.devices(R)).toMatchObject([{ id: 'Dev-1', state: 'Free' }]);
  } finally {
    rmSync(manifests, { recursive: true, force: true });
  }
});

it('scenario 156: after a reboot a pod waits for its plugin, and is refused when that does not come back', async () => {
  bench = await DaemonBench.start({ waitForPlugin: '2s' });
  const plugin = await bench.plugin(R, ['Dev-1']);
  await bench.pod('p', { containers: [{ name: 'main', ...ONE }] });
  await bench.phase('p', 'Running');
  // Nothing of this boot is left: no containers, and a plugin that comes back without registering.
  await bench.stop({ keepRunning: false });
  await plugin.close();
  await bench.start('another-boot');
  const waiting = await bench.podWhere('p', 'p to wait', ({ status }) =>
    (status?.conditions ?? []).some(({ reason }) => reason === 'WaitingForDevicePlugin'),
  );
  expect(waiting.status?.containerStatuses).toMatchObject([{ ready: false }]);
  const refused = await bench.phase('p', 'Failed');
  expect(refused.status).toMatchObject({ reason: 'UnexpectedAdmissionError' });
  expect(await listed()).toEqual({});
  expect(await bench.api.resources()).toMatchObject([{ name: R, capacity: 0, allocatable: 0, allocated: 0 }]);
});

it('after a reboot a pod gets its recorded device again once its plugin is back', async () => {
  bench = await DaemonBench.start();
  const plugin = await bench.plugin(R, ['Dev-1', 'Dev-2']);
  await bench.pod('first', { containers: [{ name: 'main', ...ONE }] });
  await bench.phase('first', 'Running');
  await bench.pod('p', { containers: [{ name: 'main', ...ONE }] });
  await bench.phase('p', 'Running');
  await bench.stop({ keepRunning: false });
  await plugin.kill();
  await bench.start('another-boot');
  await plugin.listen();
  await plugin.register();
  await bench.phase('p', 'Running');
  await bench.phase('first', 'Running');
  expect(await listed()).toEqual({ first: ['Dev-1'], p: ['Dev-2'] });
});

it('scenario 157: a pod with a finished init container that used devices runs on although its plugin is not back', async () => {
  bench = await DaemonBench.start();
  const plugin = await bench.plugin(R, ['Dev-1', 'Dev-2']);
  await bench.pod('p', {
    initContainers: [{ name: 'prepare', command: ['true'], ...ONE }],
    containers: [{ name: 'main', ...ONE }],
  });
  const before = instance(await bench.phase('p', 'Running'));
  await bench.stop();
  await plugin.close();
  await bench.start();
  const after = await bench.phase('p', 'Running');
  expect(instance(after)).toEqual(before);
  expect(after.status?.containerStatuses).toMatchObject([
    { allocatedResourcesStatus: [{ name: R, resources: [{ resourceID: 'Dev-1', health: 'Unknown' }] }] },
  ]);
  expect(await listed()).toEqual({ p: ['Dev-1'] });
});
