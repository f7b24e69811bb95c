import { expect, test } from 'vitest';
import { RpcCode, RpcError, createClient, deviceplugin, goErrorText, listenUnix } from '../src/index.ts';
import type { ClientOptions, RpcClient, UnixServer } from '../src/index.ts';
import { devicePlugin, manyDevices } from './support/device-plugin.ts';
import type { PluginHandlers } from './support/device-plugin.ts';
import { useDirectory, until } from './support/directory.ts';

const directory = useDirectory();

type Client = RpcClient<typeof deviceplugin.DevicePluginService>;

async function connect(
  handlers: Partial<PluginHandlers>,
  options: ClientOptions & { serverMaxReceiveBytes?: number } = {},
): Promise<{ client: Client; server: UnixServer; path: string }> {
  const path = directory.path('p.sock');
  const server = await listenUnix({
    path,
    services: [devicePlugin(handlers)],
    maxReceiveBytes: options.serverMaxReceiveBytes,
  });
  directory.atEnd(() => server.close(0));
  const client = createClient(deviceplugin.DevicePluginService, path, options);
  directory.atEnd(() => {
    client.close();
  });
  return { client, server, path };
}

async function failure(promise: Promise<unknown>): Promise<RpcError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RpcError);
  return error as RpcError;
}

/** Reads to the end; returns how many messages there were. */
async function drain(stream: AsyncIterable<unknown>): Promise<number> {
  const messages: unknown[] = [];
  for await (const message of stream) messages.push(message);
  return messages.length;
}

async function first<T>(stream: AsyncIterable<T>): Promise<T | undefined> {
  for await (const message of stream) return message;
  return undefined;
}

/** Waits until the call has ended. */
function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}

const NO_IDS = { containerRequests: [{ devicesIds: [] }] };

test('a unary call carries request and response', async () => {
  const { client } = await connect({
    preStartContainer: ({ devicesIds }) => {
      if (devicesIds.join() !== 'a,b') throw new Error(`unexpected ids ${devicesIds.join()}`);
      return {};
    },
    allocate: ({ containerRequests }) => ({
      containerResponses: containerRequests.map(({ devicesIds }) => ({
        envs: new Map([['IDS', devicesIds.join()]]),
        mounts: [{ containerPath: '/c', hostPath: '/h', readOnly: true }],
        devices: [{ containerPath: '/dev/c', hostPath: '/dev/h', permissions: 'rw' }],
        annotations: new Map([['key', 'värde']]),
        cdiDevices: [{ name: 'example.com/class=one' }],
      })),
    }),
  });
  expect(await client.preStartContainer({ devicesIds: ['a', 'b'] })).toEqual({});
  const response = await client.allocate({ containerRequests: [{ devicesIds: ['x', 'y'] }] }, { timeoutMs: 10_000 });
  expect(response.containerResponses[0]).toEqual({
    envs: new Map([['IDS', 'x,y']]),
    mounts: [{ containerPath: '/c', hostPath: '/h', readOnly: true }],
    devices: [{ containerPath: '/dev/c', hostPath: '/dev/h', permissions: 'rw' }],
    annotations: new Map([['key', 'värde']]),
    cdiDevices: [{ name: 'example.com/class=one' }],
  });
});

test('a server stream delivers its messages in order and ends', async () => {
  const { client } = await connect({
    async *listAndWatch() {
      for (let count = 1; count <= 100; count += 1) yield { devices: manyDevices(count, 4) };
    },
  });
  const counts: number[] = [];
  for await (const { devices } of client.listAndWatch({})) counts.push(devices.length);
  expect(counts).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
});

test('node ids of NUMA nodes are 64 bit integers', async () => {
  const nodes = [{ ID: -1n }, { ID: 9_223_372_036_854_775_807n }, { ID: 0n }];
  const { client } = await connect({
    async *listAndWatch() {
      yield { devices: [{ ID: 'd', health: 'Healthy', topology: { nodes } }] };
    },
  });
  expect((await first(client.listAndWatch({})))?.devices[0]?.topology?.nodes).toEqual(nodes);
});

