import type { ApiContext, ApiRequest } from './context.ts';
import { ResponseStream, STREAMED } from './response-stream.ts';
import { sleep } from './sleep.ts';

/** How long a source may be silent before the answer is begun; an error that comes earlier becomes a Status with its code. */
const FIRST_ITEM_MS = 1_000;

export interface StreamedSource<T> {
  readonly contentType: string;
  /** Opens the source; it ends when `signal` aborts. */
  readonly open: (signal: AbortSignal) => AsyncIterable<T>;
  readonly encode: (item: T) => string | Uint8Array;
  /** What to send when the source fails after the answer was begun; without it the connection is cut. */
  readonly encodeError?: (error: unknown) => string;
  /** Called once when everything is over; `delivered` when the client got the whole of it. */
  readonly onEnd?: (delivered: boolean) => void;
}

/**
 * Answers with what an async source yields, at the pace of the client. The source is told by its signal when the client
 * leaves. Rejects (so that the client gets a Status) when the source fails before anything was sent.
 */
export async function serveSource<T>(
  request: ApiRequest,
  context: ApiContext,
  source: StreamedSource<T>,
): Promise<Response> {
  const stream = new ResponseStream(request, context);
  if (request.req.method === 'HEAD') {
    stream.begin(source.contentType);
    stream.end();
    return STREAMED;
  }
  const iterator = source.open(stream.gone)[Symbol.asyncIterator]();
  const first = iterator.next();
  const begun = new AbortController();
  const silence = sleep(context.clock, FIRST_ITEM_MS, AbortSignal.any([stream.gone, begun.signal]));
  let early: IteratorResult<T> | undefined;
  try {
    early = await Promise.race([first, silence.then(() => undefined)]);
  } finally {
    begun.abort();
  }
  stream.begin(source.contentType);
  void pump(request, context, stream, source, iterator, early ?? first);
  return STREAMED;
}

async function pump<T>(
  request: ApiRequest,
  context: ApiContext,
  stream: ResponseStream,
  source: StreamedSource<T>,
  iterator: AsyncIterator<T>,
  first: IteratorResult<T> | Promise<IteratorResult<T>>,
): Promise<void> {
  let complete = false;
  try {
    let result = await first;
    while (result.done !== true) {
      if (!(await stream.write(source.encode(result.value)))) break;
      result = await iterator.next();
    }
    complete = result.done === true && !stream.gone.aborted;
    // Not awaited: a source that hangs in its last step must not hold the connection.
    if (!complete) iterator.return?.().catch(() => undefined);
    stream.end();
  } catch (error) {
    if (!stream.gone.aborted) fail(request, context, stream, source, error);
  }
  source.onEnd?.(complete && (await delivered(request)));
}

function fail<T>(
  request: ApiRequest,
  context: ApiContext,
  stream: ResponseStream,
  source: StreamedSource<T>,
  error: unknown,
): void {
  context.log.warn({ err: error, path: request.req.path }, 'A stream to a client ended early');
  if (source.encodeError) {
    void stream.write(source.encodeError(error));
    stream.end();
  } else {
    stream.break();
  }
}

/** Whether the response that was ended also went out. */
async function delivered(request: ApiRequest): Promise<boolean> {
  const { outgoing } = request.env;
  if (!outgoing.writableFinished && !outgoing.closed) {
    await new Promise<void>((resolve) => {
      outgoing.once('finish', resolve);
      outgoing.once('close', resolve);
    });
  }
  return outgoing.writableFinished;
}
