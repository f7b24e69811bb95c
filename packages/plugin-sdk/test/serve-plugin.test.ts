import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { RpcError } from '@devmgr/wire';
import { cdiDevice, deviceNode, env, mount, servePlugin } from '@devmgr/plugin-sdk';
import { openSession, startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import { QUICK, closing, memoryLog, temporaryDir } from './helpers.ts';

const resource = 'example.com/gpu';

test('serves before it registers, and is dialled back', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a', { id: 'b', numaNodes: [0, 1] }], pluginDir }));
  await plugin.registered;
  expect(plugin.state).toBe('registered');
  expect(manager.registrations).toMatchObject([{ version: 'v1beta1', resourceName: resource }]);
  expect(join(pluginDir, manager.registrations[0]?.endpoint ?? '')).toBe(plugin.socketPath);
  const session = await manager.session(resource);
  expect(session.options).toEqual({ preStartRequired: false, getPreferredAllocationAvailable: false });
  expect(session.devices).toEqual([
    { ID: 'a', health: 'Healthy', topology: undefined },
    { ID: 'b', health: 'Healthy', topology: { nodes: [{ ID: 0n }, { ID: 1n }] } },
  ]);
});

test('waits for a manager that comes later, even for the directory', async () => {
  const pluginDir = join(await temporaryDir(), 'later');
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await until('waiting', () => plugin.state === 'waiting');
  expect(plugin.problem).toContain(pluginDir);
  const manager = closing(await startFakeManager({ pluginDir }));
  await plugin.registered;
  expect((await manager.session(resource)).devices).toHaveLength(1);
  expect(plugin.problem).toBeUndefined();
});

test('offers the optional calls that are there, and answers all calls', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const started: string[][] = [];
  closing(
    servePlugin({
      resource,
      devices: ['a', 'b', 'c'],
      pluginDir,
      allocate: (ids) => [
        env({ GPUS: ids.join(',') }),
        mount('/etc/hosts', { containerPath: '/hosts', readOnly: true }),
        deviceNode('/dev/null', { permissions: 'mrw' }),
        cdiDevice('example.com/gpu=a'),
      ],
      preferredAllocation: ({ available, size }) => [...available.slice(-size), 'nonsense'],
      preStart: (ids) => {
        started.push([...ids]);
      },
    }),
  );
  const session = await manager.session(resource);
  expect(session.options).toEqual({ preStartRequired: true, getPreferredAllocationAvailable: true });
  expect(await session.allocate(['a', 'c'])).toEqual({
    envs: new Map([['GPUS', 'a,c']]),
    mounts: [{ hostPath: '/etc/hosts', containerPath: '/hosts', readOnly: true }],
    devices: [{ hostPath: '/dev/null', containerPath: '/dev/null', permissions: 'mrw' }],
    annotations: new Map(),
    cdiDevices: [{ name: 'example.com/gpu=a' }],
  });
  // Advice that names an unknown device is mended: a manager would fail the pod.
  expect(await session.prefer(['a', 'b', 'c'], [], 2)).toEqual(['b', 'c']);
  await session.preStart(['b']);
  expect(started).toEqual([['b']]);
  await expect(session.allocate(['x'])).rejects.toThrow('rpc error: code = NotFound desc = no device "x"');
});

test('an error of the author reaches the manager with its message', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const allocate = (ids: readonly string[]): never => {
    if (ids.includes('b')) throw new RpcError(9, 'firmware is being updated');
    throw new Error('out of cables');
  };
  closing(servePlugin({ resource, devices: ['a', 'b'], pluginDir, allocate }));
  const session = await manager.session(resource);
  await expect(session.allocate(['a'])).rejects.toMatchObject({ code: 2, details: 'out of cables' });
  await expect(session.allocate(['b'])).rejects.toMatchObject({ code: 9, details: 'firmware is being updated' });
});

