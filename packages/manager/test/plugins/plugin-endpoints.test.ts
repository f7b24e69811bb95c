import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { listenUnix, probeUnix } from '@devmgr/wire';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { cleanPluginDirectory } from '../../src/plugins/plugin-directory.ts';
import { EndpointsFixture } from '../helpers/endpoints-fixture.ts';
import { eventually } from '../helpers/eventually.ts';
import { ScriptedPlugin } from '../helpers/scripted-plugin.ts';

const RESOURCE = 'example.com/r';

describe('start and stop', () => {
  test.each([
    ['', ''],
    ['device-plugins', 'device-plugins/kubelet.sock'],
    ['./x', 'x/kubelet.sock'],
  ])('scenario 1: the directory %j is refused', async (devicePluginDir, path) => {
    const fixture = new EndpointsFixture();
    await expect(fixture.start({ devicePluginDir })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: `bad socketPath, must be an absolute path: ${path}`,
    });
  });

  test('scenario 2: starts in a fresh directory and stops; stopping again, also at once, is fine; starting again works', async () => {
    const fixture = new EndpointsFixture();
    const endpoints = await fixture.start();
    expect(endpoints.socketPath).toBe(fixture.kubeletSocket);
    expect(await probeUnix(fixture.kubeletSocket, 5_000)).toBe('grpc');
    await Promise.all([endpoints.close(), endpoints.close()]);
    await endpoints.close();
    expect(await probeUnix(fixture.kubeletSocket, 5_000)).toBe('missing');
    await fixture.start();
    expect(await probeUnix(fixture.kubeletSocket, 5_000)).toBe('grpc');
  });

  test('scenario 3: sockets go, everything else stays', async () => {
    const fixture = new EndpointsFixture();
    const directory = fixture.devicePluginDir;
    mkdirSync(join(directory, 'sub'), { recursive: true });
    const sockets = ['a.sock', 'kubelet.sock', 'sub/b.sock', '.hidden'];
    leaveStaleSockets(sockets.map((name) => join(directory, name)));
    writeFileSync(join(directory, 'x'), 'content');
    writeFileSync(join(directory, 'kubelet_internal_checkpoint'), '{}');
    symlinkSync('/nonexistent/target', join(directory, 'dangling'));
    symlinkSync(join(directory, 'sub', 'b.sock'), join(directory, 'link-to-socket'));
    const stale = statSync(fixture.kubeletSocket).mtimeMs;
    await fixture.start();
    expect(readdirSync(directory).sort()).toEqual([
      'dangling',
      'kubelet.sock',
      'kubelet_internal_checkpoint',
      'sub',
      'x',
    ]);
    expect(statSync(fixture.kubeletSocket).mtimeMs).not.toBe(stale);
    expect(existsSync(join(directory, 'sub', 'b.sock'))).toBe(true);
    expect(readFileSync(join(directory, 'x'), 'utf8')).toBe('content');
    expect(fixture.log.lines).toContainEqual(
      expect.objectContaining({ level: 'warn', message: 'Failed to stat a file in the device plugin directory' }),
    );
  });

  test('scenario 4: a socket that cannot be removed fails the start', async (context) => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    leaveStaleSockets([join(fixture.devicePluginDir, 'a.sock')]);
    if (!makeReadOnly(fixture.devicePluginDir)) context.skip('needs an ordinary user, or root who may mount');
    await expect(fixture.start()).rejects.toMatchObject({
      code: 'ROOT_DIR_UNUSABLE',
      message: expect.stringContaining('a.sock') as string,
    });
    expect(existsSync(fixture.kubeletSocket)).toBe(false);
  });

  test('scenario 5: the directory is 0755 and kubelet.sock 0777, less umask', async () => {
    const fixture = new EndpointsFixture();
    const umask = Number.parseInt(
      /^Umask:\s*(\d+)$/mu.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '022',
      8,
    );
    await fixture.start();
    expect(statSync(fixture.devicePluginDir).mode & 0o777).toBe(0o755 & ~umask);
    expect(statSync(fixture.kubeletSocket).mode & 0o777).toBe(0o777 & ~umask);
  });

  test('scenario 6: a failure of the serving loop is reported by the health check, until the end', async () => {
    const fixture = new EndpointsFixture();
    const net = await import('node:net');
    const servers: import('node:net').Server[] = [];
    const listen = vi.spyOn(net.Server.prototype, 'listen').mockImplementation(function (
      this: import('node:net').Server,
      ...options: unknown[]
    ) {
      servers.push(this);
      listen.mockRestore();
      return (this.listen as (...all: unknown[]) => import('node:net').Server)(...options);
    } as never);
    const endpoints = await fixture.start();
    expect(endpoints.health()).toBeUndefined();
    servers[0]?.emit('error', new Error('accept: too many open files'));
    expect(endpoints.health()).toBe(
      'device registration error: device plugin registration gRPC server failed and no device plugins can register: accept: too many open files',
    );
    await endpoints.close();
    expect(endpoints.health()).toBeUndefined();
  });

  test('scenario 7: with nothing there the start succeeds and nothing is known', async () => {
    const fixture = new EndpointsFixture();
    await fixture.start();
    expect(fixture.host.calls).toEqual([]);
    expect(existsSync(fixture.registryDir)).toBe(true);
  });

  test('scenario 8: stopping with two connected plugins closes both', async () => {
    const fixture = new EndpointsFixture();
    const endpoints = await fixture.start();
    const plugins = [
      await fixture.plugin({ devices: ['a'] }, 'a.sock'),
      await fixture.plugin({ devices: ['b'] }, 'b.sock'),
    ];
    for (const [index, plugin] of plugins.entries())
      await plugin.register(fixture.kubeletSocket, `example.com/r${String(index)}`);
    await eventually('both lists', () => fixture.host.lists.length === 2);
    await endpoints.close();
    expect(fixture.host.ends).toEqual(['closed by the manager', 'closed by the manager']);
    await eventually('both streams', () => plugins.every(({ openStreams }) => openStreams === 0));
    expect(fixture.host.capacity('example.com/r0')).toEqual({ capacity: 1, allocatable: 0 });
    expect(fixture.host.liveSessions).toEqual([]);
  });

  test('closing ends registrations that are under way', async () => {
    const fixture = new EndpointsFixture();
    const endpoints = await fixture.start();
    const plugin = await fixture.plugin({ optionsFailure: 'never' });
    const registered = plugin.register(fixture.kubeletSocket, RESOURCE);
    const outcome = expect(registered).rejects.toThrow();
    await eventually('the options call', () => plugin.methods.length === 1);
    await endpoints.close();
    await outcome;
    expect(fixture.host.sessions).toEqual([]);
  });

  test('a path that is too long, and a file in the way, are told apart', async () => {
    const fixture = new EndpointsFixture();
    const devicePluginDir = join(fixture.root, 'x'.repeat(100));
    await expect(fixture.start({ devicePluginDir })).rejects.toMatchObject({ code: 'PATH_TOO_LONG' });
    mkdirSync(fixture.kubeletSocket, { recursive: true });
    await expect(fixture.start()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining(fixture.kubeletSocket) as string,
    });
    writeFileSync(join(fixture.root, 'file'), '');
    await expect(fixture.start({ devicePluginDir: join(fixture.root, 'file') })).rejects.toMatchObject({
      code: 'ROOT_DIR_UNUSABLE',
    });
  });
});

