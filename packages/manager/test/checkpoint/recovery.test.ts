import { appendFile, copyFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeCheckpoint,
  decodeUtf8,
  encodeCheckpoint,
  encodeFrame,
  type Allocation,
  type CheckpointEntry,
} from '@devmgr/core';
import { describe, expect, test } from 'vitest';
import { CheckpointDirectory, shouldResetExtendedResources } from '../../src/checkpoint/checkpoint-file.ts';
import type { RecoveredState } from '../../src/ports.ts';
import { allocation, newPlace, openStore, pod, type Place } from './store-kit.ts';

const UNKNOWN_FIELD = Uint8Array.from([42, 5, 10, 3, 97, 47, 98, 250, 1, 3, 120, 121, 122]);

const given = (uid: string, response?: Uint8Array): Allocation =>
  allocation(uid, 'c', 'example.com/r', { 0: [`dev-${uid}`] }, response);

/** Three pods over two snapshots and a rest that is only in the journal. */
async function filled(): Promise<{ place: Place; whole: RecoveredState }> {
  const place = await newPlace();
  const { store } = await openStore(place);
  for (const uid of ['a', 'b', 'c']) {
    await store.append({ type: 'pod', pod: pod(uid) });
    await store.append({ type: 'allocated', podUid: uid, allocations: [given(uid, UNKNOWN_FIELD)] });
    if (uid !== 'c') await store.snapshot();
  }
  const { recovered } = await openStore(place);
  expect(recovered.problems).toEqual([]);
  expect(recovered.allocations).toHaveLength(3);
  return { place, whole: recovered };
}

const segment = (place: Place): string => join(place.stateDir, 'journal.0000000000000000');
const kept = async (place: Place): Promise<string[]> =>
  (await readdir(place.stateDir)).filter((name) => name.includes('corrupt'));

describe('files that cannot be read', () => {
  const damages: readonly [string, (path: string) => Promise<void>][] = [
    ['cut in half', async (path) => truncate(path, Math.floor((await stat(path)).size / 2))],
    ['emptied', (path) => truncate(path, 0)],
    ['overwritten with zeros', async (path) => writeFile(path, new Uint8Array((await stat(path)).size))],
    [
      'changed in one byte',
      async (path) => {
        const bytes = await readFile(path);
        const at = bytes.indexOf('dev-a') === -1 ? bytes.indexOf('pod-a') : bytes.indexOf('dev-a');
        bytes[at] = 0x78;
        await writeFile(path, bytes);
      },
    ],
  ];

  test.each(damages)('scenario 142: a checkpoint that was %s is kept aside, and nothing is lost', async (_, damage) => {
    const { place, whole } = await filled();
    await damage(place.checkpoint);
    const broken = await readFile(place.checkpoint);
    const { store, recovered } = await openStore(place);
    expect(recovered).toMatchObject({ allocations: whole.allocations, resources: whole.resources, pods: whole.pods });
    expect(recovered.problems).toEqual([
      expect.stringMatching(
        /kubelet_internal_checkpoint cannot be used \(.*\); it is kept as .*checkpoint\.corrupt-\d{8}T\d{6}Z$/,
      ),
      expect.stringContaining('previous'),
    ]);
    const [name = ''] = await kept(place);
    expect(await readFile(join(place.stateDir, name))).toEqual(broken);
    await store.close();
    const again = await openStore(place);
    expect(again.recovered).toEqual({ ...whole, rebooted: false, problems: [] });
  });

  test.each(damages)('a snapshot of pods that was %s is kept aside, and nothing is lost', async (_, damage) => {
    const { place, whole } = await filled();
    await damage(join(place.stateDir, 'pods.snapshot'));
    const { store, recovered } = await openStore(place);
    expect(recovered).toMatchObject({ allocations: whole.allocations, pods: whole.pods });
    expect(recovered.problems).toHaveLength(2);
    await store.close();
    expect((await openStore(place)).recovered).toEqual(whole);
  });

  test('scenario 142: with nothing to fall back on the manager starts empty, and says so', async () => {
    const place = await newPlace();
    await mkdir(place.devicePluginDir, { recursive: true });
    for (const [text, why] of [
      ['', /JSON/],
      ['{"Data":{"PodDeviceEntries":[{"PodUID":7}]},"Checksum":1}', /PodUID: must be a string/],
      ['{"Data":{"RegisteredDevices":{"a/b":["x"]}},"Checksum":1}', /checkpoint is corrupted/],
    ] as const) {
      await writeFile(place.checkpoint, text);
      const { store, recovered } = await openStore(place);
      expect(recovered).toMatchObject({ allocations: [], resources: [], pods: [] });
      expect(recovered.problems).toEqual([expect.stringMatching(why)]);
      await store.close();
    }
  });

  test('scenario 142: a checkpoint of a kubelet before 1.20 (version 1) is understood', async () => {
    const place = await newPlace();
    await mkdir(place.devicePluginDir, { recursive: true });
    await copyFile(new URL('../../../core/test/golden/kubelet-1.19.checkpoint', import.meta.url), place.checkpoint);
    const { store, recovered } = await openStore(place);
    expect(recovered.problems).toEqual([]);
    expect(recovered.allocations[0]?.deviceIds).toEqual(new Map([[0, ['Dev-1', 'Dev-0']]]));
    expect(recovered.resources.map(({ resource }) => resource)).toEqual(['example.com/resource']);
    await store.close();
    expect(decodeCheckpoint(await readFile(place.checkpoint))).toMatchObject({ ok: true, version: 2 });
  });

  test('scenario 141: a checkpoint that is gone is told of, and rebuilt from the previous one and the journal', async () => {
    const { place, whole } = await filled();
    await rm(place.checkpoint);
    const { store, recovered } = await openStore(place);
    expect(recovered).toMatchObject({ allocations: whole.allocations, pods: whole.pods });
    expect(recovered.problems[0]).toBe(`${place.checkpoint}: checkpoint is not found`);
    await store.close();
    expect((await openStore(place)).recovered).toEqual(whole);
  });

  test('scenario 143: one entry whose response cannot be decoded is lost alone', async () => {
    const place = await newPlace();
    await mkdir(place.devicePluginDir, { recursive: true });
    const entry = (podUid: string, response: Uint8Array): CheckpointEntry => ({
      podUid,
      container: 'c',
      resource: 'a.b/r',
      devices: new Map([[-1, ['x']]]),
      response,
    });
    const entries = [
      entry('good', UNKNOWN_FIELD),
      entry('bad', Uint8Array.of(10, 200)),
      entry('empty', new Uint8Array()),
    ];
    await writeFile(place.checkpoint, encodeCheckpoint({ entries, registered: new Map([['a.b/r', ['x']]]) }));
    const { recovered } = await openStore(place);
    expect(recovered.allocations.map(({ podUid }) => podUid)).toEqual(['good', 'empty']);
    expect(recovered.problems).toEqual([
      'checkpoint entry of pod bad, container c, resource a.b/r was left out: its response is no ContainerAllocateResponse',
    ]);
  });

  test('scenario 147: unknown fields of a response survive load and rewrite', async () => {
    const { place } = await filled();
    await (await openStore(place)).store.close();
    const decoded = decodeCheckpoint(await readFile(place.checkpoint));
    expect(decoded.ok ? decoded.data.entries?.map(({ response }) => response) : decoded.message).toEqual([
      UNKNOWN_FIELD,
      UNKNOWN_FIELD,
      UNKNOWN_FIELD,
    ]);
  });
});

