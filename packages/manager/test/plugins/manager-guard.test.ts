import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deviceplugin, bindService, listenUnix } from '@devmgr/wire';
import { describe, expect, onTestFinished, test } from 'vitest';
import { guardRootDir, type RootLock } from '../../src/plugins/manager-guard.ts';
import { acquireLockFile } from '../../src/plugins/lock-file.ts';
import { isRunning, ownIdentity } from '../../src/plugins/lock-holder.ts';
import { eventually } from '../helpers/eventually.ts';
import { SilentLog } from '../helpers/silent-log.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

class Root {
  readonly dir = temporaryDirectory();
  readonly devicePluginDir = join(this.dir, 'device-plugins');
  readonly stateDir = join(this.dir, 'devmgr');
  readonly lock = join(this.stateDir, 'lock');
  readonly kubeletSocket = join(this.devicePluginDir, 'kubelet.sock');

  async guard(): Promise<RootLock> {
    const { dir: rootDir, devicePluginDir, stateDir } = this;
    const lock = await guardRootDir({ rootDir, devicePluginDir, stateDir, log: new SilentLog() });
    onTestFinished(() => lock.release());
    return lock;
  }

  writeLock(content: unknown): void {
    mkdirSync(this.stateDir, { recursive: true });
    writeFileSync(this.lock, typeof content === 'string' ? content : JSON.stringify(content));
  }
}

describe('the lock', () => {
  test('is held until it is released', async () => {
    const root = new Root();
    const lock = await root.guard();
    expect(JSON.parse(readFileSync(root.lock, 'utf8'))).toMatchObject(ownIdentity());
    await expect(root.guard()).rejects.toMatchObject({
      code: 'MANAGER_ALREADY_RUNNING',
      message: `a devmgr (pid ${String(process.pid)}) is already running on ${root.dir}: it holds ${root.lock}`,
      remedy: `Use another --root-dir, or stop process ${String(process.pid)} first.`,
    });
    await lock.release();
    await lock.release();
    expect(existsSync(root.lock)).toBe(false);
    await root.guard();
    expect(readdirSync(root.stateDir)).toEqual(['lock']);
  });

  test.each([
    ['no such process', { pid: 2 ** 22 + 1, startTime: '1', bootId: null }],
    ['another process of that number', { ...ownIdentity(), startTime: '1' }],
    ['another boot', { ...ownIdentity(), bootId: 'another' }],
    ['an empty file', ''],
    ['no JSON', '{"pid":'],
    ['no process', { pid: 'x' }],
  ])('of a process that no longer runs is taken over (%s)', async (_, content) => {
    const root = new Root();
    root.writeLock(content);
    await root.guard();
    expect(JSON.parse(readFileSync(root.lock, 'utf8'))).toMatchObject(ownIdentity());
    await expect(root.guard()).rejects.toMatchObject({ code: 'MANAGER_ALREADY_RUNNING' });
    expect(readdirSync(root.stateDir)).toEqual(['lock']);
  });

  test('a take-over that died halfway does not block the next one', async () => {
    const root = new Root();
    root.writeLock({ pid: 2 ** 22 + 1 });
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha256').update(readFileSync(root.lock)).digest('hex').slice(0, 16);
    writeFileSync(`${root.lock}.${hash}`, JSON.stringify({ pid: 2 ** 22 + 2 }));
    await root.guard();
    expect(readdirSync(root.stateDir)).toEqual(['lock']);
  });

  test('a release leaves somebody else’s lock alone', async () => {
    const root = new Root();
    const lock = await root.guard();
    root.writeLock({ pid: 1 });
    await lock.release();
    expect(existsSync(root.lock)).toBe(true);
  });

  test.each([
    ['free', undefined],
    ['stale', { pid: 2 ** 22 + 1 }],
  ])('of twenty starts at once exactly one wins (%s)', async (_, content) => {
    for (let round = 0; round < 20; round += 1) {
      const root = new Root();
      if (content !== undefined) root.writeLock(content);
      const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => root.guard()));
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    }
  });

  test('of several processes at once exactly one wins, and is told from the others after its death', async () => {
    const root = new Root();
    root.writeLock({ pid: 2 ** 22 + 1 });
    for (let round = 0; round < 3; round += 1) {
      const children = Array.from({ length: 4 }, () => startLocker(root.lock));
      await eventually('every outcome', () => children.every(({ outcome }) => outcome() !== undefined), 60_000);
      const outcomes = children.map(({ outcome }) => outcome());
      expect(outcomes.filter((outcome) => outcome === 'acquired')).toHaveLength(1);
      const winner = children[outcomes.indexOf('acquired')]?.child.pid;
      const attempt = await acquireLockFile(root.lock);
      expect(attempt).toMatchObject({ acquired: false, holder: { pid: winner } });
      for (const { child } of children) child.kill('SIGKILL');
      await eventually('their end', () =>
        children.every(({ child }) => child.signalCode !== null || child.exitCode !== null),
      );
    }
  }, 120_000);

  test('a directory that cannot be written is named', async () => {
    const root = new Root();
    writeFileSync(root.stateDir, 'a file');
    await expect(root.guard()).rejects.toMatchObject({
      code: 'ROOT_DIR_UNUSABLE',
      message: expect.stringContaining(root.lock) as string,
    });
  });
});

