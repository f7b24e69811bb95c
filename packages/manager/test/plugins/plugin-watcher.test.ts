import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createClient, deviceplugin } from '@devmgr/wire';
import { describe, expect, onTestFinished, test } from 'vitest';
import { checkPluginInfo } from '../../src/plugins/watched-registration.ts';
import { WatchedSocket } from '../../src/plugins/watched-socket.ts';
import { SystemClock } from '../../src/system-clock.ts';
import { EndpointsFixture } from '../helpers/endpoints-fixture.ts';
import { eventually } from '../helpers/eventually.ts';
import type { PluginScript, ScriptedPlugin } from '../helpers/scripted-plugin.ts';
import { SilentLog } from '../helpers/silent-log.ts';

const RESOURCE = 'example.com/r';

class Registry extends EndpointsFixture {
  /** A plugin whose socket in the registry serves both services. */
  watched(script: PluginScript = {}, name = 'p.sock'): Promise<ScriptedPlugin> {
    return this.pluginAt(join(this.registryDir, name), { devices: ['a'], info: {}, ...script });
  }
}

describe('plugins_registry', () => {
  test('scenario 12: the numbers of scenarios 9 to 11 through the watched directory', async () => {
    const fixture = new Registry();
    await fixture.start();
    await fixture.watched({ devices: ['D1', 'D2'] }, 'one.sock');
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    expect(fixture.host.sessions[0]?.origin).toBe('watcher');
    await fixture.watched({ devices: ['D1', 'D2'] }, 'two.sock');
    await eventually('the second list', () => fixture.host.lists.length === 2);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 2, allocatable: 2 });
    await fixture.watched({ devices: ['D3'] }, 'three.sock');
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.capacity === 1);
    expect(fixture.host.deviceIds(RESOURCE)).toEqual(['D3']);
  });

  test('scenario 21: GetInfo, validate, register, notify, in that order', async () => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched();
    await eventually('the notice', () => plugin.statuses.length === 1);
    expect(plugin.statuses).toEqual([{ pluginRegistered: true, error: '' }]);
    const order = plugin.methods.filter((method) => method !== 'ListAndWatch');
    expect(order).toEqual(['GetInfo', 'GetDevicePluginOptions', 'NotifyRegistrationStatus']);
    expect(fixture.host.calls.some(({ type }) => type === 'requested')).toBe(false);
  });

  test('the endpoint may be another socket, by its absolute path', async () => {
    const fixture = new Registry();
    await fixture.start();
    const device = await fixture.plugin({ devices: ['a', 'b'] }, 'device.sock');
    const plugin = await fixture.watched({
      info: { endpoint: device.socketPath, supportedVersions: ['v1alpha1', 'v1beta1'] },
    });
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    expect(fixture.host.sessions[0]?.socketPath).toBe(device.socketPath);
    await eventually('the notice', () => plugin.statuses.length === 1);
    expect(plugin.methods).toEqual(['GetInfo', 'NotifyRegistrationStatus']);
  });

  test.each([
    [
      { supportedVersions: ['v1beta2', 'v2'] },
      'manager version, v1beta1, is not among plugin supported versions [v1beta2 v2]',
    ],
    [{ name: 'cpu' }, 'invalid name of device plugin socket: the ResourceName "cpu" is invalid'],
  ])('scenario 22: failing validation (%j) is told, and nothing is registered', async (info, reason) => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched({ info });
    await eventually('the notice', () => plugin.statuses.length >= 1);
    expect(plugin.statuses[0]).toEqual({
      pluginRegistered: false,
      error: `RegisterPlugin error -- plugin validation failed with err: ${reason}`,
    });
    await eventually('the event', () => fixture.events.length >= 1);
    expect(fixture.events[0]).toMatchObject({ reason: 'PluginRefused', message: plugin.statuses[0]?.error });
    expect(plugin.methods).not.toContain('GetDevicePluginOptions');
    expect(fixture.host.calls).toEqual([]);
  });

  test('scenario 23: a failing registration is told, and the plugin is not in the actual state', async () => {
    const fixture = new Registry();
    const endpoints = await fixture.start();
    const plugin = await fixture.watched({ optionsFailure: new Error('boom') });
    await eventually('the notice', () => plugin.statuses.length >= 1);
    expect(plugin.statuses[0]).toEqual({
      pluginRegistered: false,
      error:
        'RegisterPlugin error -- plugin registration failed with err: failed to get device plugin options: rpc error: code = Unknown desc = boom',
    });
    expect(endpoints.pluginTotals()).toEqual([
      { socketPath: plugin.socketPath, state: 'desired_state_of_world', count: 1 },
    ]);
    await eventually('another try after the back-off', () => plugin.statuses.length >= 2);
  });

  test('scenario 24: when the notice of success fails the plugin is de-registered', async () => {
    const fixture = new Registry();
    const endpoints = await fixture.start();
    const plugin = await fixture.watched({ notifyFailure: new Error('not now') });
    await eventually('the end', () => fixture.host.ends.length >= 1);
    expect(plugin.statuses[0]).toEqual({ pluginRegistered: true, error: '' });
    await eventually('the event', () => fixture.events.length >= 1);
    expect(fixture.events[0]?.message).toBe(
      `RegisterPlugin error -- failed to send registration status at socket ${plugin.socketPath}, err: rpc error: code = Unknown desc = not now`,
    );
    expect(endpoints.pluginTotals().some(({ state }) => state === 'actual_state_of_world')).toBe(false);
  });

  test.each(['CSIPlugin', 'DRAPlugin', 'Teapot'])('scenario 25: the type %s has no handler', async (type) => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched({ info: { type } });
    await eventually('the notice', () => plugin.statuses.length >= 1);
    expect(plugin.statuses[0]).toEqual({
      pluginRegistered: false,
      error: `RegisterPlugin error -- no handler registered for plugin type: ${type} at socket ${plugin.socketPath}`,
    });
    expect(fixture.host.calls).toEqual([]);
  });

  test('a notice that cannot be delivered is named', async () => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched({ info: { name: 'cpu' }, notifyFailure: new Error('deaf') });
    await eventually('the event', () => fixture.events.length >= 1);
    expect(fixture.events[0]?.message).toBe(
      `RegisterPlugin error -- failed to send error at socket ${plugin.socketPath}, err: rpc error: code = Unknown desc = deaf`,
    );
  });

  test('GetInfo has a second', async () => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched({ infoDelay: () => new Promise(() => undefined) });
    await eventually('the event', () => fixture.events.length >= 1);
    expect(fixture.events[0]?.message).toBe(
      `RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket ${plugin.socketPath}, err: rpc error: code = DeadlineExceeded desc = context deadline exceeded`,
    );
  });

  test('scenario 26: ten plugins in sequence come and go, each in its turn', async () => {
    const fixture = new Registry();
    const endpoints = await fixture.start();
    for (let index = 0; index < 10; index += 1) {
      const name = `example.com/r${String(index)}`;
      const plugin = await fixture.watched({ info: { name } }, `p${String(index)}.sock`);
      await eventually('registered', () => fixture.host.capacity(name)?.allocatable === 1);
      await plugin.stop();
      await eventually('de-registered', () => fixture.host.liveSessions.length === 0);
      await eventually('no trace', () => endpoints.pluginTotals().length === 0);
    }
    expect(fixture.host.sessions).toHaveLength(10);
  });

  test('scenario 26: one plugin ten times, and at last at once', async () => {
    const fixture = new Registry();
    await fixture.start();
    for (let index = 0; index < 10; index += 1) {
      const plugin = await fixture.watched();
      await eventually('registered', () => fixture.host.liveSessions.length === 1);
      expect(fixture.host.sessions).toHaveLength(index + 1);
      await plugin.stop();
      await eventually('de-registered', () => fixture.host.liveSessions.length === 0);
    }
    let plugin = await fixture.watched();
    for (let index = 0; index < 5; index += 1) {
      await eventually('registered', () => plugin.statuses.length >= 1 && fixture.host.liveSessions.length === 1);
      await plugin.stop();
      plugin = await fixture.watched();
    }
    await eventually('registered at last', () => plugin.statuses.at(-1)?.pluginRegistered === true);
    expect(fixture.host.capacity(RESOURCE)?.capacity).toBe(1);
  });

  test('scenario 27: two sockets of the same name are both registered', async () => {
    const fixture = new Registry();
    const endpoints = await fixture.start();
    const plugins = [await fixture.watched({}, 'a.sock'), await fixture.watched({}, 'b.sock')];
    await eventually('both', () => plugins.every(({ statuses }) => statuses[0]?.pluginRegistered === true));
    await eventually('both are in both states', () => endpoints.pluginTotals().length === 4);
    expect(fixture.host.liveSessions).toHaveLength(2);
  });

  test('scenario 28: sockets that exist before the start, in sub-directories too', async () => {
    const fixture = new Registry();
    mkdirSync(join(fixture.registryDir, 'sub', 'deeper'), { recursive: true });
    const plugins = [
      await fixture.watched({ info: { name: 'example.com/a' } }, 'a.sock'),
      await fixture.watched({ info: { name: 'example.com/b' } }, 'sub/deeper/b.sock'),
    ];
    await fixture.start();
    await eventually('both', () => plugins.every(({ statuses }) => statuses[0]?.pluginRegistered === true));
    mkdirSync(join(fixture.registryDir, 'later'));
    const third = await fixture.watched({ info: { name: 'example.com/c' } }, 'later/c.sock');
    await eventually('the third', () => third.statuses[0]?.pluginRegistered === true);
  });

  test('scenario 29: names that begin with a dot, and what is no socket, are ignored', async () => {
    const fixture = new Registry();
    mkdirSync(join(fixture.registryDir, '.hidden'), { recursive: true });
    writeFileSync(join(fixture.registryDir, 'file.sock'), '');
    symlinkSync('/nonexistent', join(fixture.registryDir, 'dangling'));
    symlinkSync(fixture.registryDir, join(fixture.registryDir, 'loop'));
    const ignored = [await fixture.watched({}, '.p.sock'), await fixture.watched({}, '.hidden/p.sock')];
    const endpoints = await fixture.start();
    const plugin = await fixture.watched({}, 'p.sock');
    await eventually('the one', () => plugin.statuses.length === 1);
    expect(ignored.flatMap(({ calls }) => calls)).toEqual([]);
    expect(new Set(endpoints.pluginTotals().map(({ socketPath }) => socketPath))).toEqual(new Set([plugin.socketPath]));
  });

  test('scenario 30: sockets are worked on side by side: a slow one holds up nobody', async () => {
    const fixture = new Registry();
    await fixture.start();
    let release: () => void = () => undefined;
    const slow = await fixture.watched({ infoDelay: () => new Promise((resolve) => (release = resolve)) }, 'slow.sock');
    await eventually('the slow one is asked', () => slow.methods.includes('GetInfo'));
    const quick = await fixture.watched({ info: { name: 'example.com/quick' } }, 'quick.sock');
    await eventually('the quick one', () => quick.statuses.length === 1);
    expect(slow.statuses).toEqual([]);
    release();
    await eventually('the slow one', () => slow.statuses.length === 1);
  });

  test('scenario 31: any one of the offered versions will do', () => {
    expect(checkPluginInfo({ name: RESOURCE, supportedVersions: ['v1beta2'] })).toBe(
      'manager version, v1beta1, is not among plugin supported versions [v1beta2]',
    );
    expect(checkPluginInfo({ name: RESOURCE, supportedVersions: ['v1beta2', 'v1beta1'] })).toBeUndefined();
    expect(checkPluginInfo({ name: RESOURCE, supportedVersions: [] })).toContain('[]');
  });

  test('what the file system does not announce is found by the regular look', async () => {
    const fixture = new Registry();
    await fixture.start();
    const target = join(fixture.root, 'elsewhere.sock');
    symlinkSync(target, join(fixture.registryDir, 'link.sock'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const plugin = await fixture.pluginAt(target, { devices: ['a'], info: {} });
    await eventually('registered', () => plugin.statuses[0]?.pluginRegistered === true);
  });

  test('a socket that nobody serves yet is waited for', async () => {
    const fixture = new Registry();
    await fixture.start();
    const path = join(fixture.registryDir, 'p.sock');
    const mute = createServer((socket) => socket.resume().on('error', () => undefined));
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    onTestFinished(() => {
      mute.close();
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const plugin = await fixture.watched();
    await eventually('registered', () => plugin.statuses[0]?.pluginRegistered === true);
  });

  test('a stream that ends is not opened again for the same socket', async () => {
    const fixture = new Registry();
    await fixture.start();
    const plugin = await fixture.watched();
    await eventually('the list', () => fixture.host.lists.length === 1 && plugin.statuses.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    plugin.endStreams();
    await eventually('the end', () => fixture.host.ends.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(plugin.methods.filter((method) => method === 'ListAndWatch')).toHaveLength(1);
  });

  test('Register and the watcher serve side by side', async () => {
    const fixture = new Registry();
    await fixture.start();
    const client = createClient(deviceplugin.RegistrationService, fixture.kubeletSocket);
    onTestFinished(() => {
      client.close();
    });
    const direct = await fixture.plugin({ devices: ['x'] });
    await direct.register(fixture.kubeletSocket, 'example.com/direct');
    await fixture.watched();
    await eventually('both', () => fixture.host.liveSessions.length === 2);
  });
});

describe('one watched socket', () => {
  test('a socket replaced unseen, of the same identity, is registered again once its stream has ended', async () => {
    const sessions: { live: boolean; end: () => void }[] = [];
    const socket = new WatchedSocket({
      path: '/r/p.sock',
      clock: new SystemClock(),
      log: new SilentLog(),
      events: () => undefined,
      register: (_, onEnded) => {
        const session = {
          ...{
            id: 1,
            resource: RESOURCE,
            socketPath: '/r/p.sock',
            origin: 'watcher' as const,
            connectedAt: 0,
            live: true,
          },
          options: { preStartRequired: false, preferredAllocationAvailable: false, releaseRequired: false },
          allocate: () => Promise.resolve(new Uint8Array()),
          preferredAllocation: () => Promise.resolve([]),
          preStart: () => Promise.resolve(),
          released: () => Promise.resolve(),
          close: () => undefined,
          end: () => {
            session.live = false;
            onEnded();
          },
        };
        sessions.push(session);
        return Promise.resolve(session);
      },
    });
    socket.observe('x');
    await eventually('registered', () => socket.actual);
    socket.touch();
    socket.observe('x');
    expect(sessions).toHaveLength(1);
    sessions[0]?.end();
    await eventually('registered again', () => sessions.length === 2 && socket.actual);
    sessions[1]?.end();
    socket.observe('x');
    await new Promise((resolve) => setImmediate(resolve));
    expect(sessions).toHaveLength(2);
    await socket.close();
  });

  test('scenario 30: operations on it wait for one another; a new socket starts afresh after failures', async () => {
    let running = 0;
    let most = 0;
    const attempts: AbortSignal[] = [];
    const socket = new WatchedSocket({
      path: '/r/p.sock',
      clock: new SystemClock(),
      log: new SilentLog(),
      events: () => undefined,
      register: async (signal) => {
        attempts.push(signal);
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 20));
        running -= 1;
        throw new Error('no');
      },
    });
    for (let index = 0; index < 20; index += 1) socket.observe(`identity ${String(index % 2)}`);
    await eventually('several tries', () => attempts.length >= 3);
    expect(most).toBe(1);
    expect(attempts[0]?.aborted).toBe(true);
    // By now it waits for seconds: 500, 1000 and 2000 ms after the third, fourth and fifth failure.
    await eventually('back-off', () => attempts.length >= 4);
    const before = attempts.length;
    const startedAt = performance.now();
    socket.observe('a new one');
    await eventually('a try at once', () => attempts.length > before);
    expect(performance.now() - startedAt).toBeLessThan(400);
    await socket.close();
    expect(socket.idle).toBe(true);
  });
});
