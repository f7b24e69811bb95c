import { readFileSync } from 'node:fs';
import {
  checkpointChecksum,
  decodeCheckpoint,
  decodeUtf8,
  encodeCheckpoint,
  encodeUtf8,
  type CheckpointData,
  type CheckpointEntry,
  type DecodedCheckpoint,
  type Release,
} from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHECKPOINT_VECTORS } from './checkpoint-vectors.ts';

const golden = (name: string): Uint8Array => readFileSync(new URL(`golden/${name}.checkpoint`, import.meta.url));
const EXTENSION = {
  sequence: 42,
  bootId: '8f7c1e1a-0000-4000-8000-000000000001',
  endpoints: new Map([
    ['example.com/gpu', { endpoint: '/var/lib/kubelet/device-plugins/gpu.sock', preStartRequired: true }],
    ['a.b/c', { endpoint: null, preStartRequired: false }],
  ]),
};

function decoded(bytes: Uint8Array): DecodedCheckpoint & { ok: true } {
  const result = decodeCheckpoint(bytes);
  if (!result.ok) throw new Error(result.message);
  return result;
}

/** A file with this text as its data, whose checksum is right. */
function signed(data: CheckpointData, text: string): Uint8Array {
  return encodeUtf8(text.replace('SUM', String(checkpointChecksum(data))));
}

const texts = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 10 }),
  fc.constantFrom('dev-1', '<&>\u2028\u2029', '"\\\b\f\n\r\t\v\u0000\u007f', 'é😀', '__proto__', '0', '10'),
);
const ids = fc.array(texts, { maxLength: 4 });
const mapOf = <K, V>(pairs: [K, V][]): Map<K, V> => new Map(pairs);
const entries: fc.Arbitrary<CheckpointEntry> = fc.record({
  podUid: texts,
  container: texts,
  resource: texts,
  devices: fc.array(fc.tuple(fc.integer({ min: -1, max: 300 }), ids), { maxLength: 4 }).map(mapOf),
  response: fc.uint8Array({ maxLength: 20 }),
});
const checkpoints: fc.Arbitrary<CheckpointData> = fc.record({
  entries: fc.array(entries, { minLength: 1, maxLength: 5 }),
  registered: fc.array(fc.tuple(texts, ids), { maxLength: 5 }).map(mapOf),
});

