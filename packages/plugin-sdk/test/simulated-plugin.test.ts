import { lstat, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseSimulation, simulate, simulatedPlugin } from '@devmgr/plugin-sdk';
import type { SimulatedResourceInput } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeSession } from '@devmgr/plugin-sdk/testing';
import { deviceplugin, probeUnix } from '@devmgr/wire';
import { QUICK, closing, temporaryDir } from './helpers.ts';

const resource = 'example.com/gpu';
const unhealthy = (session: FakeSession): string[] =>
  session.devices.filter(({ health }) => health !== 'Healthy').map(({ ID }) => ID);

/** A simulated plugin, and the session that a manager has with it. */
async function served(spec: SimulatedResourceInput) {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(simulatedPlugin(spec, { pluginDir, timing: QUICK }));
  return { pluginDir, manager, plugin, session: await manager.session(spec.resource) };
}

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

test('CDI names have a spec file that follows the devices, and goes with the plugin', async () => {
  const cdiDir = join(await temporaryDir(), 'cdi');
  const { plugin, session } = await served({ resource, count: 2, cdi: ['example.com/gpu={id}'], cdiDir });
  const spec = async (): Promise<unknown> => {
    const [name = ''] = await readdir(cdiDir);
    return JSON.parse(await readFile(join(cdiDir, name), 'utf8'));
  };
  const device = (name: string): object => ({
    name,
    containerEdits: { env: [`CDI_GPU_${name.toUpperCase().replace('-', '_')}=${name}`] },
  });
  expect((await session.allocate(['gpu-1'])).cdiDevices).toEqual([{ name: 'example.com/gpu=gpu-1' }]);
  expect(await spec()).toEqual({
    cdiVersion: '0.6.0',
    kind: 'example.com/gpu',
    devices: [device('gpu-0'), device('gpu-1')],
  });
  plugin.add('late');
  plugin.remove('gpu-0');
  await session.allocate(['late']);
  expect(await spec()).toMatchObject({ devices: [device('gpu-1'), device('late')] });
  await plugin.close();
  expect(await readdir(cdiDir)).toEqual([]);
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

test('health flaps for a while and is good in the end', async () => {
  const { plugin, session } = await served({ resource, count: 3 });
  const turns = (): string[] =>
    session.lists
      .map((list) => list.map(({ health }) => (health === 'Healthy' ? '.' : 'x')).join(''))
      .filter((turn, index, all) => turn !== all[index - 1]);
  plugin.flap({ devices: ['gpu-0', 'gpu-2'], every: 20 });
  expect(plugin.troubles).toEqual(['gpu-0, gpu-2 flaps']);
  await until('some turns', () => turns().length >= 5);
  plugin.calm();
  expect(plugin.troubles).toEqual([]);
  expect(turns().slice(0, 4)).toEqual(['...', 'x.x', '...', 'x.x']);
  await until('health', () => unhealthy(session).length === 0);
  plugin.flap({ devices: ['gpu-1'], every: 10_000, for: 100 });
  await until('unhealthy', () => unhealthy(session).join() === 'gpu-1');
  await until('its end', () => unhealthy(session).length === 0);
  expect(() => {
    plugin.flap({ devices: ['gpu-9'], every: 20 });
  }).toThrow('there is no device "gpu-9"');
});

test('floods the manager with the list it has already', async () => {
  const { plugin, session } = await served({ resource, count: 2 });
  expect(session.lists).toHaveLength(1);
  plugin.flood({ perSecond: 200 });
  expect(plugin.troubles).toEqual(['floods with 200 lists a second']);
  await until('many lists', () => session.lists.length > 50);
  expect(new Set(session.lists.map((list) => JSON.stringify(list.map(({ ID }) => ID)))).size).toBe(1);
  // The truth gets through all the same.
  plugin.setHealth('gpu-1', 'Unhealthy');
  await until('the change', () => unhealthy(session).join() === 'gpu-1');
  plugin.calm();
  expect(plugin.troubles).toEqual([]);
  plugin.flood({ perSecond: 100, for: 50 });
  await until('its end', () => plugin.troubles.length === 0);
});

test('lies in every way a plugin can', async () => {
  const { plugin, session } = await served({ resource, count: 2, preferredAllocation: true });
  plugin.lie('health');
  await until('a word nobody knows', () => session.devices.every(({ health }) => health === 'Perhaps'));
  plugin.lie('ids');
  await until(
    'an id twice and an empty one',
    () => session.devices.map(({ ID }) => ID).join() === 'gpu-0,gpu-1,gpu-0,',
  );
  plugin.lie('allocate', 'preferredAllocation');
  await expect(session.allocate(['gpu-0'])).rejects.toThrow('answered Allocate without a container');
  expect(await session.prefer(['gpu-0', 'gpu-1'], [], 1)).toEqual(['gpu-0-nowhere']);
  plugin.calm();
  await until(
    'the truth',
    () => session.devices.map(({ ID, health }) => ID + health).join() === 'gpu-0Healthy,gpu-1Healthy',
  );
  await session.allocate(['gpu-0']);
  expect(await session.prefer(['gpu-0', 'gpu-1'], [], 1)).toEqual(['gpu-0']);
});

test('sends lists of any length', async () => {
  const { plugin, session } = await served({ resource, count: 2 });
  plugin.oversize(1_000_000);
  const long = await until('a long list', () => (session.devices.length > 2 ? session.devices : undefined));
  const { ListAndWatchResponse } = deviceplugin;
  const bytes = ListAndWatchResponse.encode({ devices: [...long] }).finish().length;
  expect(bytes).toBeGreaterThanOrEqual(1_000_000);
  expect(bytes).toBeLessThan(1_010_000);
  expect(new Set(long.map(({ ID }) => ID)).size).toBe(long.length);
  expect(long.filter(({ health }) => health === 'Healthy').map(({ ID }) => ID)).toEqual(['gpu-0', 'gpu-1']);
  plugin.oversize(0);
  await until('a short list', () => session.devices.length === 2);
});

test('dies as a killed process does, and comes back', async () => {
  const { plugin, session, manager, pluginDir } = await served({ resource, count: 2 });
  const { socketPath } = plugin;
  await plugin.die();
  await until('the end of the stream', () => !session.live);
  expect(plugin.troubles).toEqual(['dead']);
  expect((await lstat(socketPath)).isSocket()).toBe(true);
  expect(await probeUnix(socketPath, 1_000)).toBe('refused');
  plugin.setHealth('gpu-1', 'Unhealthy');
  await plugin.restart();
  const second = await manager.session(resource);
  expect(unhealthy(second)).toEqual(['gpu-1']);

  await plugin.die(50);
  await until('its return', async () => plugin.socketPath !== second.socketPath && manager.sessions.length === 3);
  expect(await readdir(pluginDir)).toHaveLength(4);
  await plugin.close();
  expect(await readdir(pluginDir)).toEqual(['kubelet.sock']);
});

test('restarts with other ids', async () => {
  const { plugin, manager } = await served({ resource, count: 3, numaNodes: 3, env: { INDEX: '{indexes}' } });
  plugin.remove('gpu-1');
  plugin.setHealth('gpu-2', 'Unhealthy');
  await plugin.restart({ idPrefix: 'card-' });
  const session = await until('the new session', () => manager.sessions[1]);
  await until('its list', () => session.lists.length > 0);
  expect(session.devices.map(({ ID, health, topology }) => [ID, health, Number(topology?.nodes[0]?.ID)])).toEqual([
    ['card-0', 'Healthy', 0],
    ['card-1', 'Unhealthy', 2],
  ]);
  expect((await session.allocate(['card-1'])).envs.get('INDEX')).toBe('1');
});

test('a step is played as a whole or not at all', async () => {
  const { plugin } = await served({ resource, count: 2 });
  expect(() => {
    plugin.play({ add: [{ id: 'gpu-2' }], health: { 'gpu-9': 'Unhealthy' } });
  }).toThrow('there is no device "gpu-9"');
  expect(plugin.devices.map(({ id }) => id)).toEqual(['gpu-0', 'gpu-1']);
  plugin.play({ add: [{ id: 'gpu-2' }], health: { 'gpu-2': 'Unhealthy' }, remove: ['gpu-0'] });
  expect(plugin.devices.map(({ id, health }) => `${id} ${health}`)).toEqual(['gpu-1 Healthy', 'gpu-2 Unhealthy']);
});

test('a device that goes in the step that would let it flap is refused, and passed over by a timeline', async () => {
  const { plugin, session } = await served({
    resource,
    count: 2,
    timeline: [{ at: 0, remove: ['gpu-1'], flap: { devices: ['gpu-1', 'gpu-0'], every: '1h' } }],
  });
  await until(
    'the step',
    () => session.devices.map(({ ID, health }) => `${ID} ${health}`).join() === 'gpu-0 Unhealthy',
  );
  expect(() => {
    plugin.play({ remove: ['gpu-0'], flap: { devices: ['gpu-0'], every: 1_000 } });
  }).toThrow('there is no device "gpu-0"');
});

test('a restart that was asked for during a death is the last word', async () => {
  const { plugin, manager } = await served({ resource, count: 1 });
  await Promise.all([plugin.die(1), plugin.restart()]);
  const { socketPath } = plugin;
  expect(plugin.troubles).toEqual([]);
  // Registering takes longer than the death would have lasted.
  await until('the second session', () => manager.sessions[1]?.live);
  expect(plugin.socketPath).toBe(socketPath);
});

test('aborting its signal ends it, dead or alive, and leaves nothing', async () => {
  const pluginDir = await temporaryDir();
  closing(await startFakeManager({ pluginDir }));
  const abort = new AbortController();
  const plugin = simulatedPlugin({ resource, count: 1 }, { pluginDir, signal: abort.signal });
  await plugin.registered;
  await plugin.die(60_000);
  expect(await readdir(pluginDir)).toHaveLength(2);
  abort.abort();
  await until('nothing', async () => (await readdir(pluginDir)).join() === 'kubelet.sock');
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
