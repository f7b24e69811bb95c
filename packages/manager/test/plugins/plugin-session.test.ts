import { RpcError, decodeContainerAllocateResponse } from '@devmgr/wire';
import { describe, expect, test } from 'vitest';
import { eventually } from '../helpers/eventually.ts';
import { containerResponse } from '../helpers/scripted-plugin.ts';
import { SessionFixture } from '../helpers/session-fixture.ts';

const LIMITS = { timeoutMs: 10_000 };

describe('opening a session', () => {
  test('tells the host after the options and before the first list', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ preStartRequired: true, preferredAllocationAvailable: true, devices: ['a'] });
    const session = await fixture.open();
    expect(session.options).toEqual({
      preStartRequired: true,
      preferredAllocationAvailable: true,
      releaseRequired: false,
    });
    expect(session.live).toBe(true);
    expect(fixture.host.calls.map(({ type }) => type)).toEqual(['connected']);
    await eventually('the list', () => fixture.host.lists.length === 1);
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  test('sessions have growing ids of their own', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({ devices: ['a'] });
    const [first, second] = [await fixture.open(), await fixture.open()];
    expect(second.id).toBeGreaterThan(first.id);
  });

  test('an aborted attempt ends at once and leaves nothing', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ optionsFailure: 'never' });
    const abort = new AbortController();
    const opened = fixture.open({ signal: abort.signal });
    await eventually('the options call', () => plugin.methods.length === 1);
    abort.abort();
    await expect(opened).rejects.toThrow(
      'failed to get device plugin options: rpc error: code = Canceled desc = context canceled',
    );
    expect(fixture.host.calls).toEqual([]);
  });

  test('a plugin that never answers options fails by the deadline, in Go’s words', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({ optionsFailure: 'never' });
    await expect(fixture.open({ optionsTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message:
        'failed to get device plugin options: rpc error: code = DeadlineExceeded desc = context deadline exceeded',
    });
    expect(fixture.host.calls).toEqual([]);
  });
});

describe('lists', () => {
  test('scenario 32: two lists are seen both, in order, ids and health intact, and no more', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({
      devices: ['dev-1', 'dev-2', { id: 'dev-3', health: 'Unhealthy', nodes: [1, 0] }],
    });
    await fixture.open();
    await eventually('the stream', () => plugin.openStreams === 1);
    plugin.list([{ id: 'dev-1', health: 'healthy' }, 'dev-4']);
    await eventually('two lists', () => fixture.host.lists.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(fixture.host.lists).toEqual([
      [
        { id: 'dev-1', health: 'Healthy', numaNodes: [] },
        { id: 'dev-2', health: 'Healthy', numaNodes: [] },
        { id: 'dev-3', health: 'Unhealthy', numaNodes: [1, 0] },
      ],
      [
        { id: 'dev-1', health: 'healthy', numaNodes: [] },
        { id: 'dev-4', health: 'Healthy', numaNodes: [] },
      ],
    ]);
  });

  test('scenario 32: thirty lists sent in one go are all seen, in order', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin();
    await fixture.open();
    await eventually('the stream', () => plugin.openStreams === 1);
    for (let index = 0; index < 30; index += 1) plugin.list([String(index)]);
    await eventually('the last list', () => fixture.host.lists.at(-1)?.[0]?.id === '29');
    expect(fixture.host.lists.map((list) => list[0]?.id)).toEqual(Array.from({ length: 30 }, (_, i) => String(i)));
  });

  test('NUMA ids no machine has crash nothing', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({
      devices: [
        { id: 'a', nodes: [-1n, 63n, 64n, 63n] },
        { id: 'b', nodes: [2n ** 62n, -(2n ** 63n)] },
        { id: 'c', nodes: [] },
      ],
    });
    await fixture.open();
    await eventually('the list', () => fixture.host.lists.length === 1);
    expect(fixture.host.lists[0]?.map(({ numaNodes }) => numaNodes)).toEqual([[-1, 63, 64], [], []]);
  });

  test('scenario 46: a list of 6 MiB is accepted; over the limit it ends the stream and says so', async () => {
    const fixture = new SessionFixture();
    const devices = Array.from({ length: 60_000 }, (_, index) => `device-${String(index).padStart(92, '0')}`);
    await fixture.plugin({ devices });
    await fixture.open();
    await eventually('the list', () => fixture.host.lists[0]?.length === 60_000, 30_000);
    await fixture.open({ maxReceiveBytes: 4 * 1024 * 1024 });
    await eventually('the end', () => fixture.host.ends.length === 1, 30_000);
    expect(fixture.host.ends[0]).toMatch(/^rpc error: code = ResourceExhausted desc = .*larger than max/u);
  });

  test('scenario 170: a flood is conflated to the latest list and starves nobody', async () => {
    const fixture = new SessionFixture();
    const flooding = await fixture.plugin();
    const quiet = await fixture.plugin({}, 'quiet.sock');
    await fixture.open();
    const other = await fixture.open({ resource: 'example.com/quiet', socketPath: quiet.socketPath });
    await eventually('the streams', () => flooding.openStreams === 1 && quiet.openStreams === 1);
    for (let index = 0; index < 3_000; index += 1) flooding.list([String(index)]);
    quiet.list(['q']);
    await other.allocate(['q'], LIMITS);
    await eventually('the latest list', () => fixture.host.lists.some((list) => list[0]?.id === '2999'), 30_000);
    const seen = fixture.host.lists.filter((list) => list[0]?.id !== 'q').map((list) => Number(list[0]?.id));
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.length).toBeLessThan(1_000);
    expect(fixture.host.lists.filter((list) => list[0]?.id === 'q')).toHaveLength(1);
  });
});