describe('remembered plugins', () => {
  const remembered = (path: string): { resource: string; endpoint: string }[] => [
    { resource: RESOURCE, endpoint: path },
  ];

  test('a living one keeps its socket and is connected without registering', async () => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    const plugin = await fixture.plugin({ devices: ['a', 'b'] });
    const other = await fixture.plugin({ devices: ['c'] }, 'unknown.sock');
    await fixture.start({ remembered: remembered(plugin.socketPath) });
    await eventually('2/2', () => fixture.host.capacity(RESOURCE)?.allocatable === 2);
    expect(fixture.host.sessions.map(({ origin }) => origin)).toEqual(['remembered']);
    expect(existsSync(plugin.socketPath)).toBe(true);
    expect(existsSync(other.socketPath)).toBe(false);
    expect(fixture.host.calls.some(({ type }) => type === 'requested')).toBe(false);
    // A plugin that does notice the new manager takes over from what was remembered.
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the new list', () => fixture.host.lists.length === 2);
    await eventually('the old end', () => fixture.host.ends.length === 1);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 2, allocatable: 2 });
    expect(existsSync(plugin.socketPath)).toBe(true);
  });

  test('a dead one is cleaned away', async () => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    const path = join(fixture.devicePluginDir, 'p.sock');
    leaveStaleSockets([path]);
    await fixture.start({
      remembered: [...remembered(path), { resource: 'a.b/c', endpoint: join(fixture.root, 'elsewhere') }],
    });
    expect(existsSync(path)).toBe(false);
    expect(fixture.host.calls).toEqual([]);
  });

  test.each([
    ['options fail', { optionsFailure: new Error('no') }],
    ['options never come', { optionsFailure: 'never' as const }],
    ['the stream ends at once', { listFailure: new Error('no') }],
    ['no list comes', {}],
  ])('one that is of no use (%s) loses its socket, so that it notices', async (_, script) => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    const plugin = await fixture.plugin(script);
    await fixture.start({
      remembered: remembered(plugin.socketPath),
      limits: { dialTimeoutMs: 1_000, optionsTimeoutMs: 200, maxReceiveBytes: 1 << 20, firstListTimeoutMs: 300 },
    });
    await eventually('the socket is gone', () => !existsSync(plugin.socketPath));
    const again = await fixture.plugin({ devices: ['a'] });
    await again.register(fixture.kubeletSocket, RESOURCE);
    await eventually('1/1', () => fixture.host.capacity(RESOURCE)?.allocatable === 1);
    expect(existsSync(again.socketPath)).toBe(true);
  });

  test('one that registers while its remembered connection fails keeps its socket', async () => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    let calls = 0;
    const plugin = await fixture.plugin({
      devices: ['a'],
      optionsDelay: () => (++calls === 1 ? new Promise(() => undefined) : Promise.resolve()),
    });
    await fixture.start({
      remembered: remembered(plugin.socketPath),
      limits: { dialTimeoutMs: 1_000, optionsTimeoutMs: 500, maxReceiveBytes: 1 << 20 },
    });
    await eventually('the remembered dial', () => calls === 1);
    await plugin.register(fixture.kubeletSocket, RESOURCE);
    await eventually('the failure', () =>
      fixture.log.lines.some(({ message }) => message === 'A remembered device plugin could not be connected'),
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(existsSync(plugin.socketPath)).toBe(true);
    expect(fixture.host.capacity(RESOURCE)).toEqual({ capacity: 1, allocatable: 1 });
  });

  test('no pause lies between cleaning and listening, however slow remembered sockets are', async () => {
    const fixture = new EndpointsFixture();
    mkdirSync(fixture.devicePluginDir);
    const plugin = await fixture.plugin({ optionsFailure: 'never' });
    const previous = await listenUnix({ path: fixture.kubeletSocket, services: [] });
    onTestFinished(() => previous.close(0));
    let missingMs = 0;
    let missingSince: number | undefined;
    const watching = setInterval(() => {
      if (existsSync(fixture.kubeletSocket)) missingSince = undefined;
      else missingMs = Math.max(missingMs, performance.now() - (missingSince ??= performance.now()));
    }, 1);
    await fixture.start({ remembered: remembered(plugin.socketPath) });
    clearInterval(watching);
    expect(missingMs).toBeLessThan(900);
  });
});

