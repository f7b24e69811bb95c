import { createServer, type RequestListener } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { WatchEvent } from '@devmgr/core';
import { createApiClient, type ApiClient } from '../src/http/api-client.ts';
import type { LeaseMessage, LeaseRequest, ReleaseView } from '../src/ports.ts';
import { eventually } from './helpers/eventually.ts';
import { temporaryDirectory } from './helpers/temporary-directory.ts';
import { podManifest, resourceView, startTestApi, type TestApi } from './http-support.ts';

const RELEASE: ReleaseView = {
  name: 'r2',
  resource: 'example.com/gpu',
  devices: ['d0'],
  pod: 'default/web',
  container: 'main',
  state: 'Releasing',
  hook: 'plugin',
  attempts: 1,
  failures: 0,
  lastError: null,
  since: '2026-01-01T00:00:00.000Z',
  nextTry: null,
  waitingForPlugin: false,
};

const LEASE: LeaseRequest = { limits: { 'example.com/gpu': 2 }, command: ['make', 'x y'], waitForDevicesMs: 1_000 };

async function start(): Promise<TestApi & { client: ApiClient }> {
  const api = await startTestApi();
  return { ...api, client: createApiClient(api.socketPath) };
}

/** Something else that listens where a manager should. */
async function impostor(listener: RequestListener): Promise<ApiClient> {
  const socketPath = join(temporaryDirectory(), 'api.sock');
  const server = createServer(listener);
  server.listen(socketPath);
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return createApiClient(socketPath);
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('the client', () => {
  it('has a method for every object', async () => {
    const { client, pods, inventory, events } = await start();
    expect(await client.applyPod('default', podManifest('a'))).toMatchObject({ outcome: 'created' });
    expect(await client.applyPod('default', podManifest('a'))).toMatchObject({ outcome: 'unchanged' });
    expect(await client.createPod('default', podManifest('b'))).toMatchObject({ metadata: { name: 'b' } });
    expect((await client.listPods('default')).items).toHaveLength(2);
    expect((await client.listPods('other')).items).toHaveLength(0);
    expect((await client.listPods()).items).toHaveLength(2);
    expect((await client.getPod('default', 'a')).metadata.name).toBe('a');
    expect(await client.deletePod('default', 'a', { gracePeriodSeconds: 3 })).toMatchObject({
      metadata: { name: 'a' },
    });
    expect(pods.removedWith).toEqual({ gracePeriodSeconds: 3 });
    await client.deletePod('default', 'b');
    expect(pods.removedWith).toEqual({});
    expect((await client.listNodes()).items).toHaveLength(1);
    expect((await client.getNode('here')).kind).toBe('Node');
    events.record({ kind: 'Pod', name: 'a', namespace: 'default' }, 'Normal', 'Started', 'up');
    expect((await client.listEvents('default')).items).toHaveLength(1);
    expect((await client.listEvents()).items).toHaveLength(1);
    inventory.setResources(resourceView('example.com/gpu', 2));
    expect(await client.resources()).toEqual(inventory.resourceList);
    expect(await client.devices('example.com/gpu')).toEqual([]);
    expect(await client.plugins()).toEqual([]);
    inventory.releaseList = [{ ...RELEASE, name: 'r/1' }, RELEASE];
    expect(await client.releases()).toEqual(inventory.releaseList);
    await client.deleteRelease('r/1');
    expect(await client.releases()).toEqual([RELEASE]);
    await expect(client.deleteRelease('r/1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect((await client.version()).version).toBe('1.2.3');
  });

  it('turns a Status back into the error that it was', async () => {
    const { client } = await start();
    await expect(client.getPod('default', 'a b/c?d')).rejects.toMatchObject({
      name: 'DevmgrError',
      code: 'NOT_FOUND',
      message: 'pod "a b/c?d" not found in namespace "default"',
      remedy: 'List what exists with "devmgr get".',
    });
    await client.createPod('default', podManifest('a'));
    await expect(client.createPod('default', podManifest('a'))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(client.createPod('default', [])).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    await expect(client.applyPod('default', { kind: 'Pod' })).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });

  it('reads reasons of other managers, which give no code', async () => {
    const client = await impostor((_request, response) => {
      response.writeHead(409, { 'content-type': 'application/json' });
      response.end('{"kind":"Status","message":"no","reason":"AlreadyExists","code":409}');
    });
    await expect(client.version()).rejects.toMatchObject({ code: 'ALREADY_EXISTS', message: 'no' });
  });

  it('says that nothing answers: no socket, a dead one, a file, a connection that closes', async () => {
    const dir = temporaryDirectory();
    const unreachable = expect.objectContaining({ code: 'MANAGER_UNREACHABLE' }) as Error;
    await expect(createApiClient(join(dir, 'none')).version()).rejects.toEqual(unreachable);
    await expect(collect(createApiClient(join(dir, 'none')).watchNodes(neverAborts()))).rejects.toEqual(unreachable);
    await writeFile(join(dir, 'file'), '');
    await expect(createApiClient(join(dir, 'file')).version()).rejects.toEqual(unreachable);
    const rude = createNetServer((socket) => void socket.destroy());
    rude.listen(join(dir, 'rude'));
    onTestFinished(() => void rude.close());
    await expect(createApiClient(join(dir, 'rude')).version()).rejects.toEqual(unreachable);
    const { client, api } = await start();
    await api.close();
    await expect(client.version()).rejects.toThrow(/cannot reach a manager at .*: there is no such socket/);
  });

  it('does not mistake another server for a manager', async () => {
    const web = await impostor((_request, response) => void response.writeHead(500).end('<html>'));
    await expect(web.version()).rejects.toMatchObject({ code: 'INTERNAL' });
    const html = await impostor((_request, response) => void response.end('<html>'));
    await expect(html.version()).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(collect(html.watchNodes(neverAborts()))).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('notices an answer that is cut', async () => {
    const client = await impostor((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('{"items":');
      setImmediate(() => void response.destroy());
    });
    await expect(client.resources()).rejects.toMatchObject({ code: 'MANAGER_UNREACHABLE' });
    await expect(collect(client.watchResources(neverAborts()))).rejects.toMatchObject({ code: 'MANAGER_UNREACHABLE' });
  });
});

describe('streams of the client', () => {
  it('yield events until the loop is left, which ends the watch', async () => {
    const { client, pods } = await start();
    await client.createPod('default', podManifest('a'));
    const seen: string[] = [];
    for await (const { type, object } of client.watchPods('default', neverAborts())) {
      seen.push(`${type} ${object.metadata.name}`);
      if (seen.length === 1) await pods.create('default', podManifest('ü'));
      else break;
    }
    expect(seen).toEqual(['ADDED a', 'ADDED ü']);
    await eventually('the watch is over', () => pods.watchers.listeners.size === 0);
  });

  it('reject with the reason of their signal', async () => {
    const { client, pods } = await start();
    await client.createPod('default', podManifest('a'));
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _event of client.watchPods(undefined, controller.signal)) controller.abort(new Error('enough'));
    })();
    await expect(reading).rejects.toThrow('enough');
    await eventually('the watch is over', () => pods.watchers.listeners.size === 0);
    await expect(collect(client.watchNodes(AbortSignal.abort(new Error('before'))))).rejects.toThrow('before');
  });

  it('end when the manager stops', async () => {
    const { client, api, pods } = await start();
    const reading = collect<WatchEvent<unknown>>(client.watchPods(undefined, neverAborts()));
    await eventually('the watch', () => pods.watchers.listeners.size === 1);
    await api.close();
    expect(await reading).toEqual([]);
  });

  it('turn an ERROR line into an error', async () => {
    const client = await impostor((_request, response) => {
      response.end('{"type":"ERROR","object":{"kind":"Status","message":"too slow","reason":"Expired","code":410}}\n');
    });
    await expect(collect(client.watchPods(undefined, neverAborts()))).rejects.toThrow('too slow');
  });

  it('put lines together that come in pieces', async () => {
    const text = '{"items":[{"name":"é"}]}\n\n{"items":[]}\n{"items":[1]}';
    const client = await impostor((_request, response) => {
      void (async () => {
        for (const byte of Buffer.from(text)) {
          response.write(Buffer.from([byte]));
          await new Promise((resolve) => setImmediate(resolve));
        }
        response.end();
      })();
    });
    expect(await collect(client.watchResources(neverAborts()))).toEqual([[{ name: 'é' }], [], [1]]);
  });

  it('carry logs as bytes', async () => {
    const { client, pods } = await start();
    await client.createPod('default', podManifest('a'));
    const bytes = Buffer.alloc(300_000, 7);
    pods.log = async function* ({ container, tailLines }) {
      expect([container, tailLines]).toEqual(['main', 5]);
      yield bytes;
    };
    const options = { container: 'main', follow: false, previous: false, tailLines: 5, signal: neverAborts() };
    expect(Buffer.concat(await collect(client.podLogs('default', 'a', options))).equals(bytes)).toBe(true);
    await expect(collect(client.podLogs('default', 'b', options))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('show lists of the inventory', async () => {
    const { client, inventory } = await start();
    for await (const resources of client.watchResources(neverAborts())) {
      if (resources.length === 1) break;
      inventory.setResources(resourceView('example.com/gpu', 1));
    }
    await eventually('the watch is over', () => inventory.listeners.size === 0);
    for await (const devices of client.watchDevices('example.com/gpu', neverAborts())) {
      expect(devices).toEqual([]);
      break;
    }
    for await (const plugins of client.watchPlugins(neverAborts())) {
      expect(plugins).toEqual([]);
      break;
    }
  });
});

describe('a lease', () => {
  it('waits, is granted, attached and ended', async () => {
    const { client, leases } = await start();
    leases.script = async function* () {
      yield { type: 'waiting', message: 'for a plugin' };
      yield { type: 'granted', uid: 'u', name: 'n', env: {}, devices: {}, devicePaths: ['/dev/x'] };
    };
    const messages = await collect(client.lease({ ...LEASE, name: 'n', namespace: 'x' }, neverAborts()));
    expect(messages.map(({ type }) => type)).toEqual(['waiting', 'granted']);
    expect(leases.requests).toEqual([{ ...LEASE, name: 'n', namespace: 'x' }]);
    await client.attachLease('u', { pid: 12, startTime: 345 });
    expect(leases.attached).toEqual([{ uid: 'u', pid: 12, startTime: 345 }]);
    await client.endLease('u', 3);
    await client.endLease('u', undefined);
    expect(leases.ended).toEqual([
      { uid: 'u', exitCode: 3 },
      { uid: 'u', exitCode: undefined },
    ]);
  });

  it('that is granted stays when the loop is left then', async () => {
    const { client, leases } = await start();
    for await (const message of client.lease(LEASE, neverAborts())) if (message.type === 'granted') break;
    await client.version();
    expect(leases.ended).toEqual([]);
  });

  it('is given up by a client that leaves while it waits', async () => {
    const { client, leases } = await start();
    leases.script = waitForAbort;
    const controller = new AbortController();
    const reading = (async () => {
      for await (const message of client.lease(LEASE, controller.signal)) {
        expect(message.type).toBe('waiting');
        controller.abort();
      }
    })();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    await eventually('the lease is given up', () => leases.aborted.length === 1);
    expect(leases.ended).toEqual([]);
  });

  it('is given up when the manager stops', async () => {
    const { client, leases, api } = await start();
    leases.script = waitForAbort;
    const reading = collect(client.lease(LEASE, neverAborts()));
    const rejected = expect(reading).rejects.toMatchObject({ code: 'MANAGER_UNREACHABLE' });
    await eventually('the request', () => leases.requests.length === 1);
    await api.close();
    await rejected;
    expect(leases.aborted).toHaveLength(1);
  });

  it('that was granted to a client that is gone is ended', async () => {
    const { client, leases } = await start();
    let granted = false;
    leases.script = async function* (signal) {
      yield { type: 'waiting', message: 'soon' };
      await aborted(signal);
      // The decision and the departure cross: the service grants what nobody will hear of.
      granted = true;
      yield { type: 'granted', uid: 'late', name: 'n', env: {}, devices: {}, devicePaths: [] };
    };
    for await (const _message of client.lease(LEASE, neverAborts())) break;
    await eventually('the grant', () => granted);
    await eventually('its end', () => leases.ended.length === 1);
    expect(leases.ended).toEqual([{ uid: 'late', exitCode: undefined }]);
  });

  it('that is refused says why', async () => {
    const { client, leases } = await start();
    leases.script = async function* () {
      yield { type: 'refused', reason: 'UnexpectedAdmissionError', message: 'none free' };
    };
    expect(await collect(client.lease(LEASE, neverAborts()))).toEqual([
      { type: 'refused', reason: 'UnexpectedAdmissionError', message: 'none free' },
    ]);
  });

  it('that fails, before or after its first message, rejects', async () => {
    const { client, leases } = await start();
    const fail = new Error('disk on fire');
    leases.script = async function* (): AsyncGenerator<LeaseMessage> {
      throw fail;
      yield { type: 'waiting', message: '' };
    };
    await expect(collect(client.lease(LEASE, neverAborts()))).rejects.toMatchObject({ code: 'INTERNAL' });
    leases.script = async function* () {
      yield { type: 'waiting', message: '' };
      throw fail;
    };
    await expect(collect(client.lease(LEASE, neverAborts()))).rejects.toThrow('disk on fire');
  });

  it.each([
    { limits: { a: 1.5 } },
    { limits: { a: '1' } },
    { limits: { a: -1 } },
    { limits: [] },
    { command: 'ls' },
    { command: [1] },
    { waitForDevicesMs: 'long' },
    { name: 7 },
  ])('with a bad request %j is refused', async (change) => {
    const { client, leases } = await start();
    const request = { ...LEASE, ...change } as unknown as LeaseRequest;
    await expect(collect(client.lease(request, neverAborts()))).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(leases.requests).toEqual([]);
  });

  it('needs a process that can exist', async () => {
    const { client, leases } = await start();
    for (const process of [{ pid: 0, startTime: 1 }, { pid: 1.5, startTime: 1 }, { pid: 1 }, {}]) {
      const bad = process as { pid: number; startTime: number };
      await expect(client.attachLease('u', bad)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    }
    expect(leases.attached).toEqual([]);
  });
});

function neverAborts(): AbortSignal {
  return new AbortController().signal;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

async function* waitForAbort(signal: AbortSignal): AsyncGenerator<LeaseMessage> {
  yield { type: 'waiting', message: 'for ever' };
  await aborted(signal);
}