test('sends a list only when it changed, whatever its order', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a', 'b'], pluginDir }));
  const session = await manager.session(resource);
  // A round trip after each, so that the stream had its chance to send what it should not.
  plugin.update(['b', 'a']);
  await session.allocate(['a']);
  plugin.update([{ id: 'a', health: 'Healthy', numaNodes: [] }, 'b']);
  await session.allocate(['a']);
  plugin.update(['a', { id: 'b', health: 'Unhealthy' }]);
  await until('the change', () => session.devices.some((device) => device.health === 'Unhealthy'));
  expect(session.lists).toHaveLength(2);
  plugin.update([]);
  await until('the empty list', () => session.devices.length === 0);
  expect(session.lists).toHaveLength(3);
});

test('a storm of updates ends with the newest list, without one message each', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: [], pluginDir }));
  const session = await manager.session(resource);
  const devices = Array.from({ length: 1_000 }, (_, index) => `d${String(index)}`);
  for (let round = 1; round <= 2_000; round++) plugin.update(devices.slice(0, round % 1_000));
  plugin.update(devices);
  await until('the last list', () => session.devices.length === 1_000);
  expect(session.lists.length).toBeLessThan(100);
});

test('several streams at once each get every change', async () => {
  const pluginDir = await temporaryDir();
  const first = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  const session = await first.session(resource);
  // A second look at the same socket, as a monitoring tool would take.
  const watcher = closing(await openSession(resource, plugin.socketPath));
  await until('both lists', () => watcher.lists.length === 1 && session.lists.length === 1);
  expect(plugin.streams).toBe(2);
  plugin.update(['a', 'b']);
  await until('both changes', () => watcher.devices.length === 2 && session.devices.length === 2);
  watcher.close();
  await until('one stream left', () => plugin.streams === 1);
  expect(session.live).toBe(true);
  expect(first.registrations).toHaveLength(1);
});

test('several resources of one process have sockets of their own', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const one = closing(servePlugin({ resource: 'example.com/one', devices: ['a'], pluginDir, mode: 0o600 }));
  const two = closing(servePlugin({ resource: 'example.com/two', devices: ['b'], pluginDir }));
  const again = closing(servePlugin({ resource: 'example.com/two', devices: ['c'], pluginDir }));
  await Promise.all([one.registered, two.registered, again.registered]);
  expect(new Set([one.socketPath, two.socketPath, again.socketPath]).size).toBe(3);
  expect((await manager.session('example.com/one')).devices).toMatchObject([{ ID: 'a' }]);
  expect((await stat(one.socketPath)).mode & 0o777).toBe(0o600);
  await one.close();
  expect((await manager.session('example.com/two')).live).toBe(true);
  expect(one.state).toBe('closed');
});

test('close ends the streams and leaves nothing behind, and may be called twice', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = servePlugin({ resource, devices: ['a'], pluginDir });
  const session = await manager.session(resource);
  await Promise.all([plugin.close(), plugin.close()]);
  await until('the end of the stream', () => !session.live);
  expect(session.endedWith).toBeNull();
  expect(await readdir(pluginDir)).toEqual(['kubelet.sock']);
  expect(() => {
    plugin.update(['b']);
  }).not.toThrow();
});

test('a plugin closed before its registration says so to those who wait', async () => {
  const controller = new AbortController();
  const pluginDir = await temporaryDir();
  const plugin = servePlugin({ resource, devices: ['a'], pluginDir, signal: controller.signal });
  await until('the socket', async () => (await readdir(pluginDir)).length > 0);
  controller.abort();
  await expect(plugin.registered).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
  await plugin.close();
  expect(await readdir(pluginDir)).toEqual([]);
});

test('a scan is repeated, and one that fails changes nothing', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const log = memoryLog();
  let scans = 0;
  let devices: string[] | Error = ['a'];
  const scan = (): string[] => {
    scans += 1;
    if (devices instanceof Error) throw devices;
    return devices;
  };
  closing(servePlugin({ resource, devices: { scan, everyMs: 10 }, pluginDir, log }));
  const session = await manager.session(resource);
  devices = new Error('bus is busy');
  await until('a failed scan', () => log.lines.some((line) => JSON.stringify(line).includes('bus is busy')));
  devices = ['a', 'a'];
  await until('a bad list', () => log.lines.some((line) => JSON.stringify(line).includes('listed twice')));
  expect(session.lists).toHaveLength(1);
  devices = ['a', 'b'];
  await until('the new list', () => session.devices.length === 2);
  expect(scans).toBeGreaterThan(3);
});

