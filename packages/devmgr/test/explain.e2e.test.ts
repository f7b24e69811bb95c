import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createApiClient } from '@devmgr/manager/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CommandLine,
  devmgr,
  removeDirectories,
  stopCommands,
  temporaryDirectory,
  until,
} from './support/command-line.ts';

/** A manager with eight simulated GPUs, of which a pod holds six. */
const rootDir = temporaryDirectory();
const env = { DEVMGR_ROOT_DIR: rootDir };
const cli = (...args: string[]): ReturnType<typeof devmgr> => devmgr(args, { env });
const api = createApiClient(join(rootDir, 'devmgr/api.sock'));

async function apply(
  name: string,
  containers: Readonly<Record<string, Readonly<Record<string, number>>>>,
): Promise<void> {
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: Object.entries(containers).map(([container, limits]) => ({
        name: container,
        command: ['sleep', '1000'],
        resources: { limits },
      })),
    },
  };
  const ended = await devmgr(['apply', '-f', '-'], { env, stdin: JSON.stringify(manifest) });
  expect(ended.code, ended.stderr).toBe(0);
}

async function decided(name: string): Promise<void> {
  await until(async () => {
    const { status } = await api.getPod('default', name);
    return status?.phase === 'Failed' || status?.phase === 'Running';
  });
}

/** Ages and times differ from run to run. */
function timeless(text: string): string {
  return text.replaceAll(/\b(\d+[smh])+ ago/g, 'AGE ago').replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
}

beforeAll(async () => {
  writeFileSync(join(rootDir, 'gpus.yaml'), 'resource: example.com/gpu\ncount: 8\nnumaNodes: 2\n');
  const manager = new CommandLine(['start', '--node-name', 'box', '--expect', 'example.com/late'], { env });
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
  const plugin = new CommandLine(['simulate', '-f', join(rootDir, 'gpus.yaml')], { env });
  await plugin.shows(() => true);
  await until(async () => (await api.resources()).some(({ healthy }) => healthy === 8));
  await apply('worker', { train: { 'example.com/gpu': 5 }, watch: { 'example.com/gpu': 1 } });
  await decided('worker');
}, 60_000);

afterAll(async () => {
  await stopCommands();
  removeDirectories();
}, 60_000);

test('a refused pod: who asked for what, what was free and held by whom, which rule said no, what helps', async () => {
  await apply('greedy', { main: { 'example.com/gpu': 3 }, side: { 'example.com/gpu': 1 } });
  await decided('greedy');
  const ended = await cli('explain', 'greedy');
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(timeless(ended.stdout)).toMatchInlineSnapshot(`
    "Pod:         default/greedy
    Verdict:     Refused AGE ago: UnexpectedAdmissionError
    Message:     Allocate failed due to requested number of devices unavailable for example.com/gpu. Requested: 3, Available: 2, which is unexpected
    Why:         Container main asks for 3 devices of example.com/gpu: 3 devices still needed, and 2 free.
    What helps:  - End default/worker (6): then 8 of example.com/gpu are free.
                 - Ask for at most 2 of example.com/gpu in all: so many are free.
                 - Then delete the pod and apply it again: a refused pod is not tried again by itself.
    Asked, in the order of serving:
      Container   Resource          Asked   Listed   Healthy   Held   Free   Outcome                       Devices
      ---------   --------          -----   ------   -------   ----   ----   -------                       -------
      main        example.com/gpu   3       8        8         6      2      Refused by "enough devices"   <none>
      side        example.com/gpu   1       -        -         -      -      Not reached                   <none>
    Rules tried for example.com/gpu of container main:
      Rule                      Outcome   Found
      ----                      -------   -----
      unchanged request         passed    Nothing is recorded for the container yet.
      resource registered       passed    The resource is registered.
      healthy devices present   passed    8 of 8 listed are healthy.
      enough devices            refused   3 devices still needed, and 2 free.
    Held when it was refused, example.com/gpu:
      Pod              Container   Devices
      ---              ---------   -------
      default/worker   train       gpu-0, gpu-1, gpu-2, gpu-3, gpu-4
      default/worker   watch       gpu-5
    Now:
      Resource          Listed   Healthy   Held   Reserved   Free   Plugin      Unhealthy devices
      --------          ------   -------   ----   --------   ----   ------      -----------------
      example.com/gpu   8        8         6      0          2      Connected   <none>
    "
  `);

  const described = (await cli('describe', 'pod', 'greedy')).stdout;
  expect(described).toMatch(/Explained by: +devmgr explain default\/greedy\n/);
  expect((await cli('wait', 'greedy', '--for', 'running')).stderr).toContain('devmgr explain default/greedy');
  // As -o name and tables write it.
  expect(timeless((await cli('explain', 'pod/greedy')).stdout)).toBe(timeless(ended.stdout));
  expect(timeless((await cli('explain', 'default/greedy')).stdout)).toBe(timeless(ended.stdout));

  // It is remembered when the pod is gone.
  await cli('delete', 'pod', 'greedy');
  const json = await cli('explain', 'greedy', '-o', 'json');
  expect(JSON.parse(json.stdout)).toMatchObject({
    kind: 'Explanation',
    source: 'admission',
    pod: { namespace: 'default', name: 'greedy' },
    verdict: 'Refused',
    reason: 'UnexpectedAdmissionError',
    requests: [{ outcome: 'Refused', refusedBy: 'enough devices', counts: { free: 2 } }, { outcome: 'NotReached' }],
    fitsNow: false,
  });
});

