import {
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  MAX_SOCKET_PATH_BYTES,
  SocketPathError,
  createClient,
  deviceplugin,
  listenUnix,
  probeUnix,
} from '../src/index.ts';
import type { UnixServer, UnixServerOptions } from '../src/index.ts';
import { devicePlugin, manyDevices } from './support/device-plugin.ts';
import type { PluginHandlers } from './support/device-plugin.ts';
import { useDirectory, until } from './support/directory.ts';
import {
  END_HEADERS,
  DATA,
  END_STREAM,
  HEADERS,
  RawPeer,
  frame,
  grpcHeaders,
  grpcMessage,
  literals,
} from './support/http2-bytes.ts';

const directory = useDirectory();

async function serve(
  path: string,
  handlers: Partial<PluginHandlers> = {},
  options: Partial<UnixServerOptions> = {},
): Promise<UnixServer> {
  const server = await listenUnix({ path, services: [devicePlugin(handlers)], ...options });
  directory.atEnd(() => server.close(0));
  return server;
}

async function healthOf(path: string): Promise<string | undefined> {
  const client = createClient(deviceplugin.DevicePluginService, path);
  try {
    for await (const { devices } of client.listAndWatch({}, { timeoutMs: 10_000 })) return devices[0]?.health;
    return undefined;
  } finally {
    client.close();
  }
}

/** A handler whose list says who is serving. */
const named = (health: string): Partial<PluginHandlers> => ({
  async *listAndWatch() {
    yield { devices: [{ ID: 'd', health, topology: undefined }] };
  },
});

test('the socket file is the only one in its directory, and gone after close', async () => {
  const path = directory.path('p.sock');
  const server = await serve(path);
  expect(readdirSync(dirname(path))).toEqual(['p.sock']);
  expect(lstatSync(path, { bigint: true }).ino).toBe(server.inode);
  await Promise.all([server.close(), server.close()]);
  expect(readdirSync(dirname(path))).toEqual([]);
});

test('the mode is set before the socket appears', async () => {
  const path = directory.path('p.sock');
  await serve(path, {}, { mode: 0o660 });
  expect(statSync(path).mode & 0o777).toBe(0o660);
});

test('a stale socket is replaced', async () => {
  const path = directory.path('p.sock');
  const stale = createServer();
  await new Promise<void>((resolve) => stale.listen(path, resolve));
  renameSync(path, `${path}.kept`); // else Node would remove it on close
  await new Promise((resolve) => stale.close(resolve));
  renameSync(`${path}.kept`, path);
  expect(await probeUnix(path, 5000)).toBe('refused');
  await serve(path);
  expect(await probeUnix(path, 5000)).toBe('grpc');
});

test('a symbolic link is replaced, not followed', async () => {
  const path = directory.path('p.sock');
  const target = directory.path('target');
  writeFileSync(target, 'kept');
  symlinkSync(target, path);
  await serve(path);
  expect(lstatSync(path).isSocket()).toBe(true);
  expect(statSync(target).isFile()).toBe(true);
});

test.each<[what: string, make: (path: string) => void]>([
  [
    'regular file',
    (path) => {
      writeFileSync(path, 'precious');
    },
  ],
  [
    'directory',
    (path) => {
      mkdirSync(path);
    },
  ],
])('a %s in the way is left alone', async (_what, make) => {
  const path = directory.path('p.sock');
  make(path);
  const before = lstatSync(path).ino;
  await expect(serve(path)).rejects.toThrow(`cannot listen on ${path}: a file that is not a socket lies there`);
  expect(lstatSync(path).ino).toBe(before);
  expect(readdirSync(dirname(path))).toEqual(['p.sock']);
});

test('a directory that does not exist is an error that names the path', async () => {
  const path = join(directory.path('none'), 'p.sock');
  // No temporary name is in it: whoever tries again and again can tell that nothing has changed.
  await expect(serve(path)).rejects.toThrow(
    new RegExp(`^cannot listen on ${path}: listen (EACCES: permission denied|ENOENT: no such file or directory)$`),
  );
});

