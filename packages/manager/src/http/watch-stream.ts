import type { ObjectMeta, Status, WatchEvent } from '@devmgr/core';
import type { WatchListener } from '../ports.ts';
import type { ApiContext, ApiRequest } from './context.ts';
import { ResponseStream, STREAMED } from './response-stream.ts';
import { HTTP_FAILURES, HttpError, statusOf } from './status-map.ts';

export const JSON_LINES = 'application/json; stream=watch';

export interface WatchSource<T> {
  /** What there is now. */
  readonly list: () => readonly T[];
  readonly watch: (listener: WatchListener<T>) => () => void;
  /** Which objects the client asked for. */
  readonly selects: (object: T) => boolean;
}

/**
 * Answers a watch: an ADDED line for each object there is, then a line for each change, until the client leaves, the
 * server closes, or `timeoutSeconds` are over. An object that begins or ceases to match the selectors is ADDED or
 * DELETED. A client that lets too many changes wait is dropped with an ERROR line and has to start again.
 */
export function serveWatch<T extends { readonly metadata: ObjectMeta }>(
  request: ApiRequest,
  context: ApiContext,
  source: WatchSource<T>,
): Response {
  const timeoutMs = timeoutOf(request);
  // List and watch in one turn of the event loop: nothing can happen in between.
  const present = source.list().filter(source.selects);
  const stream = new ResponseStream(request, context);
  stream.begin(JSON_LINES);
  if (request.req.method === 'HEAD') {
    stream.end();
    return STREAMED;
  }
  const queue = new WatchQueue<T>(stream, context);
  const shown = new Set(present.map(({ metadata }) => keyOf(metadata)));
  const stop = source.watch(({ type, object }) => {
    const key = keyOf(object.metadata);
    const wasShown = shown.has(key);
    if (type !== 'DELETED' && source.selects(object)) {
      shown.add(key);
      queue.push({ type: wasShown ? 'MODIFIED' : 'ADDED', object });
    } else if (wasShown) {
      shown.delete(key);
      queue.push({ type: 'DELETED', object });
    }
  });
  stream.gone.addEventListener('abort', stop, { once: true });
  if (stream.gone.aborted) stop();
  queue.begin(present.map((object) => ({ type: 'ADDED', object })));
  if (timeoutMs !== undefined) endAfter(stream, context, timeoutMs);
  return STREAMED;
}

/** Ends the stream after `timeoutMs` at the latest. */
function endAfter(stream: ResponseStream, context: ApiContext, timeoutMs: number): void {
  const cancel = context.clock.setTimeout(() => {
    stream.end();
  }, timeoutMs);
  stream.gone.addEventListener('abort', cancel, { once: true });
}

function timeoutOf(request: ApiRequest): number | undefined {
  const text = request.req.query('timeoutSeconds');
  const seconds = Number(text);
  return text !== undefined && /^\d+$/.test(text) && seconds > 0 ? seconds * 1_000 : undefined;
}

function keyOf({ namespace, name, uid }: ObjectMeta): string {
  return uid ?? `${namespace ?? ''}/${name}`;
}

/**
 * What waits for one client. Objects are kept, not text: they are shared with everyone else, so that a client that does
 * not read costs little.
 *
 * Invariants: at most one pump runs; beside the batch it is sending, no more than the limit waits; once dropped, nothing
 * is added.
 */
class WatchQueue<T> {
  readonly #stream: ResponseStream;
  readonly #context: ApiContext;
  #waiting: WatchEvent<T>[] = [];
  #pumping = false;
  #dropped = false;

  constructor(stream: ResponseStream, context: ApiContext) {
    this.#stream = stream;
    this.#context = context;
  }

  /** Sends the objects that are there; they do not count against the limit. */
  begin(present: WatchEvent<T>[]): void {
    this.#waiting = present;
    void this.#pump();
  }

  push(event: WatchEvent<T>): void {
    if (this.#dropped || this.#stream.gone.aborted) return;
    this.#waiting.push(event);
    if (this.#pumping && this.#waiting.length > this.#context.limits.maxWaitingChanges) this.#drop();
    else void this.#pump();
  }

  #drop(): void {
    this.#dropped = true;
    this.#waiting = [];
    this.#context.log.warn({}, 'Dropped a watch whose client does not read');
    this.#stream.breakAfter(this.#context.limits.dropGraceMs, this.#context);
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const event of batch) {
        const alive = await this.#stream.write(`${JSON.stringify(event)}\n`);
        if (!alive || this.#dropped) break;
      }
    }
    this.#pumping = false;
    if (!this.#dropped) return;
    const error = new HttpError(
      HTTP_FAILURES.expired,
      'too many changes were waiting to be read: list and watch again',
    );
    const last: WatchEvent<Status> = { type: 'ERROR', object: statusOf(error) };
    void this.#stream.write(`${JSON.stringify(last)}\n`);
    this.#stream.end();
  }
}