test('an RpcError thrown by a handler arrives with its code and text', async () => {
  const { client } = await connect({
    allocate: () => {
      throw new RpcError(RpcCode.NotFound, 'device "a" ist weg: 100 %\nzweite Zeile, 設備');
    },
  });
  const error = await failure(client.allocate(NO_IDS));
  expect(error.code).toBe(RpcCode.NotFound);
  expect(error.details).toBe('device "a" ist weg: 100 %\nzweite Zeile, 設備');
  expect(goErrorText(error)).toBe('rpc error: code = NotFound desc = device "a" ist weg: 100 %\nzweite Zeile, 設備');
});

test('a plain error thrown by a handler arrives as Unknown with its text, as in Go', async () => {
  const { client } = await connect({
    preStartContainer: () => Promise.reject(new Error('no such device')),
    async *listAndWatch() {
      yield { devices: [] };
      throw new Error('list is broken');
    },
  });
  const unary = await failure(client.preStartContainer({ devicesIds: [] }));
  expect([unary.code, unary.details]).toEqual([RpcCode.Unknown, 'no such device']);
  const seen: number[] = [];
  const stream = await failure(
    (async () => {
      for await (const { devices } of client.listAndWatch({})) seen.push(devices.length);
    })(),
  );
  expect([stream.code, stream.details, seen]).toEqual([RpcCode.Unknown, 'list is broken', [0]]);
});

test('an error text that no header can carry is made to fit', async () => {
  const texts = ['\ud800 lone surrogate', '設'.repeat(100_000), 'x'.repeat(5_000_000), '😀'.repeat(10_000)];
  const { client } = await connect({
    preStartContainer: ({ devicesIds }) => {
      throw new Error(texts[Number(devicesIds[0])]);
    },
  });
  for (const [index, text] of texts.entries()) {
    const error = await failure(client.preStartContainer({ devicesIds: [String(index)] }, { timeoutMs: 20_000 }));
    expect(error.code).toBe(RpcCode.Unknown);
    expect(encodeURI(error.details).length).toBeLessThan(7000);
    expect(error.details.slice(1, 10)).toBe(text.slice(1, 10));
  }
});

test('a method the server does not have fails with Unimplemented', async () => {
  const { path } = await connect({});
  const client = createClient(deviceplugin.RegistrationService, path);
  directory.atEnd(() => {
    client.close();
  });
  const request = { version: 'v1beta1', endpoint: '', resourceName: '', options: undefined };
  expect((await failure(client.register(request))).code).toBe(RpcCode.Unimplemented);
});

test('a deadline ends the call on both sides', async () => {
  const signals: AbortSignal[] = [];
  const { client } = await connect({
    allocate: async (_request, { signal }) => {
      signals.push(signal);
      await ended(signal);
      return { containerResponses: [] };
    },
    async *listAndWatch(_request, { signal }) {
      signals.push(signal);
      yield { devices: [] };
      await ended(signal);
    },
  });
  await client.waitForReady(10_000);
  const unary = await failure(client.allocate(NO_IDS, { timeoutMs: 200 }));
  expect([unary.code, unary.details]).toEqual([RpcCode.DeadlineExceeded, 'context deadline exceeded']);
  const stream = await failure(drain(client.listAndWatch({}, { timeoutMs: 200 })));
  expect(stream.code).toBe(RpcCode.DeadlineExceeded);
  await until('both handlers to be told', () => signals.length === 2 && signals.every(({ aborted }) => aborted));
});

test('aborting the signal ends the call and reaches the handler', async () => {
  const signals: AbortSignal[] = [];
  let returned = false;
  const { client } = await connect({
    allocate: async (_request, { signal }) => {
      signals.push(signal);
      await ended(signal);
      return { containerResponses: [] };
    },
    async *listAndWatch(_request, { signal }) {
      signals.push(signal);
      try {
        yield { devices: [] };
        await ended(signal);
      } finally {
        returned = true;
      }
    },
  });
  const abort = new AbortController();
  const unary = failure(client.allocate(NO_IDS, { signal: abort.signal }));
  const stream = failure(drain(client.listAndWatch({}, { signal: abort.signal })));
  await until('both handlers to run', () => signals.length === 2);
  abort.abort();
  for (const error of [await unary, await stream]) {
    expect([error.code, error.details]).toEqual([RpcCode.Canceled, 'context canceled']);
  }
  await until('both handlers to be told', () => returned && signals.every(({ aborted }) => aborted));
});

