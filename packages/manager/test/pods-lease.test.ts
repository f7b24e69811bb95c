import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LeaseMessage, LeaseRequest } from '../src/ports.ts';
import { readProcess } from '../src/process-identity.ts';
import { ManualClock, PodStation, temporaryDirectory, until } from './pods-support.ts';

const RESOURCE = 'example.com/board';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let station: PodStation;
const children: ChildProcess[] = [];

beforeEach(async () => {
  directory = await temporaryDirectory();
  station = new PodStation(directory.path);
  station.admission.devices.set(RESOURCE, ['board-0']);
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await station.close();
  await directory.remove();
});

const forever = (): AbortSignal => new AbortController().signal;

function request(change: Partial<LeaseRequest> = {}): LeaseRequest {
  return { limits: { [RESOURCE]: 1 }, command: ['make', 'flash'], waitForDevicesMs: 0, ...change };
}

async function all(messages: AsyncIterable<LeaseMessage>): Promise<LeaseMessage[]> {
  const list: LeaseMessage[] = [];
  for await (const message of messages) list.push(message);
  return list;
}

async function granted(change: Partial<LeaseRequest> = {}): Promise<Extract<LeaseMessage, { type: 'granted' }>> {
  const last = (await all(station.pods.acquire(request(change), forever()))).at(-1);
  if (last?.type !== 'granted') throw new Error(`not granted: ${JSON.stringify(last)}`);
  return last;
}

async function command(): Promise<{ child: ChildProcess; pid: number; startTime: number }> {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  const stat = readProcess(child.pid ?? 0);
  if (stat === undefined) throw new Error('no process');
  return { child, pid: stat.pid, startTime: stat.startTime };
}

