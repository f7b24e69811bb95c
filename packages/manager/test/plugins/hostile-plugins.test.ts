import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import { deviceplugin } from '@devmgr/wire';
import { describe, expect, onTestFinished, test } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { SessionFixture } from '../helpers/session-fixture.ts';

const LIMITS = { timeoutMs: 10_000 };

/** HTTP/2 SETTINGS without content: enough to pass for a gRPC server. */
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const EMPTY_MESSAGE = Buffer.alloc(0);

describe('plugins that do not keep to the protocol', () => {
  test('garbage instead of HTTP/2 fails the dial', async () => {
    const fixture = new SessionFixture();
    await serveRaw(fixture.path(), (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(fixture.open({ dialTimeoutMs: 600 })).rejects.toThrow(/^failed to dial device plugin: /u);
    expect(fixture.host.calls).toEqual([]);
  });

  test('garbage frames after SETTINGS fail the registration', async () => {
    const fixture = new SessionFixture();
    await serveRaw(fixture.path(), (socket) => {
      socket.write(SETTINGS);
      socket.once('data', () => socket.write(Buffer.alloc(4096, 0xff)));
    });
    await expect(fixture.open({ dialTimeoutMs: 1_500, optionsTimeoutMs: 1_500 })).rejects.toThrow(
      /^failed to (dial device plugin|get device plugin options): /u,
    );
    expect(fixture.host.calls).toEqual([]);
  });

  test('a service that is not DevicePlugin is refused with the server’s status', async () => {
    const fixture = new SessionFixture();
    await serveGrpc(fixture.path(), (path, stream) => {
      endWith(stream, 12, `unknown method ${path}`);
    });
    await expect(fixture.open()).rejects.toThrow(
      'failed to get device plugin options: rpc error: code = Unimplemented desc = unknown method /v1beta1.DevicePlugin/GetDevicePluginOptions',
    );
  });

  test('options that are no message fail the registration', async () => {
    const fixture = new SessionFixture();
    await serveGrpc(fixture.path(), (_, stream) => {
      sendMessage(stream, Buffer.alloc(64, 0xff));
      endWith(stream, 0);
    });
    await expect(fixture.open()).rejects.toThrow(/^failed to get device plugin options: rpc error: code = /u);
    expect(fixture.host.calls).toEqual([]);
  });

  test('a list that is no message ends the session, once', async () => {
    const fixture = new SessionFixture();
    await serveGrpc(fixture.path(), (path, stream) => {
      if (path.endsWith('/ListAndWatch')) {
        sendMessage(stream, Buffer.from(deviceplugin.ListAndWatchResponse.encode(listOf('a')).finish()));
        sendMessage(stream, Buffer.alloc(64, 0xff));
        sendMessage(stream, Buffer.from(deviceplugin.ListAndWatchResponse.encode(listOf('b')).finish()));
      } else {
        sendMessage(stream, EMPTY_MESSAGE);
        endWith(stream, 0);
      }
    });
    const session = await fixture.open();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.ends[0]).toMatch(/^rpc error: code = Internal desc = grpc: failed to unmarshal the received/u);
    expect(fixture.host.calls.map(({ type }) => type)).toEqual(['connected', 'reported', 'ended']);
    expect(session.live).toBe(false);
  });

  test('a connection that is reset amid Allocate fails the call and ends the session', async () => {
    const fixture = new SessionFixture();
    await serveGrpc(fixture.path(), (path, stream) => {
      if (path.endsWith('/ListAndWatch')) {
        sendMessage(stream, Buffer.from(deviceplugin.ListAndWatchResponse.encode(listOf('a')).finish()));
      } else if (path.endsWith('/Allocate')) {
        stream.session?.destroy();
      } else {
        sendMessage(stream, EMPTY_MESSAGE);
        endWith(stream, 0);
      }
    });
    const session = await fixture.open();
    await eventually('the list', () => fixture.host.lists.length === 1);
    await expect(session.allocate(['a'], LIMITS)).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: expect.stringMatching(/^rpc error: code = (Unavailable|Internal|Canceled|Unknown) desc = /u) as string,
    });
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(session.live).toBe(false);
  });

  test('an Allocate answer that is no message fails the call alone', async () => {
    const fixture = new SessionFixture();
    await serveGrpc(fixture.path(), (path, stream) => {
      if (path.endsWith('/ListAndWatch')) {
        sendMessage(stream, EMPTY_MESSAGE);
        return;
      }
      sendMessage(stream, path.endsWith('/Allocate') ? Buffer.alloc(64, 0xff) : EMPTY_MESSAGE);
      endWith(stream, 0);
    });
    const session = await fixture.open();
    await eventually('the empty list', () => fixture.host.lists.length === 1);
    expect(fixture.host.lists[0]).toEqual([]);
    await expect(session.allocate(['a'], LIMITS)).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
    expect(session.live).toBe(true);
  });
});

function listOf(id: string): deviceplugin.ListAndWatchResponse {
  return { devices: [{ ID: id, health: 'Healthy', topology: undefined }] };
}

async function serveRaw(path: string, onConnection: (socket: Socket) => unknown): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).resume();
    onConnection(socket);
  });
  await listening(server, path, () => {
    for (const socket of sockets) socket.destroy();
  });
}

/** A gRPC server by hand: `handle` gets each call once its request has arrived. */
async function serveGrpc(path: string, handle: (path: string, stream: ServerHttp2Stream) => void): Promise<void> {
  const server = createHttp2Server();
  server.on('session', (session) => {
    session.on('error', () => undefined);
    onTestFinished(() => {
      session.destroy();
    });
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined).resume();
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    handle(String(headers[':path']), stream);
  });
  await listening(server, path, () => undefined);
}

function sendMessage(stream: ServerHttp2Stream, message: Buffer): void {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(message.length, 1);
  stream.write(Buffer.concat([header, message]));
}

function endWith(stream: ServerHttp2Stream, status: number, message = ''): void {
  stream.once('wantTrailers', () => {
    stream.sendTrailers({ 'grpc-status': String(status), 'grpc-message': message });
  });
  stream.end();
}

async function listening(server: Pick<Server, 'listen' | 'close'>, path: string, atEnd: () => void): Promise<void> {
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    server.close();
    atEnd();
  });
}
