import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { DevmgrError } from '@devmgr/core';
import {
  RECORDING_FORMAT,
  type CallLine,
  type Party,
  type RecordedCall,
  type RecordedEvent,
  type Recording,
  type RecordingHeader,
} from './recording.ts';

const RECORD_AGAIN = 'Record again with "devmgr test --record"; docs/recordings.md has the format.';

type Fields = Readonly<Record<string, unknown>>;
type Growing = { -readonly [K in keyof RecordedCall]: RecordedCall[K] } & {
  readonly messages: { atMs: number; from: Party; bytes: Buffer }[];
};

/**
 * Reads a recording. A last line that was cut short is left out: the recorder may have been killed.
 *
 * @throws DevmgrError naming the line, for a file that is not a recording.
 */
export async function readRecording(path: string): Promise<Recording> {
  const events: RecordedEvent[] = [];
  const calls = new Map<number, Growing>();
  let header: RecordingHeader | undefined;
  let line = 0;
  let broken: DevmgrError | undefined;
  try {
    for await (const text of createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Infinity })) {
      if (broken !== undefined) throw broken; // it was not the last line
      line += 1;
      const place = new Place(`${path}:${String(line)}`);
      const fields = place.parse(text);
      if (fields instanceof DevmgrError) broken = fields;
      else if (header === undefined) header = place.header(fields);
      else addLine(place, fields, events, calls);
    }
  } catch (error) {
    if (error instanceof DevmgrError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('NOT_FOUND', `${path}: ${why}`, { cause: error, remedy: 'Check the path.' });
  }
  if (header === undefined) {
    throw broken ?? new DevmgrError('USAGE', `${path}: the file is empty`, { remedy: RECORD_AGAIN });
  }
  return { path, header, events };
}

function addLine(place: Place, fields: Fields, events: RecordedEvent[], calls: Map<number, Growing>): void {
  const atMs = place.number(fields, 'at');
  const kind = place.word(fields, 'kind', ['manager', 'plugin', 'close', 'call', 'message', 'end']);
  switch (kind) {
    case 'manager': {
      const event = place.word(fields, 'event', ['start', 'socket-anew', 'end', 'directory-replaced']);
      events.push({
        kind,
        atMs,
        event,
        clean: fields['clean'] !== false,
        leavesSocket: fields['leavesSocket'] === true,
      });
      return;
    }
    case 'plugin': {
      const event = place.word(fields, 'event', ['start', 'stop', 'crash']);
      events.push({ kind, atMs, event, how: typeof fields['how'] === 'string' ? fields['how'] : '' });
      return;
    }
    case 'close':
      events.push({ kind, atMs, connection: place.text(fields, 'connection') });
      return;
    case 'call': {
      const call: Growing = { ...place.call(fields), atMs, messages: [], end: undefined };
      if (calls.has(call.number)) throw place.error(`call ${String(call.number)} begins a second time`);
      calls.set(call.number, call);
      events.push({ kind, atMs, call });
      return;
    }
    case 'message':
      place.known(fields, calls).messages.push({ atMs, from: place.party(fields, 'from'), bytes: place.bytes(fields) });
      return;
    case 'end': {
      const call = place.known(fields, calls);
      if (call.end !== undefined) throw place.error(`call ${String(call.number)} ends a second time`);
      const by = place.party(fields, 'by');
      call.end = { atMs, by, code: place.number(fields, 'code'), text: place.text(fields, 'text') };
      events.push({ kind, atMs, call });
    }
  }
}

/** One line of the file, for reading its fields and saying what is wrong with them. */
class Place {
  readonly #where: string;

  constructor(where: string) {
    this.#where = where;
  }

  error(what: string): DevmgrError {
    return new DevmgrError('USAGE', `${this.#where}: ${what}`, { remedy: RECORD_AGAIN });
  }

  parse(text: string): Fields | DevmgrError {
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
    } catch {
      // said below
    }
    return this.error('not a JSON object');
  }

  header(fields: Fields): RecordingHeader {
    if (fields['kind'] !== 'recording') throw this.error('not a recording: its first line has no "kind":"recording"');
    const format = this.number(fields, 'format');
    if (format !== RECORDING_FORMAT) {
      throw this.error(`format ${String(format)} is not known; this devmgr reads ${String(RECORDING_FORMAT)}`);
    }
    const command = fields['command'];
    const words = Array.isArray(command) ? command.filter((word) => typeof word === 'string') : [];
    return { kind: 'recording', format: RECORDING_FORMAT, startedAt: this.text(fields, 'startedAt'), command: words };
  }

  number(fields: Fields, name: string): number {
    const value = fields[name];
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
    throw this.error(`"${name}" is not a number of 0 or more`);
  }

  text(fields: Fields, name: string): string {
    const value = fields[name];
    if (typeof value === 'string') return value;
    throw this.error(`"${name}" is not a text`);
  }

  word<const T extends string>(fields: Fields, name: string, words: readonly T[]): T {
    const found = words.find((word) => word === fields[name]);
    if (found === undefined) throw this.error(`"${name}" is none of ${words.join(', ')}`);
    return found;
  }

  party(fields: Fields, name: string): Party {
    return this.word(fields, name, ['manager', 'plugin']);
  }

  bytes(fields: Fields): Buffer {
    const text = this.text(fields, 'bytes');
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw this.error('"bytes" is not base64');
    return Buffer.from(text, 'base64');
  }

  call(fields: Fields): Omit<CallLine, 'kind' | 'call'> & { number: number } {
    const { resource, authority } = fields;
    return {
      number: this.number(fields, 'call'),
      from: this.party(fields, 'from'),
      method: this.text(fields, 'method'),
      connection: this.text(fields, 'connection'),
      socket: this.text(fields, 'socket'),
      resource: typeof resource === 'string' ? resource : undefined,
      authority: typeof authority === 'string' ? authority : null,
    };
  }

  known(fields: Fields, calls: ReadonlyMap<number, Growing>): Growing {
    const number = this.number(fields, 'call');
    const call = calls.get(number);
    if (call === undefined) throw this.error(`call ${String(number)} has not begun`);
    return call;
  }
}