test('an admitted pod: what it got, and by which rules', async () => {
  const ended = await cli('explain', 'worker', '-o', 'wide');
  expect(timeless(ended.stdout)).toMatchInlineSnapshot(`
    "Pod:      default/worker
    Verdict:  Admitted AGE ago
    Why:      The pod has what it asks for: gpu-0, gpu-1, gpu-2, gpu-3, gpu-4 of example.com/gpu; gpu-5 of example.com/gpu.
    Asked, in the order of serving:
      Container   Resource          Asked   Listed   Healthy   Held   Free   Outcome   Devices
      ---------   --------          -----   ------   -------   ----   ----   -------   -------
      train       example.com/gpu   5       8        8         0      8      Given     gpu-0, gpu-1, gpu-2, gpu-3, gpu-4
      watch       example.com/gpu   1       8        8         5      3      Given     gpu-5
    Rules tried for example.com/gpu of container train:
      Rule                       Outcome     Found
      ----                       -------     -----
      unchanged request          passed      Nothing is recorded for the container yet.
      resource registered        passed      The resource is registered.
      healthy devices present    passed      8 of 8 listed are healthy.
      enough devices             passed      5 devices still needed, 8 free.
      devices without affinity   took        Took 5 of 8 free without regard to NUMA nodes, in natural order.
      complete                   satisfied   All 5 devices are chosen.
    Rules tried for example.com/gpu of container watch:
      Rule                       Outcome     Found
      ----                       -------     -----
      unchanged request          passed      Nothing is recorded for the container yet.
      resource registered        passed      The resource is registered.
      healthy devices present    passed      8 of 8 listed are healthy.
      enough devices             passed      1 device still needed, 3 free.
      devices without affinity   took        Took 1 of 3 free without regard to NUMA nodes, in natural order.
      complete                   satisfied   The device is chosen.
    Now:
      Resource          Listed   Healthy   Held   Reserved   Free   Plugin      Unhealthy devices   Free devices
      --------          ------   -------   ----   --------   ----   ------      -----------------   ------------
      example.com/gpu   8        8         6      0          2      Connected   <none>              gpu-6, gpu-7
    By NUMA node:
      Resource          NUMA nodes   Listed   Free
      --------          ----------   ------   ----
      example.com/gpu   0            4        0
      example.com/gpu   1            4        2
    Held now, example.com/gpu:
      Pod              Container   Devices
      ---              ---------   -------
      default/worker   train       gpu-0, gpu-1, gpu-2, gpu-3, gpu-4
      default/worker   watch       gpu-5
    "
  `);
});