test('cleaning names every socket that could not be removed', async () => {
  const fixture = new EndpointsFixture();
  await expect(cleanPluginDirectory(join(fixture.root, 'none'), new Set(), fixture.log)).rejects.toThrow('ENOENT');
  const plugin = await ScriptedPlugin.start(join(fixture.root, 'a.sock'));
  onTestFinished(() => plugin.stop());
  await cleanPluginDirectory(fixture.root, new Set([plugin.socketPath]), fixture.log);
  expect(existsSync(plugin.socketPath)).toBe(true);
});

/** Socket files nobody listens on, as a killed process leaves them. */
function leaveStaleSockets(paths: readonly string[]): void {
  const script = `
    const paths = ${JSON.stringify(paths)};
    let left = paths.length;
    for (const path of paths) require('net').createServer().listen(path, () => { if (--left === 0) process.kill(process.pid, 'SIGKILL'); });`;
  try {
    execFileSync(process.execPath, ['-e', script]);
  } catch {
    // it ends by the signal
  }
}

/** Undone when the test is over. Root may write everywhere but on a read-only mount; false where that cannot be made. */
function makeReadOnly(directory: string): boolean {
  if (process.getuid?.() !== 0) {
    chmodSync(directory, 0o555);
    onTestFinished(() => {
      chmodSync(directory, 0o755);
    });
    return true;
  }
  try {
    execFileSync('mount', ['--bind', directory, directory], { stdio: 'ignore' });
  } catch {
    return false;
  }
  onTestFinished(() => {
    execFileSync('umount', [directory]);
  });
  execFileSync('mount', ['-o', 'remount,bind,ro', directory]);
  return true;
}
