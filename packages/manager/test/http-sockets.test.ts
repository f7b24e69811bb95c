import { watch } from 'node:fs';
import { lstat, mkdir, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseListenAddress } from '../src/http/read-only.ts';
import { eventually } from './helpers/eventually.ts';
import { temporaryDirectory } from './helpers/temporary-directory.ts';
import { call, startTestApi } from './http-support.ts';

async function listen(path: string): Promise<Server> {
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return server;
}

/** A socket whose listener was killed, as after a crash. */
async function leaveDeadSocket(path: string): Promise<void> {
  const child = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`,
  ]);
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('the private socket', () => {
  it('is for its owner alone, in a directory for its owner alone, with nothing beside it', async () => {
    const dir = join(temporaryDirectory(), 'state');
    const socketPath = join(dir, 'api.sock');
    const { api } = await startTestApi({ socketPath });
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    expect(await readdir(dir)).toEqual(['api.sock']);
    await api.close();
    await api.close();
    expect(await readdir(dir)).toEqual([]);
  });

  it('is made inside its directory: nothing else is touched', async () => {
    const parent = temporaryDirectory();
    const dir = join(parent, 'state');
    await mkdir(dir, { mode: 0o700 });
    const seen = new Set<string>();
    const outside = watch(parent, (_event, name) => seen.add(String(name)));
    const inside = watch(dir, (_event, name) => seen.add(`state/${String(name)}`));
    onTestFinished(() => {
      outside.close();
      inside.close();
    });
    await startTestApi({ socketPath: join(dir, 'api.sock') });
    await eventually('the socket is noticed', () => seen.has('state/api.sock'));
    const others = [...seen].filter((name) => !/^state\/(?:api\.sock|\.\w{6})$/.test(name) && name !== 'state');
    expect(others).toEqual([]);
  });

  it('replaces a dead socket', async () => {
    const socketPath = join(temporaryDirectory(), 'api.sock');
    await leaveDeadSocket(socketPath);
    expect((await lstat(socketPath)).isSocket()).toBe(true);
    await startTestApi({ socketPath });
    expect((await call(socketPath, 'GET', '/healthz')).text).toBe('ok');
  });

  it('does not replace a living one', async () => {
    const socketPath = join(temporaryDirectory(), 'api.sock');
    await listen(socketPath);
    await expect(startTestApi({ socketPath })).rejects.toMatchObject({ code: 'MANAGER_ALREADY_RUNNING' });
    expect((await lstat(socketPath)).isSocket()).toBe(true);
  });

  it('does not replace what is not a socket', async () => {
    const socketPath = join(temporaryDirectory(), 'api.sock');
    await writeFile(socketPath, 'precious');
    await expect(startTestApi({ socketPath })).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    expect((await stat(socketPath)).size).toBe(8);
  });

  it('says so when its path is too long or its directory cannot be made', async () => {
    const dir = temporaryDirectory();
    await expect(startTestApi({ socketPath: join(dir, 'x'.repeat(100), 'api.sock') })).rejects.toMatchObject({
      code: 'PATH_TOO_LONG',
    });
    await writeFile(join(dir, 'file'), '');
    await expect(startTestApi({ socketPath: join(dir, 'file', 'api.sock') })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    });
  });

  it('leaves a successor in its place when it closes', async () => {
    const dir = temporaryDirectory();
    const socketPath = join(dir, 'api.sock');
    const { api } = await startTestApi({ socketPath });
    await mkdir(join(dir, 'aside'));
    await rename(socketPath, join(dir, 'aside', 'api.sock'));
    await listen(socketPath);
    await api.close();
    expect((await lstat(socketPath)).isSocket()).toBe(true);
  });
});

describe('the read-only address', () => {
  it('answers reading, on loopback', async () => {
    const { api } = await startTestApi({ listen: '0' });
    const address = api.address ?? '';
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await call({ address }, 'GET', '/healthz')).text).toBe('ok');
    expect((await call({ address }, 'GET', '/api/v1/pods')).status).toBe(200);
    expect((await call({ address }, 'HEAD', '/api/v1/pods')).status).toBe(200);
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('refuses %s', async (method) => {
    const { api, pods } = await startTestApi({ listen: '127.0.0.1:0' });
    const answer = await call({ address: api.address ?? '' }, method, '/api/v1/namespaces/default/pods', {
      body: '{"kind":"Pod","metadata":{"name":"a"}}',
    });
    expect(answer.body).toMatchObject({ kind: 'Status', code: 405 });
    expect(pods.pods.size).toBe(0);
  });

  it('refuses names that are not its own', async () => {
    const { api } = await startTestApi({ listen: '0' });
    const target = { address: api.address ?? '' };
    const port = new URL(target.address).port;
    const status = async (host: string): Promise<number> =>
      (await call(target, 'GET', '/healthz', { headers: { host } })).status;
    for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, '[::1]', 'LOCALHOST']) {
      expect(await status(host), host).toBe(200);
    }
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'a:b:c',
    ]) {
      expect(await status(host), host).toBe(403);
    }
  });

  it('says so when the address is taken, and then holds nothing', async () => {
    const first = await startTestApi({ listen: '0' });
    const { host } = new URL(first.api.address ?? '');
    const socketPath = join(temporaryDirectory(), 'api.sock');
    await expect(startTestApi({ socketPath, listen: host })).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await expect(lstat(socketPath)).rejects.toThrow('ENOENT');
  });

  it('is read from HOST:PORT in the usual forms', () => {
    expect(parseListenAddress('8080')).toEqual({ host: '127.0.0.1', port: 8080 });
    expect(parseListenAddress(':8080')).toEqual({ host: '127.0.0.1', port: 8080 });
    expect(parseListenAddress('localhost:1')).toEqual({ host: 'localhost', port: 1 });
    expect(parseListenAddress('[::1]:80')).toEqual({ host: '::1', port: 80 });
    for (const bad of ['', 'localhost', '1.2.3.4:', ':99999', '::1:80', '[x]:80', 'http://a:80']) {
      expect(() => parseListenAddress(bad), bad).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error);
    }
  });
});
