import { expect, test } from 'vitest';
import { bindService, createClient, deviceplugin, listenUnix } from '../src/index.ts';
import type { CallContext } from '../src/index.ts';
import { useDirectory, until } from './support/directory.ts';
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  RawPeer,
  SETTINGS,
  frame,
  grpcHeaders,
  grpcMessage,
  literals,
} from './support/http2-bytes.ts';
import type { HeaderList } from './support/http2-bytes.ts';

const directory = useDirectory();

const REGISTER = '/v1beta1.Registration/Register';

async function serveRegistration(keepSentAuthority = false): Promise<{
  path: string;
  requests: deviceplugin.RegisterRequest[];
  contexts: CallContext[];
}> {
  const requests: deviceplugin.RegisterRequest[] = [];
  const contexts: CallContext[] = [];
  const handlers = {
    register: (request: deviceplugin.RegisterRequest, context: CallContext) => {
      requests.push(request);
      contexts.push(context);
      return {};
    },
  };
  const path = directory.path('kubelet.sock');
  const services = [bindService(deviceplugin.RegistrationService, handlers)];
  const server = await listenUnix({ path, services, keepSentAuthority });
  directory.atEnd(() => server.close(0));
  return { path, requests, contexts };
}

function registerFrames(stream: number, headers: HeaderList, resourceName: string): Buffer {
  const request = { version: 'v1beta1', endpoint: 'p.sock', resourceName, options: undefined };
  const message = Buffer.from(deviceplugin.RegisterRequest.encode(request).finish());
  return Buffer.concat([
    frame(HEADERS, END_HEADERS, stream, literals(headers)),
    frame(DATA, END_STREAM, stream, grpcMessage(message)),
  ]);
}

const SOCKET = '/var/lib/kubelet/device-plugins/kubelet.sock';

test.each<[style: string, authority: string | undefined, extra?: HeaderList]>([
  ['a raw path (grpc-go before 1.57)', SOCKET],
  ['a percent-encoded path (grpc-go since 1.57, C core)', SOCKET.replaceAll('/', '%2F')],
  ['a percent-encoded path without its first slash (grpcio)', SOCKET.slice(1).replaceAll('/', '%2F')],
  ['localhost', 'localhost'],
  ['an IPv6 address with a port (tonic)', '[::]:50051'],
  ['an empty string', ''],
  ['nothing', undefined],
  ['nothing but a host header with a raw path', undefined, [['host', SOCKET]]],
  ['a unix:// URL', `unix://${SOCKET}`],
  ['a unix: URL', `unix:${SOCKET}`],
  ['a passthrough URL', `passthrough:///${SOCKET}`],
  ['a relative path', '../kubelet.sock'],
  ['an abstract socket', '@kubelet'],
])('scenario 19: a plugin whose authority is %s registers', async (_style, authority, extra = []) => {
  const { path, requests } = await serveRegistration();
  const peer = await RawPeer.connect(path);
  directory.atEnd(() => peer.close());
  peer.greet();
  peer.send(registerFrames(1, grpcHeaders(REGISTER, authority, extra), 'example.com/first'));
  await until('the first answer', () => peer.outcome(1) !== 'open');
  peer.send(registerFrames(3, grpcHeaders(REGISTER, authority, extra), 'example.com/second'));
  await until('the second answer', () => peer.outcome(3) !== 'open');
  expect([peer.outcome(1), peer.outcome(3)]).toEqual(['answered', 'answered']);
  expect(requests.map(({ resourceName }) => resourceName)).toEqual(['example.com/first', 'example.com/second']);
  const answers = peer.frames.filter(({ type, stream }) => type === DATA && stream === 1);
  expect(Buffer.concat(answers.map(({ payload }) => payload))).toEqual(grpcMessage(Buffer.alloc(0)));
});

test('scenario 19: a request that arrives octet by octet is served', async () => {
  const { path, requests } = await serveRegistration();
  const peer = await RawPeer.connect(path);
  directory.atEnd(() => peer.close());
  peer.greet();
  for (const octet of registerFrames(1, grpcHeaders(REGISTER, SOCKET), 'example.com/slow')) {
    peer.send(Buffer.of(octet));
    await new Promise(setImmediate);
  }
  await until('the answer', () => peer.outcome(1) !== 'open');
  expect(requests.map(({ resourceName }) => resourceName)).toEqual(['example.com/slow']);
});

test('the server leaves the header table at the 4096 octets the rewriter counts on', async () => {
  const { path } = await serveRegistration();
  const peer = await RawPeer.connect(path);
  directory.atEnd(() => peer.close());
  peer.greet();
  const isSettings = ({ type, flags }: { type: number; flags: number }): boolean => type === SETTINGS && flags === 0;
  await until('SETTINGS', () => peer.frames.some(isSettings));
  const settings = peer.frames.find(isSettings)?.payload ?? Buffer.alloc(0);
  const identifiers = Array.from({ length: settings.length / 6 }, (_, index) => settings.readUInt16BE(index * 6));
  const HEADER_TABLE_SIZE = 0x1;
  const MAX_FRAME_SIZE = 0x5;
  expect(identifiers).not.toContain(HEADER_TABLE_SIZE);
  expect(identifiers).not.toContain(MAX_FRAME_SIZE);
});

test.each([[SOCKET], [SOCKET.replaceAll('/', '%2F')], ['localhost'], [''], [undefined]])(
  'a server that was asked to tells its handlers that a client sent the authority %j',
  async (authority) => {
    const { path, contexts } = await serveRegistration(true);
    const peer = await RawPeer.connect(path);
    directory.atEnd(() => peer.close());
    peer.greet();
    peer.send(registerFrames(1, grpcHeaders(REGISTER, authority, [['x-other', 'kept']]), 'example.com/first'));
    await until('the answer', () => peer.outcome(1) !== 'open');
    expect(peer.outcome(1)).toBe('answered');
    expect(contexts.map(({ sentAuthority }) => sentAuthority)).toEqual([authority]);
  },
);

test('handlers learn the limit a client put on its call, and nothing of its authority unasked', async () => {
  const { path, contexts } = await serveRegistration();
  const client = createClient(deviceplugin.RegistrationService, path);
  directory.atEnd(() => client.close());
  const request = { version: 'v1beta1', endpoint: 'p.sock', resourceName: 'example.com/x', options: undefined };
  await client.register(request);
  await client.register(request, { timeoutMs: 60_000 });
  expect(contexts.map(({ sentAuthority }) => sentAuthority)).toEqual([undefined, undefined]);
  expect(contexts[0]?.timeLimitMs).toBeUndefined();
  expect(contexts[1]?.timeLimitMs).toBeLessThanOrEqual(60_000);
  expect(contexts[1]?.timeLimitMs).toBeGreaterThan(0);
});
