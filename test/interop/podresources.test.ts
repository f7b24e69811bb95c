/** The PodResources API as a monitoring agent sees it: Go clients of Kubernetes' own v1 and v1alpha1 packages. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ApiClient } from '@devmgr/manager';
import { startScriptedPlugin, until, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { DevmgrProcess, makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

const run = promisify(execFile);
const GPU = 'example.com/gpu';
const NIC = 'example.com/nic';
const peer = inject('peers')['podresources-client'];

let rootDir: string;
let api: ApiClient;
let manager: DevmgrProcess;
const plugins: ScriptedPlugin[] = [];

beforeAll(async () => {
  rootDir = makeRootDir();
  ({ manager, api } = await startManager(rootDir));
});
afterAll(async () => {
  await manager.end();
  await Promise.all(plugins.map((plugin) => plugin.close()));
  removeRootDir(rootDir);
});

/** One device of one container, as the client prints it. */
function held(resourceName: string, id: string, node?: number): object {
  const topology = node === undefined ? null : { nodes: [{ ID: String(node) }] };
  return { resourceName, deviceIds: [id], topology };
}

function container(name: string, devices: readonly object[]): object {
  return { name, devices, cpuIds: [], memory: [], dynamicResources: [] };
}

it('a Go agent reads List, Get, GetAllocatableResources and v1alpha1, and meets the rate limit', async ({ skip }) => {
  if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? 'the client is unknown');
  const pluginDir = join(rootDir, 'device-plugins');
  const [gpu, nic] = [
    await startScriptedPlugin({
      pluginDir,
      resource: GPU,
      devices: [
        { id: 'gpu-0', numaNodes: [0] },
        { id: 'gpu-1', numaNodes: [0, 1] },
        { id: 'gpu-2', numaNodes: [1], health: 'Unhealthy' },
      ],
    }),
    await startScriptedPlugin({ pluginDir, resource: NIC, devices: ['nic-0', 'nic-1'] }),
  ];
  plugins.push(gpu, nic);
  await Promise.all(plugins.map((plugin) => plugin.register()));
  await until('both resources', async () => {
    const ready = (await api.resources()).filter(({ allocatable }) => allocatable === 2);
    return ready.length === 2;
  });

  const command = ['sleep', '1000'];
  await api.createPod('default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'train' },
    spec: {
      terminationGracePeriodSeconds: 0,
      initContainers: [
        { name: 'setup', command: ['true'] },
        { name: 'proxy', restartPolicy: 'Always', command, resources: { limits: { [NIC]: 1 } } },
      ],
      containers: [{ name: 'main', command, resources: { limits: { [GPU]: 2 } } }],
    },
  });
  await until('the pod to run', async () => (await api.getPod('default', 'train')).status?.phase === 'Running');
  await api.createPod('team-a', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'over' },
    spec: { restartPolicy: 'Never', containers: [{ name: 'main', command: ['true'] }] },
  });
  await until('the other to end', async () => (await api.getPod('team-a', 'over')).status?.phase === 'Succeeded');

  const [path, ...args] = peer.command;
  const { stdout } = await run(
    path ?? '',
    [...args, join(rootDir, 'pod-resources', 'kubelet.sock'), 'train', 'default'],
    {
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const answers = JSON.parse(stdout) as Record<string, unknown>;
  const gpus = [held(GPU, 'gpu-0', 0), held(GPU, 'gpu-1', 0), held(GPU, 'gpu-1', 1)];
  const train = {
    name: 'train',
    namespace: 'default',
    cpuIds: [],
    memory: [],
    containers: [container('proxy', [held(NIC, 'nic-0')]), container('main', gpus)],
  };
  expect(answers['list']).toEqual({ podResources: [train] });
  expect(answers['get']).toEqual({ podResources: train });
  expect(answers['allocatable']).toEqual({
    devices: [...gpus, held(NIC, 'nic-0'), held(NIC, 'nic-1')],
    cpuIds: [],
    memory: [],
  });
  const alpha = (id: string): object => ({ resourceName: GPU, deviceIds: [id] });
  expect(answers['alpha']).toEqual({
    podResources: [
      {
        name: 'train',
        namespace: 'default',
        containers: [{ name: 'main', devices: [alpha('gpu-0'), alpha('gpu-1'), alpha('gpu-1')] }],
      },
      { name: 'over', namespace: 'team-a', containers: [{ name: 'main', devices: [] }] },
    ],
  });
  expect(answers['unknownPod']).toEqual({
    code: 'Unknown',
    message: 'pod no-such-pod in namespace default not found',
  });
  expect(answers['loop']).toEqual({ code: 'ResourceExhausted', message: 'rejected by rate limit' });
  expect(answers['afterLoop']).toEqual({ code: 'OK', message: '' });
});

it('an agent that has the path compiled in finds it under devmgr plugin run', async ({ skip }) => {
  if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? 'the client is unknown');
  await api.createPod('team-b', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'watched' },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'main', command: ['sleep', '1000'] }] },
  });
  const agent = new DevmgrProcess(
    [
      ...['plugin', 'run', '--restart', 'never', '--', ...peer.command],
      ...['/var/lib/kubelet/pod-resources/kubelet.sock', 'watched', 'team-b'],
    ],
    { rootDir },
  );
  expect(await agent.exited, agent.output).toBe(0);
  const line = agent.output.split('\n').find((text) => text.startsWith('{')) ?? '';
  expect(JSON.parse(line)).toMatchObject({
    get: { podResources: { name: 'watched', namespace: 'team-b', containers: [{ name: 'main', devices: [] }] } },
  });
});
