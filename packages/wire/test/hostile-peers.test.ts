import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bindService, createClient, deviceplugin, listenUnix } from '../src/index.ts';
import { useDirectory, until } from './support/directory.ts';
import {
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  PADDED,
  PING,
  PREFACE,
  RST_STREAM,
  RawPeer,
  SETTINGS,
  frame,
  grpcHeaders,
  grpcMessage,
  hpackInteger,
  literals,
  plainString,
} from './support/http2-bytes.ts';

const directory = useDirectory();
const LIST_AND_WATCH = '/v1beta1.DevicePlugin/ListAndWatch';

const uncaught: unknown[] = [];
const record = (error: unknown): void => {
  uncaught.push(error);
};
beforeEach(() => {
  uncaught.length = 0;
  process.on('uncaughtException', record);
  process.on('unhandledRejection', record);
});
afterEach(async () => {
  await new Promise(setImmediate);
  process.off('uncaughtException', record);
  process.off('unhandledRejection', record);
  expect(uncaught).toEqual([]);
});

/** A plugin whose list never ends, and how many of its streams are being served. */
async function servePlugin(deviceCount = 1): Promise<{ path: string; open: () => number; sent: () => number }> {
  let open = 0;
  let sent = 0;
  const devices = Array.from({ length: deviceCount }, (_, index) => ({
    ID: `device-${String(index)}`,
    health: 'Healthy',
    topology: undefined,
  }));
  const service = bindService(deviceplugin.DevicePluginService, {
    getDevicePluginOptions: () => ({ preStartRequired: false, getPreferredAllocationAvailable: true }),
    async *listAndWatch(_request, { signal }) {
      open += 1;
      try {
        while (!signal.aborted) {
          sent += 1;
          yield { devices };
        }
      } finally {
        open -= 1;
      }
    },
    getPreferredAllocation: () => ({ containerResponses: [] }),
    allocate: () => ({ containerResponses: [] }),
    preStartContainer: () => ({}),
  });
  const path = directory.path('p.sock');
  const server = await listenUnix({ path, services: [service] });
  directory.atEnd(() => server.close(0));
  return { path, open: () => open, sent: () => sent };
}

/** The server still serves others. */
async function expectAlive(path: string): Promise<void> {
  const client = createClient(deviceplugin.DevicePluginService, path);
  try {
    const options = await client.getDevicePluginOptions({}, { timeoutMs: 10_000 });
    expect(options.getPreferredAllocationAvailable).toBe(true);
  } finally {
    client.close();
  }
}

const GREETING = Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)]);
const request = (path: string, flags = END_HEADERS): Buffer =>
  frame(HEADERS, flags, 1, literals(grpcHeaders(path, '/raw/path')));
const reset = frame(RST_STREAM, 0, 1, Buffer.of(0, 0, 0, 8));
const textRequest = frame(
  HEADERS,
  END_HEADERS,
  1,
  literals([
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
  ]),
);
const hugeField = Buffer.concat([Buffer.of(0x40), plainString('x'), plainString('y'.repeat(3000))]);
const references = Buffer.alloc(15_000, 0x80 | 62);

