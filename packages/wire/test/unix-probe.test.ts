import { chmodSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createClient, deviceplugin, listenUnix, probeUnix } from '../src/index.ts';
import { devicePlugin } from './support/device-plugin.ts';
import { useDirectory, until } from './support/directory.ts';

const directory = useDirectory();

/** A plain listener on the path, and the connections it has accepted and not lost. */
async function accept(path: string, onSocket: (socket: Socket) => void = () => undefined): Promise<Set<Socket>> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: false }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  directory.atEnd(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return sockets;
}

test('grpc: a living server', async () => {
  const path = directory.path('p.sock');
  const server = await listenUnix({ path, services: [devicePlugin({})] });
  directory.atEnd(() => server.close(0));
  expect(await probeUnix(path, 10_000)).toBe('grpc');
});

test.each<[what: string, onSocket: (socket: Socket) => void]>([
  ['says nothing', (socket) => socket.resume()],
  ['hangs up', (socket) => socket.destroy()],
  ['speaks HTTP/1.1', (socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')],
])('mute: a listener that %s', async (_what, onSocket) => {
  const path = directory.path('p.sock');
  const sockets = await accept(path, onSocket);
  expect(await probeUnix(path, 300)).toBe('mute');
  await until('the end of the connection', () => sockets.size === 0);
});

test('refused: a socket file without a listener', async () => {
  const path = directory.path('p.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  renameSync(path, `${path}.kept`);
  await new Promise((resolve) => server.close(resolve));
  expect(await probeUnix(`${path}.kept`, 10_000)).toBe('refused');
});

test('missing: no file, no directory, no possible name', async () => {
  expect(await probeUnix(directory.path('none'), 10_000)).toBe('missing');
  expect(await probeUnix(join(directory.path('none'), 'p.sock'), 10_000)).toBe('missing');
  expect(await probeUnix('/tmp/a\0b', 10_000)).toBe('missing');
  expect(await probeUnix('', 10_000)).toBe('missing');
  expect(await probeUnix(directory.path('x'.repeat(300)), 10_000)).toBe('missing');
});

test('not-a-socket: a regular file, a directory', async () => {
  const file = directory.path('file');
  writeFileSync(file, '');
  chmodSync(file, 0o777);
  mkdirSync(directory.path('directory'));
  expect(await probeUnix(file, 10_000)).toBe('not-a-socket');
  expect(await probeUnix(directory.path('directory'), 10_000)).toBe('not-a-socket');
});

test('a peer that stays mute fails a call without a deadline, and loses its connection', async () => {
  const path = directory.path('p.sock');
  const sockets = await accept(path, (socket) => socket.resume());
  const client = createClient(deviceplugin.DevicePluginService, path, { handshakeTimeoutMs: 200 });
  directory.atEnd(() => {
    client.close();
  });
  await expect(client.getDevicePluginOptions({})).rejects.toThrow('rpc error: code = Unavailable');
  client.close();
  await until('the end of the connection', () => sockets.size === 0);
});

test('a client that is closed while its peer stays mute gives its connection up', async () => {
  const path = directory.path('p.sock');
  const sockets = await accept(path, (socket) => socket.resume());
  const client = createClient(deviceplugin.DevicePluginService, path);
  const waiting = client.waitForReady(20_000).catch((error: unknown) => error);
  await until('the connection', () => sockets.size === 1);
  client.close();
  await waiting;
  await until('its end', () => sockets.size === 0, 5000);
});
