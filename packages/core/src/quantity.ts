/**
 * Kubernetes quantities: `2`, `1k`, `500m`, `1.5Gi`, `1e3`. Kept exactly, as a whole number of billionths: finer
 * fractions are rounded away from zero, as the API server does. (Kubernetes: apimachinery, resource.Quantity)
 */
export interface Quantity {
  /** Value times 10⁹. */
  readonly nano: bigint;
  /** As written, without surrounding blanks. */
  readonly text: string;
}

/** Text of the API server for something that is no quantity. */
export const QUANTITY_FORMAT_MESSAGE =
  "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const GRAMMAR = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d+)|([A-Za-z]{0,2}))$/;

/** Power of ten of a decimal suffix. */
const DECIMAL_SUFFIXES: Readonly<Record<string, number>> = {
  n: -9,
  u: -6,
  m: -3,
  '': 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
/** Power of two of a binary suffix. */
const BINARY_SUFFIXES: Readonly<Record<string, number>> = { Ki: 10, Mi: 20, Gi: 30, Ti: 40, Pi: 50, Ei: 60 };

const NANO_DIGITS = 9;
const NANO_PER_UNIT = 10n ** BigInt(NANO_DIGITS);
/** Longer numbers are refused before any arithmetic, so that a hostile manifest costs nothing. */
const MAX_DIGITS = 64;
const MAX_EXPONENT = 64;

/** The quantity, or undefined when the text is none. Numbers are read by their decimal text, as JSON would carry them. */
export function parseQuantity(value: unknown): Quantity | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const text = String(value).trim();
  const match = text.length <= 2 * MAX_DIGITS ? GRAMMAR.exec(text) : null;
  if (match === null) return undefined;
  const [, sign = '', number = '', exponentMark, exponent = '', suffix = ''] = match;
  const [whole = '', fraction = ''] = number.split('.');
  if (whole.length + fraction.length > MAX_DIGITS) return undefined;
  const digits = BigInt(whole + fraction);
  const magnitude =
    exponentMark === undefined
      ? withSuffix(digits, fraction.length, suffix)
      : withExponent(digits, fraction.length, Number(exponent));
  return magnitude === undefined ? undefined : { nano: sign === '-' ? -magnitude : magnitude, text };
}

/**
 * The value as a number when it is whole, else undefined. Values beyond the exact range of numbers become
 * `Number.MAX_SAFE_INTEGER`: more than any node has, as the kubelet's cap at 2⁶³−1 is.
 */
export function wholeNumber(value: Quantity | string | number): number | undefined {
  const quantity = typeof value === 'object' ? value : parseQuantity(value);
  if (quantity === undefined || quantity.nano % NANO_PER_UNIT !== 0n) return undefined;
  const whole = quantity.nano / NANO_PER_UNIT;
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  if (whole > limit) return Number.MAX_SAFE_INTEGER;
  return whole < -limit ? -Number.MAX_SAFE_INTEGER : Number(whole);
}

/** Negative, zero or positive as `a` is less than, equal to or greater than `b`. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  if (a.nano === b.nano) return 0;
  return a.nano < b.nano ? -1 : 1;
}

function withSuffix(digits: bigint, fractionDigits: number, suffix: string): bigint | undefined {
  if (Object.hasOwn(DECIMAL_SUFFIXES, suffix)) {
    return scaled(digits, (DECIMAL_SUFFIXES[suffix] ?? 0) - fractionDigits + NANO_DIGITS);
  }
  if (!Object.hasOwn(BINARY_SUFFIXES, suffix)) return undefined;
  return scaled(digits << BigInt(BINARY_SUFFIXES[suffix] ?? 0), NANO_DIGITS - fractionDigits);
}

function withExponent(digits: bigint, fractionDigits: number, exponent: number): bigint | undefined {
  if (Math.abs(exponent) > MAX_EXPONENT) return undefined;
  return scaled(digits, exponent - fractionDigits + NANO_DIGITS);
}

/** `digits` times ten to the `power`, rounded away from zero. */
function scaled(digits: bigint, power: number): bigint {
  if (power >= 0) return digits * 10n ** BigInt(power);
  const divisor = 10n ** BigInt(-power);
  return (digits + divisor - 1n) / divisor;
}