describe('the end of a stream', () => {
  test('scenario 33: ListAndWatch errors at once: exactly two calls, one end, no retry', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ listFailure: new Error('no hardware') });
    const session = await fixture.open();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.ends).toEqual(['rpc error: code = Unknown desc = no hardware']);
    expect(session.live).toBe(false);
    expect(fixture.host.capacity('example.com/r')).toEqual({ capacity: 0, allocatable: 0 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
    expect(fixture.host.ends).toHaveLength(1);
  });

  test.each([
    ['with an error', new RpcError(14, 'gone'), 'rpc error: code = Unavailable desc = gone'],
    ['with OK', undefined, 'EOF'],
  ])('scenario 34: two devices and the stream ends %s: 2 capacity, 0 allocatable', async (_, error, reason) => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a', 'b'] });
    const session = await fixture.open();
    await eventually('the list', () => fixture.host.lists.length === 1);
    plugin.endStreams(error);
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.ends).toEqual([reason]);
    expect(session.live).toBe(false);
    expect(fixture.host.capacity('example.com/r')).toEqual({ capacity: 2, allocatable: 0 });
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  test('scenario 35: the plugin stops: 2 capacity, 0 allocatable', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a', 'b'] });
    await fixture.open();
    await eventually('the list', () => fixture.host.lists.length === 1);
    await plugin.stop();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.ends[0]).toMatch(/^rpc error: code = (Unavailable|Canceled|Internal) desc = /u);
    expect(fixture.host.capacity('example.com/r')).toEqual({ capacity: 2, allocatable: 0 });
  });

  test('lists sent right before the end are seen before the end', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a'] });
    await fixture.open();
    await eventually('the first list', () => fixture.host.lists.length === 1);
    for (let index = 0; index < 100; index += 1) plugin.list([String(index)]);
    plugin.endStreams();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.calls.at(-1)).toMatchObject({ type: 'ended' });
    expect(fixture.host.lists.at(-1)?.[0]?.id).toBe('99');
  });

  test('closing ends the session once, later, and silences it', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a'] });
    const session = await fixture.open();
    await eventually('the list', () => fixture.host.lists.length === 1);
    session.close();
    session.close();
    expect(session.live).toBe(false);
    expect(fixture.host.ends).toEqual([]);
    await eventually('the end', () => fixture.host.ends.length === 1);
    await eventually('the plugin’s stream', () => plugin.openStreams === 0);
    expect(fixture.host.ends).toEqual(['closed by the manager']);
  });

  test('a host that closes the session as soon as it hears of it is not told of any list', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a'] });
    fixture.host.onCall = (call) => {
      if (call.type === 'connected') call.session.close();
    };
    await fixture.open();
    await eventually('the end', () => fixture.host.ends.length === 1);
    expect(fixture.host.calls.map(({ type }) => type)).toEqual(['connected', 'ended']);
    expect(plugin.methods).toEqual(['GetDevicePluginOptions']);
  });
});