test('a signal that is aborted already ends the call before it is sent', async () => {
  let calls = 0;
  const { client } = await connect({
    preStartContainer: () => {
      calls += 1;
      return {};
    },
  });
  const signal = AbortSignal.abort();
  expect((await failure(client.preStartContainer({ devicesIds: [] }, { signal }))).code).toBe(RpcCode.Canceled);
  expect((await failure(first(client.listAndWatch({}, { signal })))).code).toBe(RpcCode.Canceled);
  expect((await failure(client.waitForReady(1000, signal))).code).toBe(RpcCode.Canceled);
  await client.preStartContainer({ devicesIds: [] });
  expect(calls).toBe(1);
});

test('leaving the iteration ends the stream', async () => {
  let signal: AbortSignal | undefined;
  const { client } = await connect({
    async *listAndWatch(_request, context) {
      signal = context.signal;
      yield { devices: [] };
      await ended(context.signal);
    },
  });
  expect(await first(client.listAndWatch({}))).toEqual({ devices: [] });
  await until('the handler to be told', () => signal?.aborted === true);
});

test('a handler that ends by itself is never told that its call was cancelled', async () => {
  const signals: AbortSignal[] = [];
  const { client, server } = await connect({
    preStartContainer: (_request, { signal }) => {
      signals.push(signal);
      return {};
    },
    async *listAndWatch(_request, { signal }) {
      signals.push(signal);
      yield { devices: [] };
    },
  });
  await client.preStartContainer({ devicesIds: [] });
  await drain(client.listAndWatch({}));
  client.close();
  await server.close();
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
});

test('closing the client ends its streams and calls with an error', async () => {
  const signals: AbortSignal[] = [];
  const { client } = await connect({
    allocate: async (_request, { signal }) => {
      signals.push(signal);
      await ended(signal);
      return { containerResponses: [] };
    },
    async *listAndWatch(_request, { signal }) {
      signals.push(signal);
      yield { devices: [] };
      await ended(signal);
    },
  });
  const unary = failure(client.allocate(NO_IDS));
  const stream = failure(drain(client.listAndWatch({})));
  await until('both handlers to run', () => signals.length === 2);
  client.close();
  client.close();
  for (const error of [await unary, await stream, await failure(client.allocate(NO_IDS))]) {
    expect([error.code, error.details]).toEqual([RpcCode.Canceled, 'grpc: the client connection is closing']);
  }
  await until('both handlers to be told', () => signals.every(({ aborted }) => aborted));
});

test('a server that goes away ends streams with Unavailable', async () => {
  const { client, server } = await connect({
    async *listAndWatch(_request, { signal }) {
      yield { devices: [] };
      await ended(signal);
    },
  });
  let seen = 0;
  const stream = failure(
    (async () => {
      for await (const message of client.listAndWatch({})) seen += message.devices.length + 1;
    })(),
  );
  await until('the first list', () => seen === 1);
  await server.close(0);
  const error = await stream;
  expect(error.code).toBe(RpcCode.Unavailable);
});