describe('a damaged journal', () => {
  test('a torn tail is cut off, and writing goes on behind it', async () => {
    const { place, whole } = await filled();
    const { size } = await stat(segment(place));
    await appendFile(segment(place), encodeFrame('{"sequence":7,"type":"released","podUid":"a"}').subarray(0, 30));
    const { store, recovered } = await openStore(place);
    expect(recovered).toMatchObject({ allocations: whole.allocations, pods: whole.pods });
    expect(recovered.problems).toEqual([expect.stringMatching(/its last 30 bytes are no whole record/)]);
    expect((await stat(segment(place))).size).toBe(size);
    await store.append({ type: 'released', podUid: 'a' });
    const { recovered: after } = await openStore(place);
    expect(after.problems).toEqual([]);
    expect(after.allocations).toEqual(whole.allocations.slice(1));
  });

  test('cut anywhere, it gives the state of an earlier moment', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    for (const uid of ['a', 'b', 'c'])
      await store.append({ type: 'allocated', podUid: uid, allocations: [given(uid)] });
    const whole = await readFile(segment(place));
    const seen = new Set<string>();
    for (let length = whole.length; length >= 0; length -= 5) {
      await truncate(segment(place), length);
      const { recovered } = await openStore(place);
      seen.add(recovered.allocations.map(({ podUid }) => podUid).join(''));
    }
    expect([...seen]).toEqual(['abc', 'ab', 'a', '']);
  });

  test('a record that is damaged is lost alone; what is missing is told, and the damage does not last', async () => {
    const place = await newPlace();
    const { store } = await openStore(place);
    for (const uid of ['a', 'b', 'c'])
      await store.append({ type: 'allocated', podUid: uid, allocations: [given(uid)] });
    const bytes = await readFile(segment(place));
    bytes[bytes.indexOf('dev-b')] = 0x78;
    await writeFile(segment(place), bytes);
    const next = await openStore(place);
    expect(next.recovered.allocations).toEqual([given('a'), given('c')]);
    expect(next.recovered.problems).toEqual([
      expect.stringMatching(
        /journal\.0{16} cannot be used \(damaged: \d+ bytes at \d+\); it is kept as .*journal\.corrupt-0{16}$/,
      ),
      'the journal lacks the records 2 to 2: what they say is lost',
    ]);
    await next.store.append({ type: 'allocated', podUid: 'd', allocations: [given('d')] });
    await next.store.close();
    const { recovered } = await openStore(place);
    expect(recovered.allocations).toEqual([given('a'), given('c'), given('d')]);
    expect(recovered.problems).toEqual([]);
  });

  test('segments are read in order, and records from the future are passed over', async () => {
    const place = await newPlace();
    await mkdir(place.stateDir, { recursive: true });
    const header = (sequence: number): string =>
      JSON.stringify({ version: 1, type: 'journal', sequence, bootId: 'boot-1', count: 0 });
    const frames = (...texts: string[]): Buffer => Buffer.concat(texts.map(encodeFrame));
    await writeFile(
      segment(place),
      frames(
        header(0),
        '{"sequence":1,"type":"resource","resource":"a/b","endpoint":null,"preStartRequired":false}',
        '{"sequence":2,"type":"new"}',
      ),
    );
    await writeFile(
      join(place.stateDir, 'journal.0000000000000002'),
      frames(
        header(2),
        '{"sequence":3,"type":"resource-removed","resource":"a/b"}',
        '{"sequence":4,"type":"resource","resource":"a/c","endpoint":"/x","preStartRequired":true}',
      ),
    );
    const { store, recovered } = await openStore(place);
    expect(recovered.resources).toEqual([{ resource: 'a/c', endpoint: '/x', preStartRequired: true }]);
    expect(recovered.problems[0]).toContain('1 records are of a kind this version does not know');
    await store.append({ type: 'released', podUid: 'x' });
    expect(decodeUtf8(await readFile(join(place.stateDir, 'journal.0000000000000002')))).toContain('"sequence":5,');
  });

  test('leftover temporary files are swept, other files stay', async () => {
    const { place } = await filled();
    await writeFile(join(place.devicePluginDir, '.devmgr-0123456789ab'), 'x');
    await writeFile(join(place.stateDir, '.devmgr-0123456789ab'), 'x');
    await writeFile(join(place.devicePluginDir, '.123456'), 'another program');
    await openStore(place);
    expect(await readdir(place.devicePluginDir)).toEqual(['.123456', 'kubelet_internal_checkpoint']);
    expect(await readdir(place.stateDir)).not.toContain('.devmgr-0123456789ab');
  });

  test('a state directory that cannot be one is told of', async () => {
    const place = await newPlace();
    await writeFile(place.stateDir, 'a file');
    await expect(openStore(place)).rejects.toMatchObject({ code: 'ROOT_DIR_UNUSABLE' });
  });
});

