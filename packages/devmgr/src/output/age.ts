/**
 * A time span as kubectl writes it: two units at most, the second only while it still matters (`90s`, `5m3s`, `3h`,
 * `2d4h`, `1y20d`). Negative spans (clocks that differ) are `0s` when tiny, else `<invalid>`. (kubectl: HumanDuration)
 */
export function humanDuration(durationMs: number): string {
  const seconds = Math.trunc(durationMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${String(seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${String(minutes)}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${String(hours)}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return pair(days, 'd', hours % 24, 'h');
  if (days < 730) return `${String(days)}d`;
  const years = Math.floor(days / 365);
  if (years < 8) return pair(years, 'y', days % 365, 'd');
  return `${String(years)}y`;
}

function pair(major: number, majorUnit: string, minor: number, minorUnit: string): string {
  return `${String(major)}${majorUnit}${minor === 0 ? '' : `${String(minor)}${minorUnit}`}`;
}

/** Age of an RFC 3339 time; `<unknown>` when there is none or it cannot be read, as kubectl says. */
export function ageOf(time: string | undefined, nowMs: number): string {
  if (time === undefined) return '<unknown>';
  const atMs = Date.parse(time);
  return Number.isNaN(atMs) ? '<unknown>' : humanDuration(nowMs - atMs);
}
