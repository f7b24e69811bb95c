import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeCheckpoint, encodeCheckpoint, type CheckpointData, type Release } from '@devmgr/core';
import { describe, expect, test } from 'vitest';
import { allocation, healthy, ManualClock, newPlace, openStore, pod } from './store-kit.ts';

const RESPONSE = Uint8Array.from([10, 9, 10, 3, 70, 79, 79, 18, 2, 49, 50]);
const CDI_RESPONSE = Uint8Array.from([42, 5, 10, 3, 97, 47, 98]);

const FIVE = [
  allocation('pod1', 'con1', 'domain1.com/resource1', { 0: ['dev1', 'dev2'] }, RESPONSE),
  allocation('pod1', 'con1', 'domain1.com/resource2', { 0: ['dev1'], 1: ['dev1', 'dev2'] }, RESPONSE),
  allocation('pod1', 'con2', 'domain1.com/resource1', { '-1': ['dev3'] }, RESPONSE),
  allocation('pod2', 'con1', 'domain1.com/resource1', { 0: ['dev4'] }, RESPONSE),
  allocation('pod3', 'con3', 'domain1.com/resource4', { 0: ['dev1'] }, CDI_RESPONSE),
];

async function writeFive(place: Awaited<ReturnType<typeof newPlace>>): Promise<void> {
  const { store } = await openStore(place);
  await store.append({ type: 'allocated', podUid: 'pod1', allocations: FIVE.slice(0, 3) });
  await store.append({ type: 'allocated', podUid: 'pod2', allocations: FIVE.slice(3, 4) });
  await store.append({ type: 'allocated', podUid: 'pod3', allocations: FIVE.slice(4) });
  await store.append({
    type: 'resource',
    resource: 'domain1.com/resource1',
    endpoint: '/r1.sock',
    preStartRequired: true,
  });
  await store.append({ type: 'pod', pod: pod('pod1') });
  await store.close();
}

