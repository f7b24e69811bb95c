import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createClient, deviceplugin } from '@devmgr/wire';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EndpointsFixture } from '../helpers/endpoints-fixture.ts';
import { eventually } from '../helpers/eventually.ts';
import { register } from '../helpers/scripted-plugin.ts';

const RESOURCE = 'example.com/r';
const UNKNOWN = 2;

describe('scenarios of registration', () => {
  test('scenario 9: a serving plugin with two devices registers: 2/2', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['D1', 'D2'] });
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    expect(fixture.host.sessions.map(({ socketPath, origin }) => [socketPath, origin])).toEqual([
      [plugin.socketPath, 'register'],
    ]);
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    expect(fixture.host.calls[0]).toEqual({ type: 'requested', resource: RESOURCE });
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  test('what is logged of a plugin is what the kubelet logs', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['D1'] });
    await expect(plugin.register(fixture.kubeletSocket, 'no-domain')).rejects.toThrow();
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('a list', () => fixture.host.lists.length === 1);
    await plugin.stop();
    await eventually('its end', () => fixture.host.ends.length === 1);
    expect(fixture.log.lines.map(({ message }) => message)).toEqual([
      'Got registration request from device plugin with resource',
      'Bad registration request from device plugin',
      'Got registration request from device plugin with resource',
      'Device plugin connected',
      'State pushed for device plugin',
      'ListAndWatch ended unexpectedly for device plugin',
      'Device plugin disconnected',
    ]);
  });

  for (const preStartRequired of [false, true]) {
    for (const preferredAllocationAvailable of [false, true]) {
      test(`scenarios 10, 11: a second and a third plugin take over (pre-start ${String(preStartRequired)}, preferred ${String(preferredAllocationAvailable)})`, async () => {
        const fixture = new EndpointsFixture();
        await fixture.start();
        const flags = { preStartRequired, preferredAllocationAvailable };
        const first = await fixture.plugin({ ...flags, devices: ['D1', 'D2'] }, 'one.sock');
        await first.register(fixture.kubeletSocket, RESOURCE);
        await eventually('the first', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
        const second = await fixture.plugin({ ...flags, devices: ['D1', 'D2'] }, 'two.sock');
        await second.register(fixture.kubeletSocket, RESOURCE);
        await eventually('the second list', () => fixture.host.lists.length === 2);
        expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 2, allocatable: 2 });
        expect(fixture.host.sessions[1]?.options).toEqual({ ...flags, releaseRequired: false });
        const third = await fixture.plugin({ ...flags, devices: ['D3'] }, 'three.sock');
        await third.register(fixture.kubeletSocket, RESOURCE);
        await eventually('the third', () => fixture.host.capacity(RESOURCE)?.capacity === 1);
        expect(fixture.host.deviceIds(RESOURCE)).toEqual(['D3']);
      });
    }
  }

  test('scenario 13: another API version is refused, and counted', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['a'] });
    await expect(plugin.register(fixture.kubeletSocket, RESOURCE, { version: 'v1alpha1' })).rejects.toMatchObject({
      code: UNKNOWN,
      details: 'requested API version "v1alpha1" is not supported by kubelet. Supported version is ["v1beta1"]',
    });
    expect(fixture.host.calls).toEqual([{ type: 'requested', resource: RESOURCE }]);
    expect(plugin.methods).toEqual([]);
    expect(fixture.events[0]).toMatchObject({ type: 'Warning', reason: 'PluginRefused' });
  });

  test('scenario 14: invalid resource names are refused, and counted as invalid', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin();
    const tooLong = [`a/${'x'.repeat(64)}`, `${'d'.repeat(245)}/x`];
    const names = ['cpu', 'kubernetes.io/x', 'a.kubernetes.io/x', 'requests.foo/x', 'Foo/x', 'a/b/c', 'a/', '/b', ''];
    for (const name of [...names, ...tooLong]) {
      await expect(plugin.register(fixture.kubeletSocket, name)).rejects.toMatchObject({
        code: UNKNOWN,
        details: `the ResourceName "${name}" is invalid`,
      });
    }
    expect(fixture.host.calls).toEqual([...names, ...tooLong].map(() => ({ type: 'requested', resource: 'invalid' })));
    expect(plugin.methods).toEqual([]);
    for (const name of ['a.b/C_d.e-f', `a/${'x'.repeat(63)}`, `${'d'.repeat(63)}.${'e'.repeat(180)}/x`]) {
      await plugin.register(fixture.kubeletSocket, name);
    }
    expect(fixture.host.sessions).toHaveLength(3);
  });

  test('scenario 15: an endpoint that does not exist fails within its grace; a later correct one works', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const socketPath = join(fixture.devicePluginDir, 'none.sock');
    await expect(
      register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: 'none.sock' }, { timeoutMs: 9_000 }),
    ).rejects.toMatchObject({
      code: UNKNOWN,
      details: `failed to dial device plugin: dial unix ${socketPath}: connect: no such file or directory`,
    });
    writeFileSync(join(fixture.devicePluginDir, 'file'), '');
    await expect(register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: 'file' })).rejects.toThrow(
      'connect: not a socket',
    );
    const plugin = await fixture.plugin({ devices: ['a'] }, 'none.sock');
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.allocatable === 1);
  });

  test('scenario 15: a socket that refuses, and one that is mute, fail at the deadline', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start({ limits: { dialTimeoutMs: 700, optionsTimeoutMs: 5_000, maxReceiveBytes: 1 << 20 } });
    leaveStaleSocket(join(fixture.devicePluginDir, 'stale.sock'));
    await expect(register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: 'stale.sock' })).rejects.toThrow(
      /failed to dial device plugin: .*connection refused: context deadline exceeded/u,
    );
    const accepted: unknown[] = [];
    const mute = createServer((socket) => accepted.push(socket.resume().on('error', () => undefined)));
    await new Promise<void>((resolve) => mute.listen(join(fixture.devicePluginDir, 'mute.sock'), resolve));
    onTestFinished(() => {
      mute.close();
    });
    await expect(register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: 'mute.sock' })).rejects.toThrow(
      /failed to dial device plugin: .*says nothing: context deadline exceeded/u,
    );
    expect(fixture.host.sessions).toEqual([]);
    await eventually('no connection stays', () => connections(mute).then((count) => count === 0));
  });

  test('a socket that serves only later is dialled until it does', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const path = join(fixture.devicePluginDir, 'late.sock');
    leaveStaleSocket(path);
    const registered = register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: 'late.sock' });
    await eventually('the request', () => fixture.host.calls.length === 1);
    const plugin = await fixture.pluginAt(path, { devices: ['a'] });
    await registered;
    expect(plugin.methods[0]).toBe('GetDevicePluginOptions');
  });

  test('scenario 16: failing options: one call, and the resource never appears', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['a'], optionsFailure: new Error('boom') });
    await expect(plugin.register(fixture.kubeletSocket, RESOURCE)).rejects.toMatchObject({
      code: UNKNOWN,
      details: 'failed to get device plugin options: rpc error: code = Unknown desc = boom',
    });
    expect(fixture.host.calls).toEqual([{ type: 'requested', resource: RESOURCE }]);
    expect(fixture.host.capacity(RESOURCE)).toBeUndefined();
    expect(plugin.methods).toEqual(['GetDevicePluginOptions']);
  });

  test('scenario 17: the options in the request are not those that count', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ preferredAllocationAvailable: true });
    await plugin.register(fixture.kubeletSocket, RESOURCE, {
      options: { preStartRequired: true, getPreferredAllocationAvailable: false },
    });
    expect(fixture.host.sessions[0]?.options).toMatchObject({
      preStartRequired: false,
      preferredAllocationAvailable: true,
    });
  });

  test('scenario 18: Register returns although ListAndWatch stays silent', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin();
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the stream', () => plugin.openStreams === 1);
    expect(fixture.host.lists).toEqual([]);
    expect(fixture.host.capacity(RESOURCE)).toBeUndefined();
    plugin.list(['a']);
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.allocatable === 1);
  });

  test('scenario 20: a file named DEPRECATION changes nothing', async () => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    writeFileSync(join(fixture.devicePluginDir, 'DEPRECATION'), '');
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['a'] });
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.allocatable === 1);
  });

  test('scenario 43: a failed registration leaves no connection, and other clients of the name untouched', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start({ limits: { dialTimeoutMs: 10_000, optionsTimeoutMs: 1_000, maxReceiveBytes: 1 << 20 } });
    const good = await fixture.plugin({ devices: ['a'] }, 'good.sock');
    await good.register(fixture.kubeletSocket, RESOURCE);
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.allocatable === 1);
    const bad = await fixture.plugin({ optionsFailure: 'never' }, 'bad.sock');
    const before = openSockets();
    const attempts = Array.from({ length: 5 }, () => bad.register(fixture.kubeletSocket, RESOURCE));
    for (const outcome of await Promise.allSettled(attempts)) expect(outcome.status).toBe('rejected');
    await eventually('no connection stays', () => openSockets() <= before);
    expect(fixture.host.sessions).toHaveLength(1);
    expect(fixture.host.ends).toEqual([]);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 1, allocatable: 1 });
  });

  test('scenario 44: the end of an older stream leaves the newer session alone', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const old = await fixture.plugin({ devices: ['a'] }, 'old.sock');
    await old.register(fixture.kubeletSocket, RESOURCE);
    const young = await fixture.plugin({ devices: ['a', 'b'] }, 'new.sock');
    await young.register(fixture.kubeletSocket, RESOURCE);
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    await old.stop();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 2, allocatable: 2 });
    expect(fixture.host.liveSessions.map(({ socketPath }) => socketPath)).toEqual([young.socketPath]);
  });

  test('scenario 42: the same resource and socket again: the new session supersedes, nothing is lost', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['a'] });
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the first list', () => fixture.host.lists.length === 1);
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the second list', () => fixture.host.lists.length === 2);
    await eventually('the old one is closed', () => fixture.host.ends.length === 1);
    expect(fixture.host.ends).toEqual(['closed by the manager']);
    expect(fixture.host.liveSessions).toEqual([fixture.host.sessions[1]]);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 1, allocatable: 1 });
  });
});

