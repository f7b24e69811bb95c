/** HTTP/2 by hand, for peers that Node's own client refuses to play. (RFC 9113) */
import { connect } from 'node:net';
import type { Socket } from 'node:net';

export const DATA = 0x0;
export const HEADERS = 0x1;
export const RST_STREAM = 0x3;
export const SETTINGS = 0x4;
export const PING = 0x6;
export const GOAWAY = 0x7;
export const CONTINUATION = 0x9;
export const END_STREAM = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const PRIORITY = 0x20;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** The complete frames at the start of the bytes, and what is left. */
export function parseFrames(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const frames: Frame[] = [];
  let at = 0;
  while (bytes.length - at >= 9) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (bytes.length < end) break;
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
      payload: bytes.subarray(at + 9, end),
    });
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}

export type HeaderList = readonly (readonly [name: string, value: string])[];

/** Every field as a literal without indexing, name spelt out, nothing Huffman-coded. */
export function literals(fields: HeaderList): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), plainString(name), plainString(value)]));
}

export function plainString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([hpackInteger(bytes.length, 7, 0), bytes]);
}

export function hpackInteger(value: number, prefixBits: number, high: number): Buffer {
  const max = (1 << prefixBits) - 1;
  if (value < max) return Buffer.of(high | value);
  const out = [high | max];
  let rest = value - max;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) out.push((rest % 0x80) | 0x80);
  return Buffer.from([...out, rest]);
}

/** The header list of a gRPC call. `authority` undefined leaves the field out. */
export function grpcHeaders(path: string, authority: string | undefined, extra: HeaderList = []): HeaderList {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    ...(authority === undefined ? [] : [[':authority', authority] as const]),
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...extra,
  ];
}

/** A message with gRPC's five octets in front. */
export function grpcMessage(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** A connection that sends what it is told and collects the frames it gets. */
export class RawPeer {
  readonly frames: Frame[] = [];
  readonly socket: Socket;
  closed = false;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      const { frames, rest } = parseFrames(Buffer.concat([this.#rest, chunk]));
      this.frames.push(...frames);
      this.#rest = rest;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
    });
  }

  static connect(path: string): Promise<RawPeer> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawPeer(socket));
      });
    });
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** Preface and SETTINGS. */
  greet(): void {
    this.send(PREFACE, frame(SETTINGS, 0, 0));
  }

  /** Whether the peer has ended the stream, and how. */
  outcome(stream: number): 'open' | 'answered' | 'reset' {
    const mine = this.frames.filter((candidate) => candidate.stream === stream);
    if (mine.some(({ type }) => type === RST_STREAM)) return 'reset';
    return mine.some(({ type, flags }) => type <= HEADERS && (flags & END_STREAM) !== 0) ? 'answered' : 'open';
  }

  close(): void {
    this.socket.destroy();
  }
}