describe('a living manager on kubelet.sock', () => {
  test('a gRPC server is refused, and the lock given back', async () => {
    const root = new Root();
    mkdirSync(root.devicePluginDir);
    const services = [bindService(deviceplugin.RegistrationService, { register: () => ({}) })];
    const server = await listenUnix({ path: root.kubeletSocket, services });
    onTestFinished(() => server.close(0));
    await expect(root.guard()).rejects.toMatchObject({
      code: 'MANAGER_ALREADY_RUNNING',
      message: `a kubelet or another devmgr serves ${root.kubeletSocket}`,
    });
    expect(existsSync(root.lock)).toBe(false);
    await server.close(0);
    await root.guard();
  });

  test('its process is named when the socket was bound at that path, as a kubelet does; a hung one counts too', async () => {
    const root = new Root();
    mkdirSync(root.devicePluginDir);
    const server = createServer((socket) => socket.resume().on('error', () => undefined));
    await new Promise<void>((resolve) => server.listen(root.kubeletSocket, resolve));
    onTestFinished(() => {
      server.close();
    });
    await expect(root.guard()).rejects.toMatchObject({
      code: 'MANAGER_ALREADY_RUNNING',
      message: expect.stringMatching(
        new RegExp(`\\(pid ${String(process.pid)}\\) holds, without answering, ${root.kubeletSocket}$`, 'u'),
      ) as string,
      remedy: `Use another --root-dir, or stop process ${String(process.pid)} first.`,
    });
  });

  test('a socket left over from a crash is no manager', async () => {
    const root = new Root();
    mkdirSync(root.devicePluginDir);
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(root.kubeletSocket)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await eventually('the crash', () => child.signalCode !== null);
    expect(existsSync(root.kubeletSocket)).toBe(true);
    await root.guard();
  });
});

test('a process is told from a zombie and from one that has ended', async () => {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { stdio: 'ignore' });
  const pid = child.pid ?? 0;
  const identity = { pid, startTime: null, bootId: null };
  expect(isRunning(identity)).toBe(true);
  expect(isRunning(ownIdentity())).toBe(true);
  child.kill('SIGKILL');
  await eventually('its end', () => child.signalCode !== null);
  expect(isRunning(identity)).toBe(false);
});

/** A process that tries to take the lock, says how it went, and stays. */
function startLocker(path: string): { child: ChildProcess; outcome: () => string | undefined } {
  const compiled = fileURLToPath(new URL('../../dist/plugins/lock-file.js', import.meta.url));
  const script = `
    const { acquireLockFile } = await import(${JSON.stringify(compiled)});
    const outcome = await acquireLockFile(${JSON.stringify(path)});
    console.log(outcome.acquired ? 'acquired' : 'refused');
    setTimeout(() => {}, 60_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return { child, outcome: () => (output.endsWith('\n') ? output.trim() : undefined) };
}
