import type { ApiContext, ApiRequest } from './context.ts';
import { ResponseStream, STREAMED } from './response-stream.ts';
import { sleep } from './sleep.ts';
import { JSON_LINES } from './watch-stream.ts';

/** After a list that took long to write, the pause is this many times longer: a watch may not eat the processor. */
const PAUSE_PER_COST = 9;

/**
 * Answers the watch of something that has no versions: the whole list as one JSON line, and again whenever it differs,
 * but no more often than the limits say. A client that does not read gets the latest list when it reads again; nothing
 * piles up.
 */
export function serveListWatch(
  request: ApiRequest,
  context: ApiContext,
  render: () => string,
  onChange: (listener: () => void) => () => void,
): Response {
  const stream = new ResponseStream(request, context);
  stream.begin(JSON_LINES);
  if (request.req.method === 'HEAD') stream.end();
  else void sendLists(stream, context, render, onChange);
  return STREAMED;
}

async function sendLists(
  stream: ResponseStream,
  context: ApiContext,
  render: () => string,
  onChange: (listener: () => void) => () => void,
): Promise<void> {
  const changes = new ChangeFlag(stream.gone);
  const stop = onChange(() => {
    changes.raise();
  });
  try {
    let last = '';
    for (;;) {
      changes.lower();
      const startedAt = context.clock.monotonicMs();
      const text = render();
      const costMs = context.clock.monotonicMs() - startedAt;
      if (text !== last && !(await stream.write(`${text}\n`))) return;
      last = text;
      const pauseMs = Math.max(context.limits.inventoryWatchIntervalMs, costMs * PAUSE_PER_COST);
      await sleep(context.clock, pauseMs, stream.gone);
      await changes.raised();
      if (stream.gone.aborted) return;
    }
  } catch (error) {
    context.log.error({ err: error }, 'An inventory watch failed');
    stream.break();
  } finally {
    stop();
  }
}

/** Set by changes, waited for by one reader; also released when `gone` aborts. */
class ChangeFlag {
  readonly #gone: AbortSignal;
  #up = false;
  #release: (() => void) | undefined;

  constructor(gone: AbortSignal) {
    this.#gone = gone;
    gone.addEventListener('abort', () => this.#release?.(), { once: true });
  }

  raise(): void {
    this.#up = true;
    this.#release?.();
  }

  lower(): void {
    this.#up = false;
  }

  async raised(): Promise<void> {
    if (this.#up || this.#gone.aborted) return;
    await new Promise<void>((resolve) => {
      this.#release = resolve;
    });
    this.#release = undefined;
  }
}
