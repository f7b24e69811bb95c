import { encodeUtf8, isAllocateResponse } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const bytes = (...parts: (number | string)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...encodeUtf8(part)])));

describe('responses kept as bytes', () => {
  test.each([
    ['nothing', bytes()],
    ['an environment variable', bytes(0x0a, 9, 0x0a, 3, 'FOO', 0x12, 2, '12')],
    ['a mount, read only', bytes(0x12, 8, 0x0a, 1, '/', 0x12, 1, '/', 0x18, 1)],
    ['a device', bytes(0x1a, 10, 0x0a, 2, '/d', 0x12, 0, 0x1a, 2, 'rw')],
    ['an annotation and a CDI device', bytes(0x22, 3, 0x0a, 1, 'a', 0x2a, 5, 0x0a, 3, 'a/b')],
    [
      'fields nobody knows, of each wire type',
      bytes(0x78, 0x96, 1, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7a, 2, 'xx', 0x7d, 1, 2, 3, 4),
    ],
    ['a field nobody knows inside a device', bytes(0x1a, 3, 0x7a, 1, 'x')],
  ])('%s is a response', (_, response) => {
    expect(isAllocateResponse(response)).toBe(true);
  });

  test.each([
    ['half a length', bytes(0x0a)],
    ['a length beyond the end', bytes(0x0a, 9, 0x0a, 3, 'FOO')],
    ['a number for a map', bytes(0x08, 1)],
    ['a text for a flag', bytes(0x12, 3, 0x1a, 1, 'x')],
    ['a broken message inside', bytes(0x0a, 2, 0x0a, 3)],
    ['field number 0', bytes(0x02, 0)],
    ['a group', bytes(0x7b, 0x7c)],
    ['a varint without end', bytes(...Array.from({ length: 11 }, () => 0xff))],
    ['text', bytes('garbage')],
  ])('%s is none', (_, response) => {
    expect(isAllocateResponse(response)).toBe(false);
  });

  test('no bytes make it throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (response) => {
        isAllocateResponse(response);
      }),
      { numRuns: 1000 },
    );
  });
});
