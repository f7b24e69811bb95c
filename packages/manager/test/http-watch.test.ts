import { describe, expect, it } from 'vitest';
import type { Pod } from '@devmgr/core';
import { eventually } from './helpers/eventually.ts';
import { call, podManifest, rawConnection, resourceView, startTestApi, type TestApi } from './http-support.ts';

const PODS = '/api/v1/namespaces/default/pods';

interface Watch {
  /** Lines received so far, parsed. */
  lines: () => { type?: string; object?: { metadata?: { name: string } }; items?: unknown[] }[];
  /** `TYPE name` of each line. */
  summary: () => string[];
  ended: () => boolean;
  close: () => void;
}

/** Opens a stream and reads on until the test ends. */
async function watch(api: TestApi, path: string): Promise<Watch> {
  const { socket, received, closed } = await rawConnection(api.socketPath);
  socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
  await eventually('headers of the stream', () => received().includes('\r\n\r\n'));
  const lines: Watch['lines'] = () =>
    received()
      .slice(received().indexOf('\r\n\r\n') + 4)
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as ReturnType<Watch['lines']>[number]);
  return {
    lines,
    summary: () => lines().map(({ type, object }) => `${String(type)} ${String(object?.metadata?.name)}`),
    ended: closed,
    close: () => void socket.destroy(),
  };
}

function withPhase(pod: Pod, phase: 'Running' | 'Failed'): Pod {
  return { ...pod, status: { phase } };
}