describe('calls', () => {
  test('scenario 36: calls on an ended session say that its endpoint has been stopped', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({
      devices: ['a'],
      preStartRequired: true,
      preferredAllocationAvailable: true,
    });
    const session = await fixture.open();
    plugin.endStreams();
    await eventually('the stream', () => plugin.methods.includes('ListAndWatch'));
    plugin.endStreams();
    await eventually('the end', () => !session.live);
    const message = `endpoint ${fixture.path()} has been stopped`;
    await expect(session.allocate(['a'], LIMITS)).rejects.toMatchObject({ code: 'PLUGIN_FAILED', message });
    await expect(session.preStart(['a'], LIMITS)).rejects.toThrow(message);
    await expect(session.preferredAllocation({ available: ['a'], mustInclude: [], size: 1 }, LIMITS)).rejects.toThrow(
      message,
    );
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  test('scenario 84: Allocate carries the ids in one container request and returns what the plugin gave', async () => {
    const fixture = new SessionFixture();
    const answer = {
      ...containerResponse({ A: 'b' }),
      mounts: [{ containerPath: '/c', hostPath: '/h', readOnly: true }],
      devices: [{ containerPath: '/dev/x', hostPath: '/dev/null', permissions: 'rwm' }],
    };
    const plugin = await fixture.plugin({
      allocate: () => Promise.resolve({ containerResponses: [answer, containerResponse({ B: 'ignored' })] }),
    });
    const session = await fixture.open();
    const bytes = await session.allocate(['b', 'a'], LIMITS);
    expect(decodeContainerAllocateResponse(bytes)).toEqual(answer);
    expect(plugin.calls.at(-1)).toEqual({
      method: 'Allocate',
      request: { containerRequests: [{ devicesIds: ['b', 'a'] }] },
    });
  });

  test('scenario 84: GetPreferredAllocation carries available, must-include and size unchanged', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({
      preferredAllocationAvailable: true,
      preferred: () => Promise.resolve({ containerResponses: [{ deviceIDs: ['c'] }, { deviceIDs: ['x'] }] }),
    });
    const session = await fixture.open();
    const ids = await session.preferredAllocation({ available: ['c', 'b'], mustInclude: ['b'], size: 2 }, LIMITS);
    expect(ids).toEqual(['c']);
    expect(plugin.calls.at(-1)?.request).toEqual({
      containerRequests: [{ availableDeviceIDs: ['c', 'b'], mustIncludeDeviceIDs: ['b'], allocationSize: 2 }],
    });
  });

  test('an empty preference is an empty list', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({
      preferredAllocationAvailable: true,
      preferred: () => Promise.resolve({ containerResponses: [] }),
    });
    const session = await fixture.open();
    expect(await session.preferredAllocation({ available: ['a'], mustInclude: [], size: 1 }, LIMITS)).toEqual([]);
  });

  test('PreStartContainer carries the ids', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ preStartRequired: true });
    const session = await fixture.open();
    await session.preStart(['a', 'b'], LIMITS);
    expect(plugin.calls.at(-1)).toEqual({ method: 'PreStartContainer', request: { devicesIds: ['a', 'b'] } });
  });

  test('what the options do not offer is never called', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ devices: ['a'] });
    const session = await fixture.open();
    expect(await session.preferredAllocation({ available: ['a'], mustInclude: [], size: 1 }, LIMITS)).toEqual([]);
    await session.preStart(['a'], LIMITS);
    await eventually('the stream', () => plugin.openStreams === 1);
    expect(plugin.methods).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  test('scenario 86: no container response is an error', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({ allocate: () => Promise.resolve({ containerResponses: [] }) });
    const session = await fixture.open();
    await expect(session.allocate(['a'], LIMITS)).rejects.toThrow(/^no containers return in allocation response $/u);
  });

  test('the plugin’s error keeps code and text', async () => {
    const fixture = new SessionFixture();
    await fixture.plugin({ allocate: () => Promise.reject(new RpcError(5, 'no such device "a"')) });
    const session = await fixture.open();
    await expect(session.allocate(['a'], LIMITS)).rejects.toMatchObject({
      code: 'PLUGIN_FAILED',
      message: 'rpc error: code = NotFound desc = no such device "a"',
    });
    expect(session.live).toBe(true);
  });

  test('scenario 89: a plugin that hangs in Allocate: the deadline ends the call, in Go’s words', async () => {
    const fixture = new SessionFixture();
    let cancelled = false;
    await fixture.plugin({
      allocate: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            cancelled = true;
            reject(new Error('cancelled'));
          });
        }),
    });
    const session = await fixture.open();
    await expect(session.allocate(['a'], { timeoutMs: 100 })).rejects.toThrow(
      'rpc error: code = DeadlineExceeded desc = context deadline exceeded',
    );
    await eventually('the plugin hears of it', () => cancelled);
    expect(session.live).toBe(true);
    const abort = new AbortController();
    const aborted = session.allocate(['a'], { timeoutMs: 10_000, signal: abort.signal });
    abort.abort();
    await expect(aborted).rejects.toThrow('rpc error: code = Canceled desc = context canceled');
  });

  test('closing the session ends a call that is under way', async () => {
    const fixture = new SessionFixture();
    const plugin = await fixture.plugin({ allocate: () => new Promise(() => undefined) });
    const session = await fixture.open();
    const allocated = session.allocate(['a'], LIMITS);
    await eventually('the call', () => plugin.methods.includes('Allocate'));
    session.close();
    await expect(allocated).rejects.toThrow('rpc error: code = Canceled desc = grpc: the client connection is closing');
  });
});