test('paths no socket can have are refused in clear words', async () => {
  const room = MAX_SOCKET_PATH_BYTES - Buffer.byteLength(directory.path('s')) + 1;
  const longest = directory.path('s'.repeat(room));
  const tooLong = directory.path('s'.repeat(room + 1));
  const refusal = `is ${String(MAX_SOCKET_PATH_BYTES + 1)} bytes long, the system allows ${String(MAX_SOCKET_PATH_BYTES)}`;
  await serve(longest);
  expect(await healthOf(longest)).toBeUndefined();
  await expect(serve(tooLong)).rejects.toThrow(SocketPathError);
  await expect(serve(tooLong)).rejects.toThrow(refusal);
  expect(() => createClient(deviceplugin.DevicePluginService, tooLong)).toThrow(refusal);
  expect(() => createClient(deviceplugin.DevicePluginService, '')).toThrow('is empty');
  expect(() => createClient(deviceplugin.DevicePluginService, 'a\0b')).toThrow('contains a NUL character');
});

test('a short name in a deep directory leaves room for its temporary name', async () => {
  const deep = directory.path('d'.repeat(MAX_SOCKET_PATH_BYTES - Buffer.byteLength(directory.path('d')) - 2));
  mkdirSync(deep);
  const path = join(deep, 'ab');
  expect(Buffer.byteLength(path)).toBe(MAX_SOCKET_PATH_BYTES);
  await serve(path, named('here'));
  expect(await healthOf(path)).toBe('here');
});

test(
  'one server takes over from another without a moment in which clients find none',
  { timeout: 60_000 },
  async () => {
    const path = directory.path('p.sock');
    let current = await serve(path, named('0'));
    const takeover = { done: false };
    let probes = 0;
    const failures: string[] = [];
    const client = (async () => {
      while (!takeover.done) {
        const found = await probeUnix(path, 10_000);
        probes += 1;
        if (found !== 'grpc') failures.push(found);
      }
    })();
    for (let generation = 1; generation <= 30; generation += 1) {
      const next = await serve(path, named(String(generation)));
      await current.close(1000); // must not take the successor's file with it
      current = next;
      expect(await healthOf(path)).toBe(String(generation));
    }
    takeover.done = true;
    await client;
    expect(probes).toBeGreaterThan(10);
    // A connection that the old listener had accepted may be cut by its close; the path itself is never empty.
    expect(failures.filter((found) => found !== 'mute')).toEqual([]);
  },
);

test('close leaves a file alone that is not its own', async () => {
  const path = directory.path('p.sock');
  const server = await serve(path);
  unlinkSync(path);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  directory.atEnd(() => new Promise((resolve) => other.close(resolve)));
  const { ino } = lstatSync(path);
  await server.close();
  expect(lstatSync(path).ino).toBe(ino);
});

test('close lets a running call end', async () => {
  const path = directory.path('p.sock');
  let release = (): void => undefined;
  let running = false;
  const server = await serve(path, {
    preStartContainer: async () => {
      running = true;
      await new Promise<void>((resolve) => (release = resolve));
      return {};
    },
  });
  const client = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    client.close();
  });
  const call = client.preStartContainer({ devicesIds: [] });
  await until('the handler', () => running);
  const closed = server.close(20_000);
  expect(await probeUnix(path, 5000)).toBe('missing');
  release();
  expect(await call).toEqual({});
  await closed;
});

test('close cuts what does not end: streams, idle and mute connections, readers that do not read', async () => {
  const path = directory.path('p.sock');
  const signals: AbortSignal[] = [];
  const server = await serve(path, {
    async *listAndWatch(_request, { signal }) {
      signals.push(signal);
      while (!signal.aborted) yield { devices: manyDevices(1000, 1000) };
    },
  });
  const client = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    client.close();
  });
  const stream = client.listAndWatch({})[Symbol.asyncIterator]();
  await stream.next();
  const mute = await RawPeer.connect(path);
  const idle = await RawPeer.connect(path);
  const reader = await RawPeer.connect(path);
  idle.greet();
  reader.greet();
  reader.socket.pause();
  reader.send(
    frame(HEADERS, END_HEADERS, 1, literals(grpcHeaders('/v1beta1.DevicePlugin/ListAndWatch', '/raw'))),
    frame(DATA, END_STREAM, 1, grpcMessage(Buffer.alloc(0))),
  );
  await until('both streams', () => signals.length === 2);
  await server.close(200);
  reader.socket.resume();
  await until('the end of all connections', () => mute.closed && idle.closed && reader.closed);
  await until('the end of both handlers', () => signals.every(({ aborted }) => aborted));
  await expect(
    (async () => {
      while ((await stream.next()).done !== true);
    })(),
  ).rejects.toThrow('rpc error: code = Unavailable');
});
