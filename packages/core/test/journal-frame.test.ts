import {
  decodeHeader,
  decodeRecord,
  decodeUtf8,
  encodeFrame,
  encodeHeader,
  encodeRecord,
  FRAME_OVERHEAD_BYTES,
  scanFrames,
  type JournalRecord,
  type NumberedRecord,
} from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const name = fc.string({ unit: 'grapheme', maxLength: 8 });
const allocations = fc.record({
  container: name,
  resource: name,
  deviceIds: fc
    .array(fc.tuple(fc.integer({ min: -1, max: 9 }), fc.array(name, { maxLength: 3 })), { maxLength: 3 })
    .map((groups) => new Map(groups)),
  response: fc.uint8Array({ maxLength: 12 }),
});
const release = fc.record({
  id: name,
  resource: name,
  deviceIds: fc.array(name, { minLength: 1, maxLength: 3 }),
  podUid: name,
  podNamespace: name,
  podName: name,
  container: name,
  since: fc.nat(),
  plugin: fc.boolean(),
  commandDone: fc.boolean(),
  attempts: fc.nat(),
  failures: fc.nat(),
  lastError: name,
  quarantined: fc.boolean(),
});
const records: fc.Arbitrary<JournalRecord> = fc.oneof(
  fc.record({ type: fc.constant('released' as const), podUid: name, releases: fc.array(release, { maxLength: 2 }) }),
  release.map((one) => ({ type: 'release' as const, release: one })),
  name.map((id) => ({ type: 'release-ended' as const, id })),
  name.map((resource) => ({
    type: 'resource' as const,
    resource,
    endpoint: null,
    preStartRequired: false,
    releaseRequired: true as const,
  })),
  fc.tuple(name, fc.array(allocations, { maxLength: 3 })).map(([podUid, list]) => ({
    type: 'allocated' as const,
    podUid,
    allocations: list.map((allocation) => ({ podUid, ...allocation })),
  })),
  name.map((podUid) => ({ type: 'released' as const, podUid })),
  name.map((podUid) => ({ type: 'pod-deleted' as const, podUid })),
  name.map((resource) => ({ type: 'resource-removed' as const, resource })),
  fc.record({
    type: fc.constant('resource' as const),
    resource: name,
    endpoint: fc.option(name),
    preStartRequired: fc.boolean(),
  }),
  name.map((uid) => ({
    type: 'pod' as const,
    pod: { apiVersion: 'v1' as const, kind: 'Pod' as const, metadata: { name: 'p', uid }, spec: { containers: [] } },
  })),
);

function join(frames: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(frames.flatMap((frame) => [...frame]));
}

function read(bytes: Uint8Array): readonly NumberedRecord[] {
  return scanFrames(bytes).frames.flatMap(({ payload }) => decodeRecord(decodeUtf8(payload)) ?? []);
}

const SAMPLE: readonly JournalRecord[] = [
  {
    type: 'allocated',
    podUid: 'u1',
    allocations: [
      {
        podUid: 'u1',
        container: 'c',
        resource: 'a/b',
        deviceIds: new Map([[-1, ['é']]]),
        response: Uint8Array.of(1, 2),
      },
    ],
  },
  { type: 'released', podUid: 'u1' },
  { type: 'resource', resource: 'a/b', endpoint: null, preStartRequired: true },
];
const FRAMES = SAMPLE.map((record, index) => encodeFrame(encodeRecord(index + 1, record)));
const JOURNAL = join(FRAMES);