describe('CheckpointDirectory', () => {
  test('scenario 141: missing, removed twice, listed without dot files', async () => {
    const place = await newPlace();
    const directory = new CheckpointDirectory(place.devicePluginDir);
    await expect(directory.read('one')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: 'checkpoint is not found',
    });
    await directory.write('two', Uint8Array.of(2));
    await directory.write('one', Uint8Array.of(1));
    await directory.write('one', Uint8Array.of(9));
    await writeFile(join(place.devicePluginDir, '.temporary'), '');
    expect([...(await directory.list())].sort()).toEqual(['one', 'two']);
    expect(await directory.read('one')).toEqual(Buffer.of(9));
    expect((await stat(directory.fileOf('one'))).mode & 0o777).toBe(0o600);
    await directory.remove('one');
    await directory.remove('one');
    expect(await directory.list()).toEqual(['two']);
  });

  test.each(['', '.hidden', '../up', 'a/b', '-', 'a-', 'x'.repeat(251)])('%j is no key', async (key) => {
    const directory = new CheckpointDirectory('/nowhere');
    await expect(directory.write(key, new Uint8Array())).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  test('scenario 59: extended resources are reset only when no checkpoint is left', async () => {
    const place = await newPlace();
    const directory = new CheckpointDirectory(place.devicePluginDir);
    expect(await shouldResetExtendedResources(directory)).toBe(true);
    await directory.write('kubelet_internal_checkpoint', new Uint8Array());
    expect(await shouldResetExtendedResources(directory)).toBe(false);
    await directory.remove('kubelet_internal_checkpoint');
    expect(await shouldResetExtendedResources(directory)).toBe(true);
  });
});
