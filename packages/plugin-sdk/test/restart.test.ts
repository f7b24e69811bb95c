import { mkdir, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { servePlugin } from '@devmgr/plugin-sdk';
import { openSession, startFakeManager, startScriptedPlugin, until } from '@devmgr/plugin-sdk/testing';
import type { FakeSession } from '@devmgr/plugin-sdk/testing';
import { QUICK, closing, memoryLog, temporaryDir } from './helpers.ts';

const resource = 'example.com/gpu';

test('the manager restarts as the kubelet does: all sockets deleted, kubelet.sock anew', async () => {
  const pluginDir = await temporaryDir();
  const first = await startFakeManager({ pluginDir });
  // Slow polling: it is the file events that bring the plugin back here.
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: { pollMs: 60_000 } }));
  await first.session(resource);
  await first.crash();
  const second = closing(await startFakeManager({ pluginDir }));
  expect((await second.session(resource)).devices).toMatchObject([{ ID: 'a' }]);
  expect(second.registrations).toHaveLength(1);
  expect((await stat(plugin.socketPath)).isSocket()).toBe(true);
});

test('only kubelet.sock is made anew, and the old streams still live', async () => {
  const pluginDir = await temporaryDir();
  const first = closing(await startFakeManager({ pluginDir }));
  closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  const session = await first.session(resource);
  // Renamed over the old one: there is no moment without a manager socket.
  const second = closing(await startFakeManager({ pluginDir, clean: false }));
  await second.session(resource);
  expect(session.live, 'a stream that lives is not cut').toBe(true);
});

test('the manager is killed and comes back without cleaning', async () => {
  const pluginDir = await temporaryDir();
  const first = await startFakeManager({ pluginDir });
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await first.session(resource);
  const { socketPath } = plugin;
  await first.crash();
  await until('that the plugin noticed', () => plugin.state === 'waiting');
  const second = closing(await startFakeManager({ pluginDir, clean: false }));
  await second.session(resource);
  expect(plugin.socketPath).toBe(socketPath);
});

test('the manager ends the stream and lives on', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  const session = await manager.session(resource);
  session.close();
  await until('a second registration', () => manager.registrations.length === 2);
  await manager.session(resource);
  await until('the plugin to be registered', () => plugin.state === 'registered');
});

test('a manager that found the plugin by itself opens a second stream and ends the first', async () => {
  const pluginDir = await temporaryDir();
  const found: FakeSession[] = [];
  const manager = closing(
    await startFakeManager({
      pluginDir,
      onRegister: async ({ resourceName, endpoint }) => {
        const session = await openSession(resourceName, join(pluginDir, endpoint));
        found.push(session);
        await until('its list', () => session.lists.length > 0);
      },
    }),
  );
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await manager.session(resource);
  await until('two streams', () => plugin.streams === 2);
  for (const session of found) session.close();
  await until('one stream', () => plugin.streams === 1);
  await until('the plugin to be registered', () => plugin.state === 'registered');
  // The stream that is left is the manager's now: its end makes the plugin register again, and that of the first did not.
  for (const session of manager.sessions) session.close();
  await until('a second registration', () => manager.registrations.length === 2);
  for (const session of found) session.close();
});

test('its own socket is deleted', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await manager.session(resource);
  await unlink(plugin.socketPath);
  await until('a second registration', () => manager.registrations.length === 2);
  expect(await (await manager.session(resource)).allocate(['a'])).toBeDefined();
});

test('the directory is replaced', async () => {
  const parent = await temporaryDir();
  const pluginDir = join(parent, 'plugins');
  const first = await startFakeManager({ pluginDir });
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await first.session(resource);
  await first.close();
  await rm(pluginDir, { recursive: true });
  await until('that the plugin noticed', () => plugin.state === 'waiting');
  const second = await startFakeManager({ pluginDir });
  await second.session(resource);
  // Moved away with everything in it, an empty one in its place.
  await rename(pluginDir, join(parent, 'old'));
  await mkdir(pluginDir);
  const third = closing(await startFakeManager({ pluginDir }));
  await third.session(resource);
  await second.close();
});

test('the manager accepts but never opens the stream', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir, dialBack: false }));
  const timing = { ...QUICK, streamGraceMs: 50 };
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing }));
  await until('more registrations', () => manager.registrations.length >= 3);
  expect(plugin.streams).toBe(0);
});

