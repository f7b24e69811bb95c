import { crc32c } from './crc32c.ts';
import { encodeUtf8 } from './utf8.ts';

/**
 * How records stand in a journal: one a line, `<length> <crc> <text>\n`, length and CRC-32C as eight lower-case
 * hexadecimal digits each, over the UTF-8 bytes of the text. People can read it with `cat`; a torn, flipped or
 * zero-filled place never passes for a record.
 */
export function encodeFrame(text: string): Uint8Array {
  const payload = encodeUtf8(text);
  const prefix = encodeUtf8(`${hex(payload.length)} ${hex(crc32c(payload))} `);
  const frame = new Uint8Array(prefix.length + payload.length + 1);
  frame.set(prefix);
  frame.set(payload, prefix.length);
  frame[frame.length - 1] = NEWLINE;
  return frame;
}

/** Bytes a frame adds to its text. */
export const FRAME_OVERHEAD_BYTES = 19;

const PREFIX_BYTES = 18;
const NEWLINE = 0x0a;
const SPACE = 0x20;

export interface FrameScan {
  /** The undamaged payloads in file order, with the offset of each frame. */
  readonly frames: readonly { readonly offset: number; readonly payload: Uint8Array }[];
  /** Where the last undamaged frame ends: what follows is torn. */
  readonly endBytes: number;
  /** Stretches without a valid frame that undamaged ones follow; a torn tail is not among them. */
  readonly damaged: readonly { readonly offset: number; readonly length: number }[];
}

/**
 * Finds the frames in a file. After a damaged place it goes on at the next line that is a valid frame: texts are JSON and
 * so have no line ends in them, and nothing inside a damaged record can pass for one.
 */
export function scanFrames(bytes: Uint8Array): FrameScan {
  const frames: { offset: number; payload: Uint8Array }[] = [];
  const damaged: { offset: number; length: number }[] = [];
  let endBytes = 0;
  let offset = 0;
  while (offset < bytes.length) {
    const payload = payloadAt(bytes, offset);
    if (payload === undefined) {
      const newline = bytes.indexOf(NEWLINE, offset);
      if (newline === -1) break;
      offset = newline + 1;
      continue;
    }
    if (offset > endBytes) damaged.push({ offset: endBytes, length: offset - endBytes });
    frames.push({ offset, payload });
    offset += PREFIX_BYTES + payload.length + 1;
    endBytes = offset;
  }
  return { frames, endBytes, damaged };
}

function payloadAt(bytes: Uint8Array, offset: number): Uint8Array | undefined {
  const length = parseHex(bytes, offset);
  const crc = parseHex(bytes, offset + 9);
  if (length === undefined || length === 0 || crc === undefined) return undefined;
  const end = offset + PREFIX_BYTES + length;
  // The line must have an end, and any will do: that the payload is whole, its checksum says.
  if (bytes[offset + 8] !== SPACE || bytes[offset + 17] !== SPACE || end >= bytes.length) return undefined;
  const payload = bytes.subarray(offset + PREFIX_BYTES, end);
  return crc32c(payload) === crc ? payload : undefined;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function parseHex(bytes: Uint8Array, offset: number): number | undefined {
  let value = 0;
  for (let index = offset; index < offset + 8; index++) {
    const byte = bytes[index];
    if (byte === undefined) return undefined;
    if (byte >= 0x30 && byte <= 0x39) value = value * 16 + byte - 0x30;
    else if (byte >= 0x61 && byte <= 0x66) value = value * 16 + byte - 0x61 + 10;
    else return undefined;
  }
  return value;
}