describe('journal', () => {
  test('records are read back as they were', () => {
    fc.assert(
      fc.property(fc.array(records, { maxLength: 6 }), (list) => {
        const numbered = list.map((record, index) => ({ sequence: index + 1, record }));
        const bytes = join(numbered.map(({ sequence, record }) => encodeFrame(encodeRecord(sequence, record))));
        expect(read(bytes)).toEqual(numbered);
        expect(scanFrames(bytes)).toMatchObject({ endBytes: bytes.length, damaged: [] });
      }),
    );
  });

  test('a frame is a line that people can read', () => {
    expect(decodeUtf8(encodeFrame('{"a":1}'))).toMatch(/^00000007 [0-9a-f]{8} {"a":1}\n$/);
    expect(encodeFrame('x').length).toBe(1 + FRAME_OVERHEAD_BYTES);
    // CRC-32C of "123456789" (RFC 3720 family's check value).
    expect(crcOf('123456789')).toBe('e3069283');
  });

  test('cut at any place, it gives the records before the cut', () => {
    const ends = FRAMES.map((_, index) => join(FRAMES.slice(0, index + 1)).length);
    for (let length = 0; length <= JOURNAL.length; length++) {
      const scan = scanFrames(JOURNAL.slice(0, length));
      const whole = ends.filter((end) => end <= length);
      expect(scan.frames).toHaveLength(whole.length);
      expect(scan.endBytes).toBe(whole.at(-1) ?? 0);
      expect(scan.damaged).toEqual([]);
    }
  });

  test('with any one byte changed to any other, no record is a wrong one, and no other is lost', () => {
    const originals = read(JOURNAL);
    const ends = FRAMES.map((_, index) => join(FRAMES.slice(0, index + 1)).length);
    for (let at = 0; at < JOURNAL.length; at++) {
      const hit = ends.findIndex((end) => at < end);
      const others = originals.filter((_, index) => index !== hit);
      // The line end after a record may be anything: the record is whole.
      const expected = at + 1 === ends[hit] ? originals : others;
      for (let change = 1; change < 256; change++) {
        const bytes = JOURNAL.slice();
        bytes[at] = (bytes[at] ?? 0) ^ change;
        const scan = scanFrames(bytes);
        if (scan.frames.length !== expected.length) {
          expect.fail(`byte ${String(at)} ^ ${String(change)}: ${String(scan.frames.length)} frames`);
        }
        if (change !== 1) continue;
        expect(read(bytes)).toEqual(expected);
        expect(scan.damaged).toHaveLength(expected === originals || hit === FRAMES.length - 1 ? 0 : 1);
      }
    }
  });

  test('zeros, as a power cut may leave them, are no records', () => {
    const bytes = join([JOURNAL, new Uint8Array(4096)]);
    expect(scanFrames(bytes)).toMatchObject({ endBytes: JOURNAL.length, damaged: [] });
    expect(scanFrames(new Uint8Array(100)).frames).toEqual([]);
  });

  test('any bytes in between are passed over, and said to be damaged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        const bytes = join([...FRAMES.slice(0, 1), noise, Uint8Array.of(10), ...FRAMES.slice(1)]);
        const scan = scanFrames(bytes);
        expect(read(bytes)).toHaveLength(3);
        expect(scan.damaged).toHaveLength(1);
        expect(scan.endBytes).toBe(bytes.length);
      }),
    );
  });

  test('texts that are no records or headers are refused, never thrown over', () => {
    for (const text of [
      '',
      '{}',
      'null',
      '[1]',
      '{"sequence":1}',
      '{"sequence":-1,"type":"released","podUid":"x"}',
      '{"sequence":1,"type":"released","podUid":1}',
      '{"sequence":1,"type":"from-the-future"}',
      '{"sequence":1,"type":"allocated","podUid":"x","allocations":[{"container":"c","resource":"r","devices":[[0,[1]]],"response":""}]}',
      '{"sequence":1,"type":"pod","pod":{"kind":"Pod"}}',
    ]) {
      expect(decodeRecord(text), text).toBeUndefined();
      expect(decodeHeader(text), text).toBeUndefined();
    }
    const header = { type: 'journal' as const, sequence: 7, bootId: 'b', count: 0 };
    expect(decodeHeader(encodeHeader(header))).toEqual(header);
    expect(decodeHeader(encodeHeader(header).replace('"version":1', '"version":2'))).toBeUndefined();
    fc.assert(
      fc.property(fc.json(), (text) => {
        decodeRecord(text);
        decodeHeader(text);
      }),
    );
  });
});

function crcOf(text: string): string {
  return decodeUtf8(encodeFrame(text)).slice(9, 17);
}
