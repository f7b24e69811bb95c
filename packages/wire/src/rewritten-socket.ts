import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import { AuthorityRewriter } from './authority-rewriter.ts';

/** How long a client may take to send its preface and first frame. */
const GREETING_TIMEOUT_MS = 30_000;
/** How long a client may take to close its side after we closed ours. */
const LINGER_MS = 10_000;

let connections = 0;

/**
 * A client's connection as the gRPC server should see it: the incoming half goes through an {@link AuthorityRewriter}.
 * A client that sends what cannot be understood, or nothing at all, loses its connection; nothing is ever thrown.
 *
 * The authority every request gets is the connection's own name, unique in this process: on a unix socket nothing else
 * that reaches a handler tells connections apart. (`CallContext.connection`)
 *
 * Invariant: the server reads one piece (a header block, or other frames) at a time, each in an event-loop turn of its
 * own.
 *
 * - Symptom: a client that sends a request for an unknown method and its RST_STREAM in one packet ended the process with
 *   `ERR_HTTP2_INVALID_STREAM`.
 * - Cause: Node announces a new stream in `process.nextTick`. Bytes read by JavaScript, unlike those of a native socket,
 *   are handled before that tick; by then the stream was gone, and grpc-js answers it without looking.
 * - Proof: `hostile-peers.test.ts`, "a request and its reset in one packet".
 * - Can go: when grpc-js checks the stream before it responds (`_respondWithError`, `_verifyContentType`).
 */
export class RewrittenSocket extends Duplex {
  readonly #socket: Socket;
  readonly #rewriter: AuthorityRewriter;
  readonly #pieces: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wanted = false;
  #inputEnded = false;

  /** @param keepSent whether the client's own authority is to be passed on too. */
  constructor(socket: Socket, keepSent: boolean) {
    // No read-ahead: with a high-water mark of 0, `_read` is called only when all that was pushed has been consumed.
    super({ readableHighWaterMark: 0 });
    this.#socket = socket;
    this.#rewriter = new AuthorityRewriter(`connection${String((connections += 1))}`, keepSent);
    this.#destroyAfter(GREETING_TIMEOUT_MS);
    this.on('error', () => undefined); // the connection is gone; its calls have been told
    socket.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
    });
    socket.on('end', () => {
      this.#inputEnded = true;
      this.#feed();
    });
    socket.on('error', () => this.destroy());
    socket.on('close', () => this.destroy());
  }

  override _read(): void {
    setImmediate(() => {
      this.#wanted = true;
      this.#feed();
    });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#socket.cork();
    chunks.forEach(({ chunk }, index) => {
      if (index < chunks.length - 1) this.#socket.write(chunk);
      else this.#socket.write(chunk, done);
    });
    this.#socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#destroyAfter(LINGER_MS);
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#pieces.length = 0;
    this.#socket.destroy();
    done(error);
  }

  #receive(chunk: Buffer): void {
    if (this.destroyed) return;
    try {
      this.#pieces.push(...this.#rewriter.push(chunk));
    } catch {
      this.destroy();
      return;
    }
    if (this.#rewriter.greeted && !this.writableEnded) clearTimeout(this.#timer);
    this.#feed();
    if (this.#pieces.length > 0) this.#socket.pause(); // until the server has read them
  }

  /** Hands the server the next piece, if it wants one. */
  #feed(): void {
    if (!this.#wanted || this.destroyed) return;
    const piece = this.#pieces.shift();
    if (piece !== undefined) {
      this.#wanted = false;
      this.push(piece);
    } else if (this.#inputEnded) {
      this.#wanted = false;
      this.push(null);
    } else {
      this.#socket.resume();
    }
  }

  #destroyAfter(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), delayMs).unref();
  }
}