describe('a lease', () => {
  test('gives devices, shows as a pod, and ends with the exit code', async () => {
    const lease = await granted({ name: 'flash' });
    expect(lease).toEqual({
      type: 'granted',
      uid: station.pods.get('default', 'flash')?.metadata.uid,
      name: 'flash',
      env: { DEVICES: 'board-0', DEVMGR_DEVICE_PATHS: '/dev/board-0' },
      devices: { [RESOURCE]: ['board-0'] },
      devicePaths: ['/dev/board-0'],
    });
    expect(station.pods.get('default', 'flash')).toMatchObject({
      metadata: { annotations: { 'devmgr.io/lease': 'true' } },
      spec: { containers: [{ command: ['make', 'flash'], resources: { limits: { [RESOURCE]: '1' } } }] },
      status: {
        phase: 'Running',
        containerStatuses: [
          { ready: true, allocatedResourcesStatus: [{ resources: [{ resourceID: 'board-0', health: 'Healthy' }] }] },
        ],
      },
    });
    expect(station.pods.isActive(lease.uid)).toBe(true);
    const { pid, startTime } = await command();
    await station.pods.attach(lease.uid, { pid, startTime });
    const seen: string[] = [];
    station.pods.watch(({ type, object }) => seen.push(`${type} ${object.status?.phase ?? ''}`));
    await station.pods.end(lease.uid, 3);
    expect(seen).toEqual(['MODIFIED Failed', 'DELETED Failed']);
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
    expect(station.store.pods()).toEqual([]);
    expect(station.pods.isActive(lease.uid)).toBe(false);
    await expect(station.pods.end(lease.uid, 0)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('ends when its process is gone', async () => {
    const lease = await granted();
    const { child, pid, startTime } = await command();
    await station.pods.attach(lease.uid, { pid, startTime });
    expect(station.admission.free(RESOURCE)).toEqual([]);
    child.kill('SIGKILL');
    await station.gone(lease.name);
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
  });

  test('is taken up by the next manager while its process runs', async () => {
    const lease = await granted();
    const { child, pid, startTime } = await command();
    await station.pods.attach(lease.uid, { pid, startTime });
    await station.restart({ keepRunning: true });
    expect(station.pods.get('default', lease.name)?.status?.phase).toBe('Running');
    expect(station.admission.free(RESOURCE)).toEqual([]);
    await station.pods.stop({ keepRunning: true });
    child.kill('SIGKILL');
    await once(child, 'exit');
    await station.restart({ keepRunning: true });
    await station.gone(lease.name);
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
    expect(station.store.pods()).toEqual([]);
  });

  test('that was never attached does not survive a restart of the manager, nor does one from before a reboot', async () => {
    const first = await granted();
    // Not stopped: as after kill -9.
    const pods = station.store.pods();
    const after = new PodStation(directory.path);
    await after.pods.restore(pods, { rebooted: false });
    await after.gone(first.name);
    expect(after.admission.released).toEqual([first.uid]);
    await after.close();
    await station.pods.end(first.uid, undefined);

    const second = await granted();
    const { pid, startTime } = await command();
    await station.pods.attach(second.uid, { pid, startTime });
    await station.restart({ keepRunning: true, rebooted: true });
    await station.gone(second.name);
  });

  test('attaching needs that very process, and only one', async () => {
    const lease = await granted();
    const { pid, startTime } = await command();
    await expect(station.pods.attach(lease.uid, { pid, startTime: startTime - 1 })).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    await expect(station.pods.attach('nobody', { pid, startTime })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await station.pods.attach(lease.uid, { pid, startTime });
    await expect(station.pods.attach(lease.uid, { pid, startTime })).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('whose client went away without naming a process is given back', async () => {
    const clock = new ManualClock();
    station = new PodStation(directory.path, clock);
    station.admission.devices.set(RESOURCE, ['board-0']);
    const connection = new AbortController();
    const messages = await all(station.pods.acquire(request({ name: 'lost' }), connection.signal));
    expect(messages.at(-1)?.type).toBe('granted');
    connection.abort();
    expect(station.admission.free(RESOURCE)).toEqual([]);
    clock.advance(5001);
    await station.gone('lost');
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);

    await all(station.pods.acquire(request({ name: 'idle' }), forever()));
    clock.advance(59_000);
    expect(station.pods.get('default', 'idle')).toBeDefined();
    clock.advance(2000);
    await station.gone('idle');
  });

  test('whose client stops listening at the word "granted" is given back at once', async () => {
    const messages = station.pods.acquire(request({ name: 'gone' }), forever())[Symbol.asyncIterator]();
    expect((await messages.next()).value).toMatchObject({ type: 'granted' });
    await messages.return?.();
    expect(station.pods.get('default', 'gone')).toBeUndefined();
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
  });

  test('is deleted like a pod: its process is ended', async () => {
    const lease = await granted();
    const { child, pid, startTime } = await command();
    await station.pods.attach(lease.uid, { pid, startTime });
    const exited = once(child, 'exit');
    await station.pods.remove('default', lease.name, { gracePeriodSeconds: 20 });
    expect(await exited).toEqual([null, 'SIGTERM']);
    await station.gone(lease.name);
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
  });

  test('has no logs, and no manifest can pretend to be one or change one', async () => {
    const lease = await granted();
    await expect(station.logs(lease.name)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: lease.name },
      spec: { containers: [{ name: 'a' }] },
    };
    await expect(station.pods.apply('default', manifest)).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(all(station.pods.acquire(request({ name: lease.name }), forever()))).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await expect(all(station.pods.acquire(request({ limits: { 'not a name': 1 } }), forever()))).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
    });
    await expect(all(station.pods.acquire(request({ limits: { [RESOURCE]: 1.5 } }), forever()))).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
    });
  });
});

