const LEVEL_NAMES: Readonly<Record<number, string>> = { 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' };

/** Fields every line of the structured log has; they are shown elsewhere or not at all. */
const OWN_FIELDS = new Set(['level', 'time', 'msg', 'pid', 'hostname']);

/**
 * One line of the structured log for people: `10:15:03.042 INFO  Device plugin connected  resource=example.com/gpu`.
 * Values come from plugins and manifests, so anything that is not plain printable text is quoted and escaped: no control
 * sequence reaches the terminal. Text that is not a line of the log is returned as it is.
 */
export function formatLogLine(line: string): string {
  const entry = parse(line);
  if (entry === undefined) return line;
  const time = new Date(Number(entry['time'])).toISOString().slice(11, 23);
  const level = LEVEL_NAMES[Number(entry['level'])] ?? String(entry['level']);
  const fields = Object.entries(entry)
    .filter(([name]) => !OWN_FIELDS.has(name))
    .map(([name, value]) => `${name}=${formatValue(value)}`);
  const message = typeof entry['msg'] === 'string' ? entry['msg'] : '';
  const text = `${time} ${level.padEnd(5)} ${formatText(message)}`;
  return `${[text, fields.join(' ')].filter((part) => part !== '').join('  ')}\n`;
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const entry = JSON.parse(line) as Record<string, unknown> | null;
    return entry !== null && typeof entry['level'] === 'number' && typeof entry['time'] === 'number'
      ? entry
      : undefined;
  } catch {
    return undefined;
  }
}

function formatText(text: string): string {
  return /^[\p{L}\p{N}\p{P}\p{S} ]*$/u.test(text) ? text : escapeControls(text);
}

function formatValue(value: unknown): string {
  if (typeof value === 'string') return /^[\p{L}\p{N}_.:/@,+-]+$/u.test(value) ? value : escapeControls(value);
  if (isLoggedError(value)) return escapeControls(value.message);
  return escapeControls(value);
}

/** JSON, with what JSON leaves alone and terminals obey (DEL, C1 controls, marks that change the direction of text) escaped too. */
function escapeControls(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

function isLoggedError(value: unknown): value is { message: string } {
  return typeof value === 'object' && value !== null && 'stack' in value && 'message' in value;
}