test('a message above the receive limit ends the call with ResourceExhausted and both sizes', async () => {
  const { client } = await connect(
    {
      async *listAndWatch() {
        yield { devices: manyDevices(1000, 100) };
      },
      allocate: ({ containerRequests }) => ({
        containerResponses: [
          {
            envs: new Map([['X', 'x'.repeat(containerRequests.length * 100_000)]]),
            mounts: [],
            devices: [],
            annotations: new Map(),
            cdiDevices: [],
          },
        ],
      }),
    },
    { maxReceiveBytes: 65_536, serverMaxReceiveBytes: 32_768 },
  );
  const stream = await failure(first(client.listAndWatch({})));
  const response = await failure(client.allocate(NO_IDS));
  const request = await failure(client.preStartContainer({ devicesIds: ['i'.repeat(40_000)] }));
  expect([stream.code, response.code, request.code]).toEqual(Array(3).fill(RpcCode.ResourceExhausted));
  expect(stream.details).toMatch(/received message larger than max \(\d{6} vs\.? 65536\)/i);
  expect(response.details).toMatch(/received message larger than max \(\d{6} vs\.? 65536\)/i);
  expect(request.details).toMatch(/received message larger than max \(\d{5} vs\.? 32768\)/i);
  expect(await client.getDevicePluginOptions({})).toBeDefined();
});

test('a generator is asked for no more than a slow reader takes', async () => {
  let produced = 0;
  const { client } = await connect({
    async *listAndWatch() {
      for (;;) {
        produced += 1;
        yield { devices: manyDevices(1000, 1000) }; // 1 MB
      }
    },
  });
  const reader = client.listAndWatch({})[Symbol.asyncIterator]();
  directory.atEnd(() => reader.return?.());
  await reader.next();
  // Produced messages stop growing once the buffers on the way are full.
  for (let quiet = 0; quiet < 20;) {
    const before = produced;
    expect(produced).toBeLessThan(60);
    await new Promise((resolve) => setTimeout(resolve, 20));
    quiet = produced === before ? quiet + 1 : 0;
  }
});

test('a handler can tell the connections of its callers apart', async () => {
  const names: string[] = [];
  const { client, path } = await connect({
    preStartContainer: (_request, context) => {
      names.push(context.connection);
      return {};
    },
    async *listAndWatch(_request, context) {
      names.push(context.connection);
      yield await Promise.resolve({ devices: [] });
    },
  });
  const other = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    other.close();
  });
  await client.preStartContainer({ devicesIds: [] });
  await first(client.listAndWatch({}));
  await other.preStartContainer({ devicesIds: [] });
  expect(names).toHaveLength(3);
  expect(names[1]).toBe(names[0]);
  expect(names[2]).not.toBe(names[0]);
});

test('waitForReady waits for a server to come, and gives up at its time limit', async () => {
  const path = directory.path('late.sock');
  const client = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    client.close();
  });
  const early = await failure(client.waitForReady(150));
  expect(early.code).toBe(RpcCode.DeadlineExceeded);
  expect(early.details).toBe(`no gRPC connection to ${path} within 150 ms`);
  const ready = client.waitForReady(20_000);
  const server = await listenUnix({ path, services: [devicePlugin({})] });
  directory.atEnd(() => server.close(0));
  await ready;
});

test('waitForReady ends when its signal is aborted or the client closed', async () => {
  const client = createClient(deviceplugin.DevicePluginService, directory.path('none.sock'));
  const abort = new AbortController();
  const aborted = failure(client.waitForReady(60_000, abort.signal));
  const closed = failure(client.waitForReady(60_000));
  abort.abort();
  expect((await aborted).details).toBe('context canceled');
  client.close();
  expect((await closed).details).toBe('grpc: the client connection is closing');
});

test('a call to a socket that does not exist fails with Unavailable', async () => {
  const path = directory.path('none.sock');
  const client = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    client.close();
  });
  const error = await failure(client.getDevicePluginOptions({}, { timeoutMs: 10_000 }));
  expect(error.code).toBe(RpcCode.Unavailable);
  expect(error.details).toContain(path);
});

test('a new client to a path is not held up by the failures of an earlier one', async () => {
  const path = directory.path('again.sock');
  const earlier = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    earlier.close();
  });
  await failure(earlier.waitForReady(1200)); // several failed connections: the shared back-off would now be seconds
  const server = await listenUnix({ path, services: [devicePlugin({})] });
  directory.atEnd(() => server.close(0));
  const later = createClient(deviceplugin.DevicePluginService, path);
  directory.atEnd(() => {
    later.close();
  });
  expect(await later.getDevicePluginOptions({}, { timeoutMs: 10_000 })).toBeDefined();
});
