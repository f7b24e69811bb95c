import { HeaderRewriter } from './header-rewriter.ts';

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
/** The frame size a server grants unless it says otherwise, which Node's HTTP/2 does not. (RFC 9113, 4.2) */
const MAX_FRAME_BYTES = 16_384;
const MAX_BLOCK_BYTES = 64 * 1024;
/** Frames of one block, so that one made of empty CONTINUATION frames comes to an end. */
const MAX_BLOCK_FRAMES = 4096;

// Frame types and flags. (RFC 9113, 6)
const HEADERS = 0x1;
const CONTINUATION = 0x9;
const END_STREAM = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const PRIORITY = 0x20;
const PRIORITY_BYTES = 5;

/** A header block whose last frame has not arrived. */
interface OpenBlock {
  readonly stream: number;
  readonly flags: number;
  readonly priority: Buffer;
  readonly fragments: Buffer[];
  sizeBytes: number;
}

/**
 * Rewrites the client-to-server bytes of one HTTP/2 connection so that every request carries one and the same
 * `:authority`. Everything but header blocks passes through untouched.
 *
 * - Symptom: plugins built with grpc-go before 1.57 that dial a path, and Java ones, cannot register: each call ends with
 *   `stream terminated by RST_STREAM with error code: PROTOCOL_ERROR`.
 * - Cause: they send the raw path (others an empty or no authority); nghttp2, which Node's HTTP/2 is built on, resets
 *   such requests before any of our code runs and has no option to let them pass.
 * - Upstream: grpc-go #6428 (sends it percent-encoded since 1.57), nodejs/node #32326, hyperium/h2 #487.
 * - Proof: `authority-rewriter.test.ts`; with the rewriter taken out, `scenario 19` fails.
 * - Can go: when no supported plugin sends such an authority, or Node can be told to accept it.
 *
 * Invariant: no byte of a frame is emitted before the frame header in front of it was understood.
 */
export class AuthorityRewriter {
  readonly #headers: HeaderRewriter;
  /** Bytes to let pass before the next frame header. */
  #passThrough = PREFACE_BYTES;
  #pending: Buffer = Buffer.alloc(0);
  #block: OpenBlock | undefined;
  #lastStream = 0;
  #frames = 0;

  /** See {@link HeaderRewriter}; the authority is `localhost` unless given. */
  constructor(authority?: string, keepSent?: boolean) {
    this.#headers = new HeaderRewriter(authority, keepSent);
  }

  /** Whether a frame has followed the connection preface. */
  get greeted(): boolean {
    return this.#frames > 0;
  }

  /**
   * Takes bytes from the client and returns what the server should read, in order; each complete header block is a
   * piece of its own.
   *
   * @throws Error when frames or header blocks are malformed or too large: close the connection.
   */
  push(chunk: Buffer): Buffer[] {
    const input = this.#pending.length > 0 ? Buffer.concat([this.#pending, chunk]) : chunk;
    const pieces: Buffer[] = [];
    let at = 0;
    let from = 0; // what lies between `from` and `at` passes as it is
    while (at < input.length) {
      if (this.#passThrough > 0) {
        const taken = Math.min(this.#passThrough, input.length - at);
        this.#passThrough -= taken;
        at += taken;
        continue;
      }
      if (input.length - at < FRAME_HEADER_BYTES) break;
      const sizeBytes = input.readUIntBE(at, 3);
      const type = input.readUInt8(at + 3);
      if (this.#block !== undefined && type !== CONTINUATION) throw new Error('frame inside an open header block');
      if (type !== HEADERS && type !== CONTINUATION) {
        this.#frames += 1;
        this.#passThrough = FRAME_HEADER_BYTES + sizeBytes;
        continue;
      }
      if (sizeBytes > MAX_FRAME_BYTES) throw new Error('header frame too large');
      const end = at + FRAME_HEADER_BYTES + sizeBytes;
      if (input.length < end) break;
      if (at > from) pieces.push(input.subarray(from, at));
      const flags = input.readUInt8(at + 4);
      const stream = input.readUInt32BE(at + 5) & 0x7fff_ffff;
      const rewritten = this.#headerFrame(type, flags, stream, input.subarray(at + FRAME_HEADER_BYTES, end));
      if (rewritten !== undefined) pieces.push(rewritten);
      at = end;
      from = end;
    }
    if (at > from) pieces.push(input.subarray(from, at));
    this.#pending = Buffer.from(input.subarray(at));
    return pieces;
  }

  /** Takes one HEADERS or CONTINUATION frame; returns the rewritten frames once their block is complete. */
  #headerFrame(type: number, flags: number, stream: number, payload: Buffer): Buffer | undefined {
    if (type === HEADERS) this.#block = openBlock(flags, stream);
    const block = this.#block;
    if (block === undefined || block.stream !== stream) throw new Error('CONTINUATION without HEADERS');
    const fragment = type === HEADERS ? this.#fragmentOf(payload, flags, block) : payload;
    block.fragments.push(Buffer.from(fragment));
    block.sizeBytes += fragment.length;
    if (block.sizeBytes > MAX_BLOCK_BYTES) throw new Error('header block too large');
    if (block.fragments.length > MAX_BLOCK_FRAMES) throw new Error('header block in too many frames');
    if ((flags & END_HEADERS) === 0) return undefined;
    this.#block = undefined;
    const isRequest = stream > this.#lastStream; // else these are trailers
    this.#lastStream = Math.max(stream, this.#lastStream);
    const fields = this.#headers.rewrite(Buffer.concat(block.fragments), isRequest);
    return frames(Buffer.concat([block.priority, fields]), block.flags, stream);
  }

  /** The field block fragment of a HEADERS frame, without padding and priority, which is kept for the result. */
  #fragmentOf(payload: Buffer, flags: number, block: OpenBlock): Buffer {
    let rest = payload;
    if ((flags & PADDED) !== 0) {
      const end = rest.length - rest.readUInt8(0);
      if (end < 1) throw new Error('padding longer than its frame');
      rest = rest.subarray(1, end);
    }
    if ((flags & PRIORITY) === 0) return rest;
    if (rest.length < PRIORITY_BYTES) throw new Error('priority cut short');
    rest.copy(block.priority, 0, 0, PRIORITY_BYTES);
    return rest.subarray(PRIORITY_BYTES);
  }
}

function openBlock(flags: number, stream: number): OpenBlock {
  const priority = Buffer.alloc((flags & PRIORITY) === 0 ? 0 : PRIORITY_BYTES);
  return { stream, flags: flags & (END_STREAM | PRIORITY), priority, fragments: [], sizeBytes: 0 };
}

/** A header block as one HEADERS frame and as many CONTINUATION frames as it takes. */
function frames(payload: Buffer, flags: number, stream: number): Buffer {
  const out: Buffer[] = [];
  for (let at = 0; at === 0 || at < payload.length; at += MAX_FRAME_BYTES) {
    const part = payload.subarray(at, at + MAX_FRAME_BYTES);
    const isLast = at + MAX_FRAME_BYTES >= payload.length;
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    header.writeUIntBE(part.length, 0, 3);
    header.writeUInt8(at === 0 ? HEADERS : CONTINUATION, 3);
    header.writeUInt8((at === 0 ? flags : 0) | (isLast ? END_HEADERS : 0), 4);
    header.writeUInt32BE(stream, 5);
    out.push(header, part);
  }
  return Buffer.concat(out);
}
