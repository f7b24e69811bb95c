import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBase64, encodeBase64 } from '../src/base64.ts';
import { compareUtf8, encodeUtf8 } from '../src/utf8.ts';

describe('base64', () => {
  test('any bytes are written as everybody else writes them, and read back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect(encodeBase64(bytes)).toBe(text);
        expect(decodeBase64(text)).toEqual(bytes);
        expect(decodeBase64(text.replaceAll('A', 'A\r\n'))).toEqual(bytes);
      }),
    );
  });

  test.each(['=', 'A', 'AA', 'AAA', 'A===', 'AA=A', '====', 'AAAA=', '*AAA', 'AA A', 'AAA\u0141', '-_-_'])(
    '%j is no base64',
    (text) => {
      expect(decodeBase64(text)).toBeUndefined();
    },
  );
});

test('texts are ordered by their UTF-8 bytes', () => {
  const texts = fc.array(fc.constantFrom('a', 'b', 'é', '\ue000', '\uffff', '\u{10000}', '😀', '😁'), { maxLength: 4 });
  fc.assert(
    fc.property(texts, texts, (first, second) => {
      const [a, b] = [first.join(''), second.join('')];
      expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(encodeUtf8(a), encodeUtf8(b)));
    }),
    { numRuns: 500 },
  );
});
