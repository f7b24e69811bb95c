import { DevmgrError } from '@devmgr/core';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** The longest time a timer of Node can wait, less what is left of a day. */
const MAX_MS = 24 * 24 * 3_600_000;

/**
 * A length of time as Go and kubectl write it (`500ms`, `30s`, `1h30m`); a bare number is seconds. Returns milliseconds.
 * Throws USAGE naming the flag.
 */
export function parseDuration(text: string, flag: string): number {
  const durationMs = toMilliseconds(text);
  if (durationMs === undefined) {
    throw new DevmgrError('USAGE', `${flag}: "${text}" is not a length of time`, {
      remedy: 'Write it like 500ms, 30s, 5m or 1h30m.',
    });
  }
  if (durationMs > MAX_MS) {
    throw new DevmgrError('USAGE', `${flag}: ${text} is too long`, { remedy: 'At most 24 days (576h) can be waited.' });
  }
  return durationMs;
}

function toMilliseconds(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1000);
  if (/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    let totalMs = 0;
    for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
      totalMs += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
    }
    return Math.round(totalMs);
  }
  return undefined;
}
