import { compareQuantities, parseQuantity, wholeNumber } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

describe('quantities', () => {
  test.each([
    ['2', 2],
    [2, 2],
    ['0', 0],
    ['-0', 0],
    ['+3', 3],
    ['-3', -3],
    ['1k', 1000],
    ['1e3', 1000],
    ['1E3', 1000],
    ['1e+3', 1000],
    ['1000e-3', 1],
    ['1Ki', 1024],
    ['1.5Ki', 1536],
    ['.5Ki', 512],
    ['2.', 2],
    ['2.0', 2],
    ['2000m', 2],
    ['3000000u', 3],
    ['4000000000n', 4],
    ['1M', 1e6],
    ['1Mi', 2 ** 20],
    ['1E', Number.MAX_SAFE_INTEGER],
    ['1Ei', Number.MAX_SAFE_INTEGER],
    ['-1E', -Number.MAX_SAFE_INTEGER],
    [1e21, Number.MAX_SAFE_INTEGER],
    [' 5 ', 5],
  ])('%j is %d', (value, expected) => {
    expect(wholeNumber(value)).toBe(expected);
  });

  test.each(['500m', '1.5', '1n', '0.5', '1e-1', 1.5])('%j is a quantity and not whole', (value) => {
    expect(parseQuantity(value)).toBeDefined();
    expect(wholeNumber(value)).toBeUndefined();
  });

  test.each([
    '',
    ' ',
    '.',
    '-',
    'e3',
    '1e',
    '1ki',
    '1KI',
    '1Kii',
    '1 k',
    '1.2.3',
    '--1',
    '0x10',
    '1_000',
    'NaN',
    'Infinity',
    '١',
    '1e1.5',
    '1mi',
    '1e9999',
    '9'.repeat(65),
    '1\n1',
    null,
    undefined,
    true,
    Number.NaN,
  ])('%s is no quantity', (value) => {
    expect(parseQuantity(value)).toBeUndefined();
  });

  test('what is no text and no number is no quantity', () => {
    for (const value of [[], {}, 1n, ['1'], { valueOf: () => 1 }]) expect(parseQuantity(value)).toBeUndefined();
  });

  test('finer fractions than billionths are rounded away from zero', () => {
    expect(parseQuantity('0.0000000001')?.nano).toBe(1n);
    expect(parseQuantity('-1e-20')?.nano).toBe(-1n);
  });

  test('the same value in other words is equal', () => {
    const quantity = (text: string): NonNullable<ReturnType<typeof parseQuantity>> => {
      const parsed = parseQuantity(text);
      if (parsed === undefined) throw new Error(text);
      return parsed;
    };
    expect(compareQuantities(quantity('1'), quantity('1000m'))).toBe(0);
    expect(compareQuantities(quantity('1Ki'), quantity('1k'))).toBeGreaterThan(0);
    expect(compareQuantities(quantity('-1'), quantity('0'))).toBeLessThan(0);
  });

  test('every whole number is read back from every way to write it', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (whole) => {
        const text = String(whole);
        for (const form of [text, `${text}.`, `${text}.000`, `${text}e0`, `${text}000m`, `+${text}`, `${text}000e-3`]) {
          expect(wholeNumber(form), form).toBe(whole);
        }
        const kilo = whole % 1_000_000;
        expect(wholeNumber(`${String(kilo)}Ki`)).toBe(kilo * 1024);
        expect(wholeNumber(`${String(kilo)}k`)).toBe(kilo * 1000);
      }),
    );
  });

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[-+0-9.eEKkMmGinu]{0,12}$/)), (text) => {
        parseQuantity(text);
      }),
      { numRuns: 1000 },
    );
  });
});