test('a pod whose plugin is not there yet', async () => {
  await apply('patient', { main: { 'example.com/late': 1 } });
  await until(async () => (await cli('get', 'pod', 'patient')).stdout.includes('WaitingForDevicePlugin'));
  expect(timeless((await cli('explain', 'patient')).stdout)).toMatchInlineSnapshot(`
    "Pod:         default/patient
    Verdict:     Waiting: WaitingForDevicePlugin
    Message:     waiting for the device plugin of example.com/late, until TIME at the latest
    Why:         Admission waits for the device plugin of example.com/late, which is not connected or has not listed yet.
    What helps:  Start the device plugin of example.com/late.
    Asked, in the order of serving:
      Container   Resource           Asked   Listed   Healthy   Held   Free   Outcome                Devices
      ---------   --------           -----   ------   -------   ----   ----   -------                -------
      main        example.com/late   1       -        -         -      -      Waits for its plugin   <none>
    Now:
      Resource           Listed   Healthy   Held   Reserved   Free   Plugin   Unhealthy devices
      --------           ------   -------   ----   --------   ----   ------   -----------------
      example.com/late   0        0         0      0          0      <none>   <none>
    "
  `);
  await cli('delete', 'pod', 'patient');
});

test('a question: would that fit now?', async () => {
  expect((await cli('explain', '--limits', 'example.com/gpu=2')).stdout).toMatchInlineSnapshot(`
    "Verdict:  Would fit
    Why:      It would get gpu-6, gpu-7 of example.com/gpu.
    Asked:
      Resource          Asked   Listed   Healthy   Held   Free   Outcome   Devices
      --------          -----   ------   -------   ----   ----   -------   -------
      example.com/gpu   2       8        8         6      2      Fits      gpu-6, gpu-7
    Now:
      Resource          Listed   Healthy   Held   Reserved   Free   Plugin      Unhealthy devices
      --------          ------   -------   ----   --------   ----   ------      -----------------
      example.com/gpu   8        8         6      0          2      Connected   <none>
    Held now, example.com/gpu:
      Pod              Container   Devices
      ---              ---------   -------
      default/worker   train       gpu-0, gpu-1, gpu-2, gpu-3, gpu-4
      default/worker   watch       gpu-5
    "
  `);
  const refused = await cli('explain', '--limits', 'example.com/gpu=3', '--limits', 'example.com/gpuu=1', '-o', 'yaml');
  expect(refused.code).toBe(0);
  expect(refused.stdout).toContain('verdict: WouldBeRefused\n');
  // Nothing was taken.
  expect((await api.resources()).map(({ allocated }) => allocated)).toEqual([6]);
});

test('the checkpoint of a manager that runs, read beside it', async () => {
  await until(async () => (await cli('explain', '--checkpoint', rootDir)).stdout.includes('6 devices held'));
  const { stdout } = await cli('explain', '--checkpoint', rootDir, '--limits', 'example.com/gpu=3', '-o', 'json');
  expect(JSON.parse(stdout)).toMatchObject({
    source: 'checkpoint',
    verdict: 'WouldBeRefused',
    resources: [{ free: 2 }],
  });
  expect(await cli('checkpoint', 'verify', rootDir)).toMatchObject({ code: 0 });
  const uid = (await api.getPod('default', 'worker')).metadata.uid ?? '';
  expect((await cli('checkpoint', 'show', rootDir)).stdout).toContain(uid);
});