describe('StateStore', () => {
  test('scenario 138: five entries over three pods are read back as they were', async () => {
    const place = await newPlace();
    await writeFive(place);
    const { recovered } = await openStore(place);
    expect(recovered.allocations).toEqual(FIVE);
    expect(recovered.resources).toEqual([
      { resource: 'domain1.com/resource1', endpoint: '/r1.sock', preStartRequired: true },
    ]);
    expect(recovered.pods).toEqual([pod('pod1')]);
    expect(recovered).toMatchObject({ rebooted: false, problems: [] });
  });

  test('without a snapshot the journal alone gives the state', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    await Promise.all([
      store.append({ type: 'allocated', podUid: 'pod1', allocations: FIVE.slice(0, 3) }),
      store.append({ type: 'allocated', podUid: 'pod2', allocations: FIVE.slice(3, 4) }),
      store.append({ type: 'released', podUid: 'pod1' }),
      store.append({ type: 'pod', pod: pod('pod2') }),
      store.append({ type: 'pod', pod: pod('pod1') }),
      store.append({ type: 'pod-deleted', podUid: 'pod1' }),
      store.append({ type: 'resource', resource: 'a/b', endpoint: null, preStartRequired: false }),
      store.append({ type: 'resource', resource: 'a/c', endpoint: null, preStartRequired: false }),
      store.append({ type: 'resource-removed', resource: 'a/b' }),
    ]);
    // The first store is still there, as one that was killed would have left its files.
    const { recovered } = await openStore(place);
    expect(recovered).toEqual({
      allocations: FIVE.slice(3, 4),
      resources: [{ resource: 'a/c', endpoint: null, preStartRequired: false }],
      pods: [pod('pod2')],
      rebooted: false,
      releases: [],
      releaseRequired: [],
      problems: [],
    });
    await expect(stat(place.checkpoint)).rejects.toThrow('ENOENT');
  });

  test('releases, and who asks for them, are read back from journal and snapshot', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    const release = (id: string, ...deviceIds: string[]): Release => ({
      ...{ id, resource: 'a/b', deviceIds, podUid: 'pod1', podNamespace: 'n', podName: 'p', container: 'c', since: 1 },
      ...{ plugin: true, commandDone: false, attempts: 0, failures: 0, lastError: '', quarantined: false },
    });
    const tried = { ...release('r2', 'd2'), attempts: 3, failures: 2, lastError: 'no' };
    await store.append({
      type: 'resource',
      resource: 'a/b',
      endpoint: null,
      preStartRequired: false,
      releaseRequired: true,
    });
    await store.append({
      type: 'resource',
      resource: 'a/c',
      endpoint: null,
      preStartRequired: false,
      releaseRequired: true,
    });
    await store.append({ type: 'resource', resource: 'a/c', endpoint: null, preStartRequired: false });
    await store.append({
      type: 'resource',
      resource: 'a/d',
      endpoint: null,
      preStartRequired: false,
      releaseRequired: true,
    });
    await store.append({ type: 'allocated', podUid: 'pod1', allocations: FIVE.slice(0, 3) });
    await store.append({
      type: 'released',
      podUid: 'pod1',
      releases: [release('r1', 'd0', 'd1'), release('r2', 'd2')],
    });
    await store.append({ type: 'release', release: tried });
    await store.append({ type: 'release-ended', id: 'r1' });
    // Its plugin is gone for good, and what is released of it still needs that plugin; a/d has nothing of the kind.
    await store.append({ type: 'resource-removed', resource: 'a/b' });
    await store.append({ type: 'resource-removed', resource: 'a/d' });
    const expected = { allocations: [], releases: [tried], releaseRequired: ['a/b'], problems: [] };
    const fromJournal = await openStore(place);
    expect(fromJournal.recovered).toMatchObject(expected);
    await fromJournal.store.snapshot();
    await fromJournal.store.append({ type: 'release', release: { ...tried, attempts: 4 } });
    await fromJournal.store.append({ type: 'release', release: tried });
    expect((await openStore(place)).recovered).toMatchObject(expected);
  });

  test('a snapshot is written when things calm down, and not again when nothing has changed', async () => {
    const place = await newPlace();
    const clock = new ManualClock();
    const { store } = await openStore(place, { clock });
    const ids = ['Dev-1', 'Dev-2'];
    store.bind(healthy({ 'example.com/resource': ids }));
    store.touch();
    clock.advance(500);
    store.touch();
    clock.advance(600);
    await expect(stat(place.checkpoint)).rejects.toThrow('ENOENT');
    clock.advance(400);
    await expect
      .poll(
        () =>
          stat(place.checkpoint).then(
            (file) => file.mode & 0o777,
            () => 0,
          ),
        { timeout: 10_000 },
      )
      .toBe(0o600);
    const decoded = decodeCheckpoint(await readFile(place.checkpoint));
    expect(decoded).toMatchObject({ ok: true, data: { entries: null }, extension: { sequence: 0, bootId: 'boot-1' } });
    if (decoded.ok) expect(decoded.data.registered).toEqual(new Map([['example.com/resource', ids]]));

    const { ino } = await stat(place.checkpoint);
    store.touch();
    await store.snapshot();
    expect((await stat(place.checkpoint)).ino).toBe(ino);
    ids.push('Dev-3');
    await store.snapshot();
    expect((await stat(place.checkpoint)).ino).not.toBe(ino);
  });

  test('a snapshot waits no longer than 30 s for calm', async () => {
    const place = await newPlace();
    const clock = new ManualClock();
    const { store } = await openStore(place, { clock });
    store.bind(healthy({ 'a/b': [] }));
    for (let tick = 0; tick < 62; tick++) {
      await expect(stat(place.checkpoint)).rejects.toThrow('ENOENT');
      store.touch();
      clock.advance(500);
      await new Promise(setImmediate);
    }
    await expect
      .poll(
        () =>
          stat(place.checkpoint).then(
            () => true,
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true);
  });

  test('a start after a clean stop writes nothing', async () => {
    const place = await newPlace();
    await writeFive(place);
    const before = await Promise.all([readFile(place.checkpoint), readdir(place.stateDir)]);
    const { ino } = await stat(place.checkpoint);
    const { store } = await openStore(place);
    store.touch();
    await store.close();
    expect(await Promise.all([readFile(place.checkpoint), readdir(place.stateDir)])).toEqual(before);
    expect((await stat(place.checkpoint)).ino).toBe(ino);
  });

  test('a restart of the system is told from a restart of the manager', async () => {
    const place = await newPlace();
    await writeFive(place);
    expect((await openStore(place, { bootId: 'boot-1' })).recovered.rebooted).toBe(false);
    const { store, recovered } = await openStore(place, { bootId: 'boot-2' });
    expect(recovered.rebooted).toBe(true);
    await store.append({ type: 'released', podUid: 'pod3' });
    expect((await openStore(place, { bootId: 'boot-2' })).recovered).toMatchObject({ rebooted: false, problems: [] });
    expect((await openStore(place, { bootId: 'boot-3' })).recovered.rebooted).toBe(true);
  });

  test('the kernel names the boot when nobody else does', async () => {
    const place = await newPlace();
    const { store } = await openStore(place, { bootId: undefined } as object);
    await store.append({ type: 'released', podUid: 'x' });
    await store.close();
    const decoded = decodeCheckpoint(await readFile(place.checkpoint));
    const expected = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    expect(decoded).toMatchObject({ ok: true, extension: { bootId: expected } });
  });

  test('a checkpoint that a kubelet wrote in between is the truth about devices, and stays it', async () => {
    const place = await newPlace();
    await writeFive(place);
    const kubelets: CheckpointData = {
      entries: [
        { podUid: 'k', container: 'c', resource: 'x.com/y', devices: new Map([[0, ['d1']]]), response: RESPONSE },
      ],
      registered: new Map([['x.com/y', ['d1', 'd2']]]),
    };
    await writeFile(place.checkpoint, encodeCheckpoint(kubelets));
    const first = await openStore(place);
    const fromKubelet = [allocation('k', 'c', 'x.com/y', { 0: ['d1'] }, RESPONSE)];
    expect(first.recovered).toEqual({
      allocations: fromKubelet,
      resources: [{ resource: 'x.com/y', endpoint: null, preStartRequired: false }],
      pods: [pod('pod1')],
      rebooted: false,
      releases: [],
      releaseRequired: [],
      problems: [],
    });
    await first.store.append({ type: 'allocated', podUid: 'pod2', allocations: FIVE.slice(3, 4) });
    const second = await openStore(place);
    expect(second.recovered.allocations).toEqual([...fromKubelet, ...FIVE.slice(3, 4)]);
    // Nor does the state from before the kubelet come back when the file is lost afterwards.
    await rm(place.checkpoint);
    const third = await openStore(place);
    expect(third.recovered.allocations).toEqual([...fromKubelet, ...FIVE.slice(3, 4)]);
  });

  test('state that lost its directories while running is written anew', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    await store.append({ type: 'allocated', podUid: 'pod1', allocations: FIVE.slice(0, 3) });
    await store.snapshot();
    await rm(place.root, { recursive: true });
    await expect(store.append({ type: 'released', podUid: 'nobody' })).rejects.toMatchObject({
      code: 'STATE_WRITE_FAILED',
      message: expect.stringMatching(
        /^failed to write checkpoint file "kubelet_internal_checkpoint": .*journal\.0{16}: the file was removed$/,
      ) as unknown,
    });
    await store.append({ type: 'allocated', podUid: 'pod2', allocations: FIVE.slice(3, 4) });
    const { recovered } = await openStore(place);
    expect(recovered).toMatchObject({ allocations: FIVE.slice(0, 4), problems: [] });
  });

  test('a journal that grew is cut once two snapshots cover it', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    const big = { ...pod('big'), spec: { containers: [{ name: 'c', args: ['x'.repeat(200_000)] }] } };
    for (let round = 0; round < 6; round++) {
      await store.append({ type: 'pod', pod: big });
      await store.append({ type: 'pod', pod: pod(`p${String(round)}`) });
      await store.snapshot();
    }
    const segments = (await readdir(place.stateDir)).filter((name) => /^journal\.\d+$/.test(name));
    expect(segments).not.toContain('journal.0000000000000000');
    expect(segments.length).toBeLessThanOrEqual(3);
    expect((await openStore(place)).recovered.pods.map(({ metadata }) => metadata.uid)).toEqual([
      'big',
      'p0',
      'p1',
      'p2',
      'p3',
      'p4',
      'p5',
    ]);
  });

  test('what is changed after an append belongs to a later record', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    const changing = pod('a', 'before');
    const written = store.append({ type: 'pod', pod: changing });
    changing.metadata.name = 'after';
    await written;
    expect((await openStore(place)).recovered.pods[0]?.metadata.name).toBe('before');
    await store.snapshot();
    expect((await openStore(place)).recovered.pods[0]?.metadata.name).toBe('before');
  });

  test('a record that cannot be written harms no other', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const bad = { ...pod('bad'), spec: { containers: [{ name: 'c', envFrom: [cyclic] }] } };
    const [first, second, third] = await Promise.allSettled([
      store.append({ type: 'pod', pod: pod('a') }),
      store.append({ type: 'pod', pod: bad }),
      store.append({ type: 'pod', pod: pod('b') }),
    ]);
    expect([first.status, second.status, third.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((await openStore(place)).recovered.pods).toEqual([pod('a'), pod('b')]);
  });

  test('a closed store takes nothing more', async () => {
    const place = await newPlace();
    const clock = new ManualClock();
    const { store } = await openStore(place, { clock });
    const pending = store.append({ type: 'pod', pod: pod('a') });
    await store.close();
    await pending;
    await expect(store.append({ type: 'released', podUid: 'x' })).rejects.toMatchObject({ code: 'STATE_WRITE_FAILED' });
    expect(clock.timers).toBe(0);
    expect(await readdir(place.stateDir)).toEqual(['journal.0000000000000000', 'pods.snapshot']);
    expect(await readdir(join(place.devicePluginDir))).toEqual(['kubelet_internal_checkpoint']);
  });
});