test.each<[what: string, bytes: Buffer]>([
  ['nothing', Buffer.alloc(0)],
  ['half a preface', PREFACE.subarray(0, 11)],
  ['an HTTP/1.1 request', Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')],
  ['random octets', randomBytes(5000)],
  ['random octets after the greeting', Buffer.concat([GREETING, randomBytes(5000)])],
  ['a request and its reset in one packet', Buffer.concat([GREETING, request(LIST_AND_WATCH), reset])],
  ['a request for an unknown method and its reset in one packet', Buffer.concat([GREETING, request('/a/b'), reset])],
  ['a request that is not gRPC and its reset in one packet', Buffer.concat([GREETING, textRequest, reset])],
  ['a request followed by a broken frame', Buffer.concat([GREETING, request('/a/b'), frame(PING, 0, 1, Buffer.of(1))])],
  ['a request followed by GOAWAY', Buffer.concat([GREETING, request('/a/b'), frame(GOAWAY, 0, 0, Buffer.alloc(8))])],
  ['a frame inside a header block', Buffer.concat([GREETING, request('/a/b', 0), frame(PING, 0, 0, Buffer.alloc(8))])],
  [
    'a header block of 80 KiB',
    Buffer.concat([
      GREETING,
      frame(HEADERS, 0, 1, Buffer.alloc(16_000)),
      ...Array<Buffer>(4).fill(frame(CONTINUATION, 0, 1, Buffer.alloc(16_000))),
    ]),
  ],
  [
    'a header block without end',
    Buffer.concat([GREETING, frame(HEADERS, 0, 1), ...Array<Buffer>(5000).fill(frame(CONTINUATION, 0, 1))]),
  ],
  [
    'a small header block that expands to 45 MB',
    Buffer.concat([
      GREETING,
      frame(HEADERS, END_HEADERS, 1, Buffer.concat([hugeField, references.subarray(0, 13_000)])),
    ]),
  ],
  [
    'padding longer than its frame',
    Buffer.concat([GREETING, frame(HEADERS, END_HEADERS | PADDED, 1, Buffer.of(200, 1, 2))]),
  ],
  [
    'a string longer than its block',
    Buffer.concat([
      GREETING,
      frame(HEADERS, END_HEADERS, 1, Buffer.concat([Buffer.of(0), hpackInteger(70_000, 7, 0)])),
    ]),
  ],
  [
    'a header frame larger than allowed',
    Buffer.concat([GREETING, Buffer.of(0xff, 0xff, 0xff, HEADERS, 0, 0, 0, 0, 1)]),
  ],
  [
    'a message that cannot be decoded',
    Buffer.concat([
      GREETING,
      request('/v1beta1.DevicePlugin/Allocate'),
      frame(DATA, END_STREAM, 1, grpcMessage(Buffer.of(0x0a, 0xff))),
    ]),
  ],
  [
    'a message that claims 4 GiB',
    Buffer.concat([
      GREETING,
      request('/v1beta1.DevicePlugin/Allocate'),
      frame(DATA, 0, 1, Buffer.of(0, 0xff, 0xff, 0xff, 0xff, 1)),
    ]),
  ],
  [
    'a message with a broken compression',
    Buffer.concat([
      GREETING,
      frame(
        HEADERS,
        END_HEADERS,
        1,
        literals(grpcHeaders('/v1beta1.DevicePlugin/Allocate', 'x', [['grpc-encoding', 'gzip']])),
      ),
      frame(DATA, END_STREAM, 1, Buffer.of(1, 0, 0, 0, 2, 7, 7)),
    ]),
  ],
  ['a path with octets above 127', Buffer.concat([GREETING, request('/v1beta1.\xe9\xff/%zz"')])],
  [
    'a deadline that is none',
    Buffer.concat([
      GREETING,
      frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        literals(grpcHeaders(LIST_AND_WATCH, '', [['grpc-timeout', 'soon']])),
      ),
    ]),
  ],
])('a peer that sends %s harms nobody else', async (_what, bytes) => {
  const { path, open } = await servePlugin();
  const staying = await RawPeer.connect(path);
  directory.atEnd(() => staying.close());
  staying.send(bytes);
  const leaving = await RawPeer.connect(path);
  leaving.send(bytes);
  leaving.socket.end();
  await expectAlive(path);
  leaving.close();
  staying.close();
  await until('the end of all streams', () => open() === 0);
  await expectAlive(path);
});

test('a peer that calls and calls but never reads gets no more than its share', async () => {
  const { path, sent } = await servePlugin(10_000);
  const peer = await RawPeer.connect(path);
  directory.atEnd(() => {
    peer.close();
  });
  peer.greet();
  peer.socket.pause();
  for (let stream = 1; stream < 2000; stream += 2) {
    peer.send(
      frame(HEADERS, END_HEADERS, stream, literals(grpcHeaders(LIST_AND_WATCH, '/raw/path'))),
      frame(DATA, END_STREAM, stream, grpcMessage(Buffer.alloc(0))),
    );
  }
  await until('the first calls', () => sent() > 0);
  for (let round = 0; round < 20; round += 1) await expectAlive(path);
  expect(sent()).toBeLessThan(256 * 3); // calls allowed on one connection, each with a message on its way
});

test('connections that are reset in the middle of calls leave no stream behind', async () => {
  const { path, open } = await servePlugin(1000);
  for (let round = 0; round < 50; round += 1) {
    const peer = await RawPeer.connect(path);
    peer.greet();
    peer.send(request(LIST_AND_WATCH), frame(DATA, END_STREAM, 1, grpcMessage(Buffer.alloc(0))));
    if (round % 2 === 0) await until('the stream', () => open() > 0);
    peer.close(); // with octets unread: the server gets ECONNRESET
  }
  await until('the end of all streams', () => open() === 0);
  await expectAlive(path);
});

test('hundreds of random connections do no harm', async () => {
  const { path } = await servePlugin();
  for (let round = 0; round < 300; round += 1) {
    const peer = await RawPeer.connect(path);
    const size = round % 200;
    if (round % 3 > 0) peer.greet();
    peer.send(
      round % 3 === 2 ? frame(round % 12, randomBytes(1).readUInt8(), round % 4, randomBytes(size)) : randomBytes(size),
    );
    peer.socket.end();
    if (round % 10 === 0) await expectAlive(path);
  }
  await expectAlive(path);
});
