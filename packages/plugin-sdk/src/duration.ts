const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration like `250ms`, `3s`, `1.5m` or `2h`; `0` needs no unit. Undefined when it is none. */
export function parseDuration(value: string | number): number | undefined {
  if (value === 0 || value === '0') return 0;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(String(value).trim());
  const unitMs = UNIT_MS[match?.[2] ?? ''];
  if (match === null || unitMs === undefined) return undefined;
  const durationMs = Number(match[1]) * unitMs;
  return durationMs < 2 ** 31 ? durationMs : undefined;
}