test('what cannot be explained', async () => {
  const nobody = await cli('explain', 'nobody');
  expect(nobody).toMatchObject({ code: 3, stdout: '' });
  expect(nobody.stderr).toMatch(/^error: pods "nobody" not found.*\n.+\n$/);
  for (const [args, message] of [
    [[], 'explain needs a pod, --limits or --checkpoint'],
    [['a/b/c'], '"a/b/c" is not NAME or NAMESPACE/NAME'],
    [['worker', '--limits', 'a.b/c=1'], 'explain takes either a pod or --limits, not both'],
    [['--limits', 'a.b/c=none'], '"none" of a.b/c is not a whole number above zero'],
  ] as const) {
    const ended = await cli('explain', ...args);
    expect(ended, message).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain(message);
  }
  const alone = await devmgr(['explain', 'worker'], { env: { DEVMGR_ROOT_DIR: temporaryDirectory() } });
  expect(alone).toMatchObject({ code: 5, stdout: '' });
});

test('a topology policy that refuses: the hints of each resource, what they come to together, and why not', async () => {
  const root = temporaryDirectory();
  const here = { DEVMGR_ROOT_DIR: root };
  const config = join(root, 'devmgr.yaml');
  writeFileSync(config, 'topologyPolicy: restricted\nnumaNodes: [{ id: 0 }, { id: 1 }]\nwaitForPlugin: 0s\n');
  writeFileSync(join(root, 'gpu.yaml'), 'resource: example.com/gpu\ncount: 4\nnumaNodes: 2\n');
  const manager = new CommandLine(['start', '--config', config], { env: here });
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
  const plugin = new CommandLine(['simulate', '-f', join(root, 'gpu.yaml')], { env: here });
  await plugin.shows(() => true);
  const client = createApiClient(join(root, 'devmgr/api.sock'));
  await until(async () => (await client.resources()).some(({ healthy }) => healthy === 4));
  for (const [name, count] of [
    ['a', 1],
    ['b', 2],
    ['c', 2],
  ] as const) {
    const container = { name: 'main', command: ['sleep', '1000'], resources: { limits: { 'example.com/gpu': count } } };
    const spec = { terminationGracePeriodSeconds: 1, containers: [container] };
    const manifest = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
    const ended = await devmgr(['apply', '-f', '-'], { env: here, stdin: JSON.stringify(manifest) });
    expect(ended.code, ended.stderr).toBe(0);
    await until(async () => ['Failed', 'Running'].includes((await client.getPod('default', name)).status?.phase ?? ''));
  }
  // One device is left on node 0, none on node 1: two could not even be had from both.
  const refused = await devmgr(['explain', 'c'], { env: here });
  expect(timeless(refused.stdout)).toContain(
    [
      'Verdict:     Refused AGE ago: TopologyAffinityError',
      'Message:     Resources cannot be allocated with Topology locality',
      'Why:         Policy restricted refuses container main: no set of NUMA nodes can give 2 of example.com/gpu.',
    ].join('\n'),
  );
  expect(refused.stdout).toContain(
    [
      'Topology policy restricted, container main:',
      '  Resource          Asked   Preferred NUMA nodes   Other NUMA nodes',
      '  --------          -----   --------------------   ----------------',
      '  example.com/gpu   2       <none>                 <none>',
      '  Merged:    {0,1}, not preferred',
      '  Refused:   No set of NUMA nodes can give 2 of example.com/gpu.',
    ].join('\n'),
  );
  const described = await devmgr(['describe', 'pod', 'c'], { env: here });
  expect(described.stdout).toMatch(/Explained by: +devmgr explain default\/c\n/);

  await client.deletePod('default', 'b');
  await until(async () => (await client.explainLimits({ 'example.com/gpu': 3 })).verdict === 'WouldFit');
  const wish = await devmgr(['explain', '--limits', 'example.com/gpu=3', '-o', 'json'], { env: here });
  expect(JSON.parse(wish.stdout)).toMatchObject({
    verdict: 'WouldFit',
    topology: {
      policy: 'restricted',
      scope: 'container',
      decisions: [
        {
          container: null,
          admitted: true,
          resources: [{ resource: 'example.com/gpu', asked: 3, hints: [{ numaNodes: [0, 1], preferred: true }] }],
          merged: { numaNodes: [0, 1], preferred: true },
        },
      ],
    },
  });
}, 60_000);
