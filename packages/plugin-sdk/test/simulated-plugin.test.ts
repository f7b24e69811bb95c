import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parseSimulation, simulate, simulatedPlugin } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeSession } from '@devmgr/plugin-sdk/testing';
import { QUICK, closing, temporaryDir } from './helpers.ts';

const resource = 'example.com/gpu';
const unhealthy = (session: FakeSession): string[] =>
  session.devices.filter(({ health }) => health !== 'Healthy').map(({ ID }) => ID);

test('counted devices, spread over NUMA nodes in equal blocks', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  closing(simulatedPlugin({ resource, count: 8, numaNodes: 2 }, { pluginDir }));
  const session = await manager.session(resource);
  expect(session.devices.map(({ ID, topology }) => `${ID}@${String(topology?.nodes[0]?.ID)}`)).toEqual([
    'gpu-0@0',
    'gpu-1@0',
    'gpu-2@0',
    'gpu-3@0',
    'gpu-4@1',
    'gpu-5@1',
    'gpu-6@1',
    'gpu-7@1',
  ]);
  expect(session.options).toEqual({ preStartRequired: false, getPreferredAllocationAvailable: false });
});

test('what a container gets is written with place-holders', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  closing(
    simulatedPlugin(
      {
        resource,
        ids: ['a', 'b', 'c'],
        env: { VISIBLE_DEVICES: '{indexes}', IDS: '{ids}', COUNT: '{count}', OTHER: '{other}' },
        mounts: [
          { hostPath: '/usr/share/{id}', containerPath: '/data/{id}', readOnly: true },
          { hostPath: '/etc/hosts' },
        ],
        deviceNodes: [{ hostPath: '/dev/null', containerPath: '/dev/gpu{index}', permissions: 'r' }],
        annotations: { 'example.com/{id}': 'on', all: '{ids}' },
        cdi: ['example.com/gpu={id}'],
        preStart: true,
      },
      { pluginDir },
    ),
  );
  const session = await manager.session(resource);
  expect(await session.allocate(['c', 'a'])).toEqual({
    envs: new Map([
      ['VISIBLE_DEVICES', '0,2'],
      ['IDS', 'a,c'],
      ['COUNT', '2'],
      ['OTHER', '{other}'],
    ]),
    mounts: [
      { hostPath: '/usr/share/a', containerPath: '/data/a', readOnly: true },
      { hostPath: '/usr/share/c', containerPath: '/data/c', readOnly: true },
      { hostPath: '/etc/hosts', containerPath: '/etc/hosts', readOnly: false },
    ],
    devices: [
      { hostPath: '/dev/null', containerPath: '/dev/gpu0', permissions: 'r' },
      { hostPath: '/dev/null', containerPath: '/dev/gpu2', permissions: 'r' },
    ],
    annotations: new Map([
      ['example.com/a', 'on'],
      ['example.com/c', 'on'],
      ['all', 'a,c'],
    ]),
    cdiDevices: [{ name: 'example.com/gpu=a' }, { name: 'example.com/gpu=c' }],
  });
  expect(session.options.preStartRequired).toBe(true);
  await session.preStart(['a']);
});

test('prefers as few NUMA nodes as possible, the tightest fit first', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  closing(simulatedPlugin({ resource, count: 8, numaNodes: 2, preferredAllocation: true }, { pluginDir }));
  const session = await manager.session(resource);
  expect(session.options.getPreferredAllocationAvailable).toBe(true);
  const available = ['gpu-0', 'gpu-1', 'gpu-2', 'gpu-4', 'gpu-5'];
  expect(await session.prefer(available, [], 2)).toEqual(['gpu-4', 'gpu-5']);
  expect(await session.prefer(available, [], 3)).toEqual(['gpu-0', 'gpu-1', 'gpu-2']);
  expect(await session.prefer(available, ['gpu-1'], 2)).toEqual(['gpu-1', 'gpu-0']);
  expect(await session.prefer(available, [], 4)).toHaveLength(4);
});