describe('endpoints', () => {
  test.each(['', '../x.sock', 'sub/../../x.sock', '.', 'a\0b', '..'])(
    '%j is refused before any dial',
    async (endpoint) => {
      const fixture = new EndpointsFixture();
      await fixture.start();
      await expect(register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint })).rejects.toMatchObject({
        code: UNKNOWN,
        details: expect.stringMatching(/^the endpoint .*device plugin directory/u) as string,
      });
    },
  );

  test('a path longer than a unix socket can have is refused at once, and nothing else is dialled', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    await expect(
      register(fixture.kubeletSocket, { resourceName: RESOURCE, endpoint: `${'x'.repeat(100)}.sock` }),
    ).rejects.toThrow(/failed to dial device plugin: .*longer than/u);
  });

  test('a socket in a sub-directory is fine', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    mkdirSync(join(fixture.devicePluginDir, 'sub'));
    const plugin = await fixture.plugin({ devices: ['a'] }, 'sub/p.sock');
    await plugin.register(fixture.kubeletSocket, RESOURCE, { endpoint: './sub//p.sock' });
    expect(fixture.host.sessions[0]?.socketPath).toBe(plugin.socketPath);
  });
});

describe('many at once', () => {
  test('of two Registers for the same socket that overlap the later one wins, whichever is slower', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const gates: (() => void)[] = [];
    const plugin = await fixture.plugin({
      devices: ['a'],
      optionsDelay: () => new Promise((resolve) => gates.push(resolve)),
    });
    const first = plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the first options call', () => gates.length === 1);
    const second = plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the second options call', () => gates.length === 2);
    gates[1]?.();
    await second;
    gates[0]?.();
    await first;
    await eventually('the list', () => fixture.host.lists.length === 1);
    expect(fixture.host.sessions).toHaveLength(1);
    expect(fixture.host.liveSessions).toHaveLength(1);
    await eventually('one stream', () => plugin.openStreams === 1);
  });

  test('a client that goes away during the dial ends it', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    leaveStaleSocket(join(fixture.devicePluginDir, 'stale.sock'));
    const request = { resourceName: RESOURCE, endpoint: 'stale.sock' };
    await expect(register(fixture.kubeletSocket, request, { timeoutMs: 200 })).rejects.toMatchObject({ code: 4 });
    await eventually('the refusal', () => fixture.events.length === 1);
    expect(fixture.events[0]?.message).toContain('failed to dial device plugin: context canceled');
  });

  test('1000 Registers at once leave one session, and no socket behind', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    const plugin = await fixture.plugin({ devices: ['a', 'b'] });
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    const before = openSockets();
    const clients = Array.from({ length: 20 }, () =>
      createClient(deviceplugin.RegistrationService, fixture.kubeletSocket),
    );
    const first = createClient(deviceplugin.RegistrationService, fixture.kubeletSocket);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 1_000 }, (_, index) =>
        (clients[index % clients.length] ?? first).register(
          {
            version: 'v1beta1',
            resourceName: RESOURCE,
            endpoint: index % 4 === 0 ? 'none.sock' : 'p.sock',
            options: undefined,
          },
          { timeoutMs: 100_000 },
        ),
      ),
    );
    for (const client of [first, ...clients]) client.close();
    for (const outcome of outcomes.filter((_, index) => index % 4 === 0)) expect(outcome.status).toBe('rejected');
    const unexpected = outcomes.filter((outcome, index) => index % 4 !== 0 && outcome.status === 'rejected');
    expect(unexpected).toEqual([]);
    await eventually('one session', () => fixture.host.liveSessions.length === 1, 60_000);
    await eventually('no socket stays', () => openSockets() <= before, 60_000);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 2, allocatable: 2 });
    expect(readdirSync(fixture.devicePluginDir).sort()).toEqual(['kubelet.sock', 'p.sock']);
  }, 120_000);
});

/** A socket file nobody listens on, as a killed process leaves it. */
function leaveStaleSocket(path: string): void {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  try {
    execFileSync(process.execPath, ['-e', script]);
  } catch {
    // it ends by the signal
  }
}

function connections(server: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

function openSockets(): number {
  return readdirSync('/proc/self/fd').length;
}
