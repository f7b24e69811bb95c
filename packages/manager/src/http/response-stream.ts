import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { ServerResponse } from 'node:http';
import type { ApiContext, ApiRequest } from './context.ts';

/**
 * A response that is written bit by bit, straight to Node's response so that back-pressure and the end of the
 * connection are seen at once.
 *
 * Invariants:
 * - `gone` aborts exactly once: when the client is no longer there, when the server closes, or after the end.
 * - After that every write is dropped and answers false; nothing here throws.
 */
export class ResponseStream {
  /** Aborts when nothing more will reach the client. */
  readonly gone: AbortSignal;
  readonly #response: ServerResponse;
  readonly #gone = new AbortController();
  readonly #onClosing = (): void => {
    this.end();
  };
  readonly #closing: AbortSignal;

  /** Nothing is sent before {@link begin}. */
  constructor(request: ApiRequest, context: ApiContext) {
    this.#response = request.env.outgoing;
    this.#closing = context.closing;
    this.gone = this.#gone.signal;
    // A response that breaks is the client's affair; without a listener it would end the process.
    this.#response.on('error', () => {
      this.#leave();
    });
    this.#response.once('close', () => {
      this.#leave();
    });
    if (this.#response.destroyed) this.#leave();
    else if (context.closing.aborted) this.end();
    else context.closing.addEventListener('abort', this.#onClosing, { once: true });
  }

  /** Whether the response reached the client's side of the connection completely. */
  get finished(): boolean {
    return this.#response.writableFinished;
  }

  /** Sends status line and headers. */
  begin(contentType: string): void {
    if (this.gone.aborted || this.#response.headersSent) return;
    this.#response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-cache' });
    this.#response.flushHeaders();
  }

  /** Resolves when there is room for more: true, or false when the client is gone. */
  async write(chunk: string | Uint8Array): Promise<boolean> {
    if (this.gone.aborted) return false;
    if (this.#response.write(chunk)) return true;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#response.off('drain', done);
        this.gone.removeEventListener('abort', done);
        resolve();
      };
      this.#response.once('drain', done);
      this.gone.addEventListener('abort', done, { once: true });
    });
    return !this.gone.aborted;
  }

  /** Ends the response in good order; what was written is still delivered. */
  end(): void {
    if (!this.#response.destroyed) this.#response.end();
    this.#leave();
  }

  /** Cuts the connection, so that the client sees that something is missing. */
  break(): void {
    this.#response.destroy();
    this.#leave();
  }

  /** Cuts the connection unless the client has taken the rest within `graceMs`. */
  breakAfter(graceMs: number, context: ApiContext): void {
    if (this.#response.closed || this.#response.writableFinished) return;
    const cancel = context.clock.setTimeout(() => {
      this.#response.destroy();
    }, graceMs);
    this.#response.once('close', cancel);
    this.#response.once('finish', cancel);
  }

  #leave(): void {
    if (this.gone.aborted) return;
    this.#closing.removeEventListener('abort', this.#onClosing);
    this.#gone.abort();
  }
}

/** What a handler returns when its answer goes through a {@link ResponseStream}. */
export const STREAMED: Response = RESPONSE_ALREADY_SENT;