test('health, removal and addition show at once', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(simulatedPlugin({ resource, count: 3 }, { pluginDir }));
  const session = await manager.session(resource);
  plugin.setHealth('gpu-1', 'Unhealthy');
  await until('unhealthy', () => unhealthy(session).includes('gpu-1'));
  plugin.setHealth('gpu-1', 'Healthy');
  await until('healthy', () => unhealthy(session).length === 0);
  plugin.remove('gpu-0', 'gpu-2');
  await until('one device', () => session.devices.length === 1);
  plugin.add('gpu-7', { id: 'gpu-8', numaNodes: [3] });
  await until('three devices', () => session.devices.map(({ ID }) => ID).join() === 'gpu-1,gpu-7,gpu-8');
  expect(plugin.devices[2]).toEqual({ id: 'gpu-8', health: 'Healthy', numaNodes: [3] });
  expect(() => {
    plugin.setHealth('gpu-0', 'Healthy');
  }).toThrow('example.com/gpu: there is no device "gpu-0"');
});

test('calls hang, fail and are slow until calmed', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(simulatedPlugin({ resource, count: 1 }, { pluginDir, timing: QUICK }));
  const session = await manager.session(resource);
  plugin.hang('allocate');
  await expect(session.allocate(['gpu-0'], 100)).rejects.toThrow('DeadlineExceeded');
  const waiting = session.allocate(['gpu-0']);
  plugin.calm('allocate');
  await waiting;
  plugin.fail('allocate', 'the fan is stuck');
  await expect(session.allocate(['gpu-0'])).rejects.toMatchObject({ code: 2, details: 'the fan is stuck' });
  plugin.calm();
  plugin.slow('allocate', 100);
  const before = performance.now();
  await session.allocate(['gpu-0']);
  expect(performance.now() - before).toBeGreaterThanOrEqual(99);
  // A plugin whose options cannot be read does not get registered.
  plugin.fail('options', 'later');
  plugin.endStreams();
  await until('refused', () => plugin.problem?.includes('later'));
  plugin.calm();
  await manager.session(resource);
});

test('restarts on a new socket with the devices of now', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(simulatedPlugin({ resource, count: 2 }, { pluginDir }));
  const session = await manager.session(resource);
  const { socketPath } = plugin;
  plugin.remove('gpu-0');
  plugin.setDevices(['other-0']);
  await plugin.restart();
  await until('the end of the old stream', () => !session.live);
  expect((await manager.session(resource)).devices).toMatchObject([{ ID: 'other-0' }]);
  expect(plugin.socketPath).not.toBe(socketPath);
  await plugin.close();
  expect(await readdir(pluginDir)).toEqual(['kubelet.sock']);
});

test('a timeline runs from the first registration on', async () => {
  const pluginDir = await temporaryDir();
  const simulation = parseSimulation(
    `
resources:
  - resource: example.com/gpu
    count: 2
    timeline:
      - { at: 0, health: { gpu-1: Unhealthy } }
      - { at: 50ms, add: [gpu-2], remove: [gpu-0] }
      - { at: 100ms, every: 20ms, health: { gpu-1: Healthy, gpu-0: Unhealthy } }
      - { at: 100ms, fail: { allocate: timeline } }
      - { at: 150ms, restart: true }
  - resource: example.com/fpga
    count: 1
`,
    'sim.yaml',
  );
  const plugins = simulate(simulation, { pluginDir }).map(closing);
  await until('sockets', async () => (await readdir(pluginDir)).length === 2);
  expect(plugins[0]?.devices.map(({ health }) => health)).toEqual(['Healthy', 'Healthy']);
  const manager = closing(await startFakeManager({ pluginDir }));
  await manager.session('example.com/fpga');
  await until(
    'the restart',
    () => manager.registrations.filter(({ resourceName }) => resourceName === resource).length >= 2,
  );
  const session = await manager.session(resource);
  await until('the end of the story', () => session.devices.map(({ ID }) => ID).join() === 'gpu-1,gpu-2');
  await until('a repeated step', () => unhealthy(session).length === 0);
  await expect(session.allocate(['gpu-2'])).rejects.toThrow('timeline');
  expect(
    manager.sessions.flatMap(({ lists }) => lists).some((list) => list.some(({ health }) => health === 'Unhealthy')),
  ).toBe(true);
});

test('a description that cannot be simulated is refused at once', () => {
  expect(() => simulatedPlugin({ resource })).toThrow(/needs exactly one of count, ids and devices/);
  expect(() => simulatedPlugin({ resource, count: 1.5 })).toThrow(/simulated plugin: count: /);
});