describe('checkpoint', () => {
  test.each(['kubelet-1.37', 'kubelet-1.37-empty'])(
    'scenario 140: what a Go kubelet wrote (%s) loads, and is written the same',
    (name) => {
      const { data, version, extension } = decoded(golden(name));
      expect(version).toBe(2);
      expect(extension).toBeUndefined();
      expect(decodeUtf8(encodeCheckpoint(data))).toBe(decodeUtf8(golden(name)));
    },
  );

  test('scenario 140: what is written here is the file that a Go kubelet accepted', () => {
    const { data } = decoded(golden('kubelet-1.37'));
    expect(decodeUtf8(encodeCheckpoint(data, EXTENSION))).toBe(decodeUtf8(golden('devmgr')));
    expect(decoded(golden('devmgr')).extension).toEqual(EXTENSION);
    // What only resources with hooks have is not there, not even empty.
    const empty = { ...EXTENSION, releases: [], releaseRequired: [] };
    expect(decodeUtf8(encodeCheckpoint(data, empty))).toBe(decodeUtf8(golden('devmgr')));
    const release: Release = {
      ...{ id: 'r1', resource: 'a/b', deviceIds: ['d0', 'd1'], podUid: 'u', podNamespace: 'n', podName: 'p' },
      ...{
        container: 'c',
        since: 5,
        plugin: true,
        commandDone: true,
        attempts: 2,
        failures: 1,
        lastError: '"é',
        quarantined: false,
      },
    };
    const whole = { ...EXTENSION, releases: [release], releaseRequired: ['a/b'] };
    expect(decoded(encodeCheckpoint(data, whole)).extension).toEqual(whole);
  });

  test('scenario 142: plain device lists (version 1) are read, and written under NUMA node 0', () => {
    const old = decoded(golden('kubelet-1.19'));
    expect(old.version).toBe(1);
    const [first, second] = decoded(encodeCheckpoint(old.data)).data.entries ?? [];
    expect(first?.devices).toEqual(new Map([[0, ['Dev-1', 'Dev-0']]]));
    expect(second?.devices).toBeNull();
  });

  test('lists of both versions in one file are refused', () => {
    const mixed = decodeUtf8(golden('kubelet-1.19')).replace('"DeviceIDs":null', '"DeviceIDs":{"0":["x"]}');
    expect(decodeCheckpoint(encodeUtf8(mixed))).toEqual({
      ok: false,
      message: 'Data.PodDeviceEntries: must be of one version',
    });
  });

  test.each(CHECKPOINT_VECTORS)('vector $name is written to the letter', ({ data, checksum, name }) => {
    const file = `{"Data":${data},"Checksum":${String(checksum)}}`;
    const written = decodeUtf8(encodeCheckpoint(decoded(encodeUtf8(file)).data));
    // D holds an entry without a response, which a kubelet never writes.
    if (name === 'D')
      expect(written).toContain('"DeviceIDs":{"-1":["n"],"0":["x"],"10":["z"],"2":["b","a"]},"AllocResp":""}]');
    else expect(written).toBe(file);
  });

  test('scenario 138: any checkpoint is read back as it was', () => {
    fc.assert(
      fc.property(checkpoints, (data) => {
        const result = decoded(encodeCheckpoint(data, EXTENSION));
        expect(result.data).toEqual(wellFormed(data));
        expect(result.extension).toEqual(EXTENSION);
      }),
      { numRuns: 300 },
    );
  });

  test('unknown keys, other cases, nulls and repeated keys are taken as Go takes them', () => {
    const registered = new Map([['a/b', ['x']]]);
    const file = (text: string): boolean => decodeCheckpoint(signed({ entries: null, registered }, text)).ok;
    expect(file('{"Data":{"RegisteredDevices":{"a/b":["x"]}},"Checksum":SUM}')).toBe(true);
    expect(file('{"future":[{"a":null}],"DATA":{"registereddevices":{"a/b":["x"]},"more":1},"checksum":SUM}')).toBe(
      true,
    );
    expect(
      file('{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"a/b":["old"],"a/b":["x"]}},"Checksum":SUM}'),
    ).toBe(true);
    expect(file('{"Data":{"RegisteredDevices":{"a/b":["y"]}},"Checksum":SUM}')).toBe(false);
    // A kubelet reads into an empty map, so that one left out is not the same as null.
    const none = { entries: null, registered: new Map() };
    expect(decodeCheckpoint(signed(none, '{"Checksum":SUM}')).ok).toBe(true);
    expect(decodeCheckpoint(signed(none, '{"Data":{"RegisteredDevices":null},"Checksum":SUM}')).ok).toBe(false);
  });

  test.each([
    ['an empty file', '', /JSON/],
    ['half a file', decodeUtf8(golden('kubelet-1.37')).slice(0, 300), /JSON/],
    ['a byte order mark', `\ufeff${decodeUtf8(golden('kubelet-1.37'))}`, /JSON/],
    ['an array', '[]', /the file: must be an object/],
    [
      'a list of resources',
      '{"Data":{"RegisteredDevices":[]},"Checksum":0}',
      /Data\.RegisteredDevices: must be an object/,
    ],
    [
      'a number for an id',
      '{"Data":{"RegisteredDevices":{"a/b":[1]}}}',
      /Data\.RegisteredDevices\[a\/b\]\[0\]: must be a string/,
    ],
    [
      'a word for a node',
      '{"Data":{"PodDeviceEntries":[{"DeviceIDs":{"x":[]}}]}}',
      /PodDeviceEntries\[0\]\.DeviceIDs: must be keyed by whole numbers/,
    ],
    [
      'no base64',
      '{"Data":{"PodDeviceEntries":[{"AllocResp":"*"}]}}',
      /PodDeviceEntries\[0\]\.AllocResp: must be base64/,
    ],
    ['a text for a checksum', '{"Checksum":"1"}', /Checksum: must be a whole number/],
    ['another checksum', '{"Checksum":1}', /^checkpoint is corrupted$/],
  ])('scenario 142: %s is refused, never thrown over', (_, text, message) => {
    expect(decodeCheckpoint(encodeUtf8(text))).toEqual({
      ok: false,
      message: expect.stringMatching(message) as unknown,
    });
  });

  test('no bytes whatever make it throw', () => {
    const seeds = [golden('kubelet-1.37'), golden('kubelet-1.19'), golden('devmgr')];
    const mutants = fc
      .tuple(fc.constantFrom(...seeds), fc.nat(), fc.integer({ min: 0, max: 255 }))
      .map(([seed, at, byte]) => {
        const bytes = Uint8Array.from(seed);
        bytes[at % bytes.length] = byte;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), mutants), (bytes) => {
        decodeCheckpoint(bytes);
      }),
      { numRuns: 500 },
    );
  });

  test('scenario 147: the bytes of a response survive load and rewrite, fields nobody knows included', () => {
    const response = Uint8Array.from([42, 5, 10, 3, 97, 47, 98, 250, 1, 3, 120, 121, 122]);
    const entry = decoded(golden('kubelet-1.37')).data.entries?.[1];
    expect(entry?.response).toEqual(response);
    const again = decoded(encodeCheckpoint({ entries: entry === undefined ? [] : [entry], registered: new Map() }));
    expect(again.data.entries?.[0]?.response).toEqual(response);
  });

  test('100,000 ids are written and read', () => {
    const many = Array.from(
      { length: 100_000 },
      (_, index) => `GPU-${String(index)}-fef8089b-4820-abfc-e83e-94318197576e`,
    );
    const data: CheckpointData = { entries: null, registered: new Map([['example.com/gpu', many]]) };
    expect(decoded(encodeCheckpoint(data)).data).toEqual(data);
  });
});

/** UTF-8 has no halves of surrogate pairs: they become U+FFFD, and names that differed only in them one. */
function wellFormed(data: CheckpointData): CheckpointData {
  const clean = (text: string): string => text.replaceAll(/\p{Surrogate}/gu, '\ufffd');
  const list = (items: readonly string[] | null): readonly string[] | null => items?.map(clean) ?? null;
  return {
    entries:
      data.entries?.map((entry) => ({
        podUid: clean(entry.podUid),
        container: clean(entry.container),
        resource: clean(entry.resource),
        devices: new Map(
          [...((entry.devices ?? []) as ReadonlyMap<number, readonly string[]>)].map(([node, on]) => [node, list(on)]),
        ),
        response: entry.response,
      })) ?? null,
    registered: new Map([...(data.registered ?? [])].map(([resource, on]) => [clean(resource), list(on)])),
  };
}