test('an async iterable gives the lists; its plugin registers at the first', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const gates: (() => void)[] = [];
  const gate = (): Promise<void> => new Promise((resolve) => gates.push(resolve));
  let returned = false;
  async function* lists(): AsyncGenerator<string[]> {
    try {
      await gate();
      yield ['a'];
      await gate();
      yield ['a', 'b'];
      await gate();
    } finally {
      returned = true;
    }
  }
  const plugin = servePlugin({ resource, devices: lists(), pluginDir });
  await until('the first gate', () => gates.length === 1);
  expect(plugin.state).toBe('starting');
  expect(manager.registrations).toHaveLength(0);
  gates[0]?.();
  const session = await manager.session(resource);
  gates[1]?.();
  await until('the second list', () => session.devices.length === 2);
  await plugin.close();
  gates[2]?.();
  await until('the end of the generator', () => returned);
});

test('a call that is never answered does not hold up closing for ever', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  let called = false;
  let signalled = false;
  const plugin = servePlugin({
    resource,
    devices: ['a'],
    pluginDir,
    timing: { closeGraceMs: 50 },
    allocate: (_ids, { signal }) =>
      new Promise(() => {
        called = true;
        signal.addEventListener('abort', () => {
          signalled = true;
        });
      }),
  });
  const session = await manager.session(resource);
  const refused = expect(session.allocate(['a'])).rejects.toThrow('Unavailable');
  await until('the call', () => called);
  await plugin.close();
  await refused;
  await until('the signal', () => signalled);
});

test('a directory that cannot be used yet is waited for', async () => {
  const pluginDir = join(await temporaryDir(), 'plugins');
  await writeFile(pluginDir, 'a file lies in the way');
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await until('the problem', () => plugin.problem?.includes('ENOTDIR'));
  await rm(pluginDir);
  await mkdir(pluginDir);
  await until('the socket', async () => (await readdir(pluginDir)).length > 0);
});

test('what cannot work is refused at once, naming what to correct', () => {
  const devices = ['a'];
  const cases: [() => unknown, RegExp][] = [
    [() => servePlugin({ resource: 'gpu', devices }), /the ResourceName "gpu" is invalid/],
    [() => servePlugin({ resource, devices: ['a', ''] }), /example\.com\/gpu: devices\[1\]\.id is empty/],
    [() => servePlugin({ resource, devices: ['a', { id: 'a' }] }), /device id "a" is listed twice/],
    [() => servePlugin({ resource, devices: [{ id: 'a', numaNodes: [-1] }] }), /devices\[0\]\.numaNodes/],
    [() => servePlugin({ resource, devices: [7 as unknown as string] }), /devices\[0\] is neither/],
    [() => servePlugin({ resource, devices: 'abc' as unknown as string[] }), /devices must be a list/],
    [() => servePlugin({ resource, devices: { scan: () => [], everyMs: 0 } }), /everyMs/],
    [() => servePlugin({ resource, devices, socketName: '../x.sock' }), /socketName "..\/x\.sock"/],
    [() => servePlugin({ resource, devices, socketName: 'kubelet.sock' }), /not a file name a plugin may use/],
    [() => servePlugin({ resource, devices, allocate: 'x' as unknown as () => object }), /allocate is not a function/],
    [() => servePlugin({ resource, devices, pluginDir: `/${'d'.repeat(120)}` }), /the system allows/],
    [() => mount('relative'), /"relative" is not an absolute path/],
    [() => deviceNode('/dev/null', { permissions: 'rx' }), /permissions "rx"/],
    [() => cdiDevice('gpu0'), /"gpu0" is not a qualified name/],
    [() => env({ 'A=B': 'c' }), /"A=B" cannot be the name/],
  ];
  for (const [attempt, message] of cases) expect(attempt, String(message)).toThrow(message);
});