describe('waiting for devices', () => {
  test('without patience a lease is refused at once and leaves nothing', async () => {
    await granted({ name: 'first' });
    expect(await all(station.pods.acquire(request(), forever()))).toEqual([
      {
        type: 'refused',
        reason: 'UnexpectedAdmissionError',
        message:
          'Allocate failed due to requested number of devices unavailable for example.com/board. Requested: 1, Available: 0, which is unexpected',
      },
    ]);
    expect(station.pods.list().map(({ metadata }) => metadata.name)).toEqual(['first']);
    expect(station.store.pods()).toHaveLength(1);
  });

  test('with patience it gets them when another lease ends', async () => {
    const first = await granted();
    const second = granted({ waitForDevicesMs: 60_000, name: 'second' });
    await until('waiting', () =>
      station.pods
        .get('default', 'second')
        ?.status?.conditions?.some(({ type, status }) => type === 'DevicesReady' && status === 'False'),
    );
    await station.pods.end(first.uid, 0);
    expect((await second).devices).toEqual({ [RESOURCE]: ['board-0'] });
  });

  test('with patience it gets them when a pod ends, or when they appear', async () => {
    await station.create('job', {
      restartPolicy: 'Never',
      containers: [{ name: 'main', command: ['sleep', '0.3'], resources: { limits: { [RESOURCE]: 1 } } }],
    });
    await station.phase('job', 'Running');
    const first = await granted({ waitForDevicesMs: 60_000 });
    expect(first.devices).toEqual({ [RESOURCE]: ['board-0'] });
    const second = granted({ waitForDevicesMs: 60_000, name: 'second' });
    await until('waiting', () =>
      station.pods.get('default', 'second')?.status?.conditions?.some(({ reason }) => reason === 'WaitingForDevices'),
    );
    station.admission.devices.set(RESOURCE, ['board-0', 'board-1']);
    expect((await second).devices).toEqual({ [RESOURCE]: ['board-1'] });
  });

  test('patience ends', async () => {
    await granted();
    const messages = await all(station.pods.acquire(request({ waitForDevicesMs: 200 }), forever()));
    expect(messages.map(({ type }) => type)).toEqual(['waiting', 'refused']);
    station.admission.late.add(RESOURCE);
    const late = await all(station.pods.acquire(request({ waitForDevicesMs: 200 }), forever()));
    expect(late).toMatchObject([
      { type: 'waiting', message: 'waiting for the plugin of example.com/board' },
      { type: 'refused', reason: 'DeadlineExceeded' },
    ]);
    expect(station.pods.list()).toHaveLength(1);
  });

  test('a client that gives up leaves nothing', async () => {
    await granted();
    const connection = new AbortController();
    const waiting = all(station.pods.acquire(request({ waitForDevicesMs: 60_000, name: 'second' }), connection.signal));
    await until('waiting', () => station.pods.get('default', 'second'));
    connection.abort();
    expect((await waiting).every(({ type }) => type === 'waiting')).toBe(true);
    expect(station.pods.list()).toHaveLength(1);
  });

  test('a waiting lease can be deleted, and a manager that stops refuses it', async () => {
    await granted({ name: 'first' });
    const deleted = all(station.pods.acquire(request({ waitForDevicesMs: 60_000, name: 'second' }), forever()));
    await until('waiting', () => station.pods.get('default', 'second'));
    await station.pods.remove('default', 'second', {});
    expect((await deleted).at(-1)).toMatchObject({ type: 'refused', reason: 'Deleted' });
    const stopped = all(station.pods.acquire(request({ waitForDevicesMs: 60_000, name: 'third' }), forever()));
    await until('waiting', () => station.pods.get('default', 'third'));
    await station.pods.stop({ keepRunning: true });
    expect((await stopped).at(-1)).toMatchObject({ type: 'refused', reason: 'Stopping' });
    expect(station.store.pods().map(({ metadata }) => metadata.name)).toEqual([]);
  });

  test('what a plugin refuses is not asked for again', async () => {
    station.admission.onPrepare = () => {
      throw new Error('device plugin PreStartContainer rpc failed with err: no');
    };
    expect(await all(station.pods.acquire(request({ waitForDevicesMs: 60_000 }), forever()))).toMatchObject([
      {
        type: 'refused',
        reason: 'CreateContainerConfigError',
        message: 'device plugin PreStartContainer rpc failed with err: no',
      },
    ]);
    expect(station.admission.free(RESOURCE)).toEqual(['board-0']);
  });
});