describe('a watch', () => {
  it('begins with what there is and goes on with changes', async () => {
    const api = await startTestApi();
    const pod = await api.pods.create('default', podManifest('a'));
    const seen = await watch(api, `${PODS}?watch=true`);
    await eventually('the first pod', () => seen.summary().length === 1);
    api.pods.put('MODIFIED', withPhase(pod, 'Running'));
    await api.pods.create('default', podManifest('b'));
    await api.pods.create('other', podManifest('c'));
    await api.pods.remove('default', 'a', {});
    await eventually('all changes', () => seen.summary().length === 4);
    expect(seen.summary()).toEqual(['ADDED a', 'MODIFIED a', 'ADDED b', 'DELETED a']);
    expect(seen.lines()[1]).toMatchObject({ object: { status: { phase: 'Running' } } });
  });

  it('shows an object that begins or ceases to match as ADDED or DELETED', async () => {
    const api = await startTestApi();
    const pod = await api.pods.create('default', podManifest('a'));
    const seen = await watch(api, `${PODS}?watch=true&fieldSelector=status.phase%3DRunning`);
    api.pods.put('MODIFIED', withPhase(pod, 'Running'));
    api.pods.put('MODIFIED', withPhase(pod, 'Running'));
    api.pods.put('MODIFIED', withPhase(pod, 'Failed'));
    await api.pods.remove('default', 'a', {});
    await api.pods.create('default', podManifest('b'));
    const last = api.pods.get('default', 'b');
    api.pods.put('MODIFIED', withPhase(last as Pod, 'Running'));
    await eventually('the last pod', () => seen.summary().includes('ADDED b'));
    expect(seen.summary()).toEqual(['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED b']);
  });

  it('of the node and of events works alike', async () => {
    const api = await startTestApi();
    const nodes = await watch(api, '/api/v1/nodes?watch=true');
    const events = await watch(api, '/api/v1/events?watch=true');
    api.node.watchers.tell('MODIFIED', api.node.node);
    api.events.record({ kind: 'Node', name: 'here' }, 'Normal', 'Starting', 'hello');
    api.events.record({ kind: 'Node', name: 'here' }, 'Normal', 'Starting', 'hello');
    await eventually('the node', () => nodes.lines().length === 2);
    await eventually('the events', () => events.lines().length === 2);
    expect(nodes.summary()).toEqual(['ADDED here', 'MODIFIED here']);
    expect(events.lines()).toMatchObject([
      { type: 'ADDED', object: { count: 1 } },
      { type: 'MODIFIED', object: { count: 2 } },
    ]);
  });

  it('leaves nothing behind when the client goes away', async () => {
    const api = await startTestApi();
    const seen = [await watch(api, `${PODS}?watch=1`), await watch(api, '/devmgr/v1/resources?watch=1')];
    await eventually('listeners', () => api.pods.watchers.listeners.size === 1 && api.inventory.listeners.size === 1);
    for (const { close } of seen) close();
    await eventually(
      'no listeners',
      () => api.pods.watchers.listeners.size === 0 && api.inventory.listeners.size === 0,
    );
  });

  it('ends in good order after timeoutSeconds and when the server closes', async () => {
    const api = await startTestApi();
    const timed = await watch(api, `${PODS}?watch=true&timeoutSeconds=1`);
    const others = [await watch(api, `${PODS}?watch=true`), await watch(api, '/devmgr/v1/devices?watch=true')];
    await eventually('the end of the first', timed.ended);
    expect(others.map(({ ended }) => ended())).toEqual([false, false]);
    await api.api.close();
    await eventually('the end of the others', () => others.every(({ ended }) => ended()));
    expect(api.pods.watchers.listeners.size).toBe(0);
  });

  it('asked for with HEAD leaves no listener behind', async () => {
    const api = await startTestApi();
    const { socket, received } = await rawConnection(api.socketPath);
    for (const path of [`${PODS}?watch=true`, '/devmgr/v1/plugins?watch=true']) {
      socket.write(`HEAD ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    }
    // It is answered on the same connection, so the streams before it are over.
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await eventually('the last answer', () => received().endsWith('ok'));
    expect([api.pods.watchers.listeners.size, api.inventory.listeners.size]).toEqual([0, 0]);
  });

  it('drops a client that does not read, with the reason as its last line', async () => {
    const api = await startTestApi({ limits: { maxWaitingChanges: 50, dropGraceMs: 60_000 } });
    const { socket, received, closed } = await rawConnection(api.socketPath);
    socket.write(`GET ${PODS}?watch=true HTTP/1.0\r\n\r\n`);
    await eventually('headers', () => received().includes('\r\n\r\n'));
    socket.pause();
    const bulky = podManifest('a', { annotations: { text: 'x'.repeat(100_000) } });
    const pod = await api.pods.create('default', bulky);
    // One change a turn: first the socket's buffers fill, then what waits.
    await eventually('the watch is given up', async () => {
      api.pods.put('MODIFIED', pod);
      return api.log.lines.some(({ message }) => message.startsWith('Dropped a watch'));
    });
    socket.resume();
    await eventually('the end', closed);
    const last = received().trimEnd().split('\n').at(-1) ?? '';
    expect(JSON.parse(last)).toMatchObject({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
    expect(api.pods.watchers.listeners.size).toBe(0);
  });

  it('cuts a dropped client that still does not read', async () => {
    const api = await startTestApi({ limits: { maxWaitingChanges: 10, dropGraceMs: 20 } });
    const stuck = await rawConnection(api.socketPath);
    stuck.socket.write(`GET ${PODS}?watch=true HTTP/1.0\r\n\r\n`);
    await eventually('headers', () => stuck.received().includes('\r\n\r\n'));
    stuck.socket.pause();
    const pod = await api.pods.create('default', podManifest('a', { annotations: { text: 'x'.repeat(100_000) } }));
    await eventually('the listener is gone', () => {
      api.pods.put('MODIFIED', pod);
      return api.pods.watchers.listeners.size === 0;
    });
  });

  it('of the inventory sends the whole list when it differs, not more often than allowed', async () => {
    const api = await startTestApi({ limits: { inventoryWatchIntervalMs: 30 } });
    api.inventory.setResources(resourceView('example.com/gpu', 1));
    const seen = await watch(api, '/devmgr/v1/resources?watch=true');
    await eventually('the first list', () => seen.lines().length === 1);
    for (let capacity = 2; capacity <= 500; capacity += 1) {
      api.inventory.setResources(resourceView('example.com/gpu', capacity));
    }
    await eventually('the last list', () => JSON.stringify(seen.lines().at(-1)).includes('"capacity":500'));
    expect(seen.lines().length).toBeLessThanOrEqual(3);
    const before = seen.lines().length;
    // The same again is nothing new; what follows proves that it was looked at.
    api.inventory.setResources(resourceView('example.com/gpu', 500));
    await new Promise((resolve) => setTimeout(resolve, 60));
    api.inventory.setResources();
    await eventually('the empty list', () => seen.lines().at(-1)?.items?.length === 0);
    expect(seen.lines()).toHaveLength(before + 1);
  });
});

describe('a log that is followed', () => {
  it('comes as it is written, and its source is told when the client leaves', async () => {
    const api = await startTestApi();
    await api.pods.create('default', podManifest('a'));
    let stopped = false;
    let write: (text: string) => void = () => undefined;
    api.pods.log = async function* ({ signal }) {
      try {
        while (!signal.aborted) {
          yield await new Promise<Uint8Array>((resolve) => {
            write = (text) => {
              resolve(Buffer.from(text));
            };
            signal.addEventListener('abort', () => {
              resolve(Buffer.alloc(0));
            });
          });
        }
      } finally {
        stopped = true;
      }
    };
    const { socket, received } = await rawConnection(api.socketPath);
    socket.write(`GET ${PODS}/a/log?follow=true HTTP/1.0\r\n\r\n`);
    // Headers come although nothing was written yet.
    await eventually('headers', () => received().includes('\r\n\r\n'));
    write('first\n');
    await eventually('the first line', () => received().endsWith('first\n'));
    write('second\n');
    await eventually('the second line', () => received().endsWith('second\n'));
    socket.destroy();
    await eventually('the source is released', () => stopped);
  });

  it('that fails before its first byte is a Status, later a broken connection', async () => {
    const api = await startTestApi();
    await api.pods.create('default', podManifest('a'));
    api.pods.log = async function* () {
      throw new Error('the file is gone');
      yield Buffer.alloc(0);
    };
    expect((await call(api.socketPath, 'GET', `${PODS}/a/log`)).status).toBe(500);
    api.pods.log = async function* () {
      yield Buffer.from('first\n');
      throw new Error('the file is gone');
    };
    await expect(call(api.socketPath, 'GET', `${PODS}/a/log`)).rejects.toThrow(/aborted|hang up/);
  });
});