test('refusals are repeated with growing pauses and logged once', async () => {
  const pluginDir = await temporaryDir();
  const log = memoryLog();
  let refuse = true;
  const manager = closing(
    await startFakeManager({
      pluginDir,
      onRegister: () => {
        if (refuse) throw new Error('not today');
      },
    }),
  );
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK, log }));
  await until('refusals', () => manager.registrations.length >= 4);
  expect(plugin.state === 'refused' || plugin.state === 'registering').toBe(true);
  expect(plugin.problem).toBe('not today');
  expect(log.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  refuse = false;
  await plugin.registered;
  await manager.session(resource);
});

test('a path the manager takes for connected already is given up for another', async () => {
  const pluginDir = await temporaryDir();
  const seen = new Set<string>();
  let again = false;
  const manager = closing(
    await startFakeManager({
      pluginDir,
      onRegister: ({ endpoint }) => {
        if (again && seen.has(endpoint)) throw new Error(`device plugin already connected: ${endpoint}`);
        seen.add(endpoint);
      },
    }),
  );
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  const session = await manager.session(resource);
  const { socketPath } = plugin;
  again = true;
  session.close();
  await until('another path', () => plugin.socketPath !== socketPath && plugin.state === 'registered');
  await manager.session(resource);
  expect((await readdir(pluginDir)).sort()).toEqual(
    [plugin.socketPath.slice(pluginDir.length + 1), 'kubelet.sock'].sort(),
  );
});

test('a Register call that is never answered is given up when the manager is replaced', async () => {
  const pluginDir = await temporaryDir();
  const mute = closing(await startFakeManager({ pluginDir, onRegister: () => new Promise(() => undefined) }));
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await until('the call', () => mute.registrations.length === 1);
  const second = closing(await startFakeManager({ pluginDir }));
  await second.session(resource);
  await until('the plugin to be registered', () => plugin.state === 'registered');
});

test('the plugin comes first, and its socket is wiped when the manager starts', async () => {
  const pluginDir = await temporaryDir();
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK }));
  await until('the socket', async () => (await readdir(pluginDir)).length > 0);
  const manager = closing(await startFakeManager({ pluginDir }));
  await manager.session(resource);
  await until('the plugin to be registered', () => plugin.state === 'registered');
});

test('somebody else takes its socket name', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(servePlugin({ resource, devices: ['a'], pluginDir, socketName: 'gpu.sock', timing: QUICK }));
  await manager.session(resource);
  // Two plugins that fight over a name: the one that was there first takes it back.
  const thief = closing(await startScriptedPlugin({ pluginDir, resource, endpoint: 'gpu.sock', devices: ['x'] }));
  await until('a second registration', () => manager.registrations.length === 2);
  expect((await manager.session(resource)).devices).toMatchObject([{ ID: 'a' }]);
  await thief.close();
  expect((await stat(plugin.socketPath)).isSocket()).toBe(true);
});

test('found by its socket in plugins_registry, through restarts and refusals', async () => {
  const pluginDir = await temporaryDir();
  const first = closing(await startFakeManager({ pluginDir: await temporaryDir() }));
  const timing = { ...QUICK, streamGraceMs: 50 };
  const plugin = closing(
    servePlugin({ resource, devices: ['a'], pluginDir, registration: 'registry', timing, socketName: 'gpu.sock' }),
  );
  await until('the socket', async () => (await readdir(pluginDir)).includes('gpu.sock'));
  expect(await first.adopt(plugin.socketPath, { refuse: 'wrong moon' })).toMatchObject({
    type: 'DevicePlugin',
    name: resource,
    endpoint: '',
    supportedVersions: ['v1beta1'],
  });
  await until('the refusal', () => plugin.state === 'refused');
  expect(plugin.problem).toBe('wrong moon');
  await first.adopt(plugin.socketPath);
  await plugin.registered;
  const session = await first.session(resource);
  await until('the plugin to be registered', () => plugin.state === 'registered');
  const before = await stat(plugin.socketPath, { bigint: true });
  session.close();
  // A watcher that lives on takes notice of a new socket only.
  await until('a new socket', async () => {
    const now = await stat(plugin.socketPath, { bigint: true }).catch(() => undefined);
    return now !== undefined && now.mtimeNs !== before.mtimeNs;
  });
  // The socket may be replaced once more just now: adopt until it worked.
  await until('adopted again', () =>
    first.adopt(plugin.socketPath).then(
      () => plugin.state === 'registered' && plugin.streams > 0,
      () => false,
    ),
  );
  await unlink(plugin.socketPath);
  await until('the socket again', async () => (await readdir(pluginDir)).includes('gpu.sock'));
});
