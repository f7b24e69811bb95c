import * as grpc from '@grpc/grpc-js';
import { SENT_AUTHORITY } from './header-rewriter.ts';
import { RpcCode, RpcError } from './rpc-error.ts';
import { methodsOf } from './service.ts';
import type { RequestOf, ResponseOf, ServiceShape, UntypedMethod } from './service.ts';

/** What a handler learns about its call besides the request. */
export interface CallContext {
  /** Aborted when the caller cancels, its deadline passes, its connection ends, or the server is closed by force. */
  readonly signal: AbortSignal;
  /** Name of the connection the call came on, unique in this process on servers made by `listenUnix`; no more than a name. */
  readonly connection: string;
  /** The `:authority` the client had sent, on servers that were asked to keep it; undefined when it sent none. */
  readonly sentAuthority: string | undefined;
  /** The limit the client put on the call, in milliseconds from its arrival; undefined when it put none. */
  readonly timeLimitMs: number | undefined;
}

/**
 * What the author of a service writes: async functions for unary methods, async generators for server streams. A
 * generator is asked for the next message only when the caller has room for it; after the call has ended it is asked
 * to return, so one that waits should wait on `context.signal` too.
 */
export type RpcHandlers<S> = {
  readonly [K in keyof S]: S[K] extends { readonly responseStream: true }
    ? (request: RequestOf<S[K]>, context: CallContext) => AsyncIterable<ResponseOf<S[K]>>
    : (request: RequestOf<S[K]>, context: CallContext) => Promise<ResponseOf<S[K]>> | ResponseOf<S[K]>;
};

/** A service with its handlers, made by {@link bindService}. */
export interface ServiceBinding {
  /** Adds the service to a grpc-js server. */
  addTo(server: grpc.Server): void;
}

type UntypedHandler = (request: unknown, context: CallContext) => unknown;

/** Ties a service to the handlers that serve it, for `listenUnix`. */
export function bindService<S extends ServiceShape>(service: S, handlers: RpcHandlers<S>): ServiceBinding {
  return {
    addTo: (server) => {
      addService(server, service, handlers);
    },
  };
}

/** Adds a service to a grpc-js server. */
export function addService<S extends ServiceShape>(server: grpc.Server, service: S, handlers: RpcHandlers<S>): void {
  const implementation: grpc.UntypedServiceImplementation = {};
  const definition: Record<string, UntypedMethod> = {};
  for (const [name, method] of methodsOf(service)) {
    // Called on `handlers`, so that an object with methods of its own works as well as a literal.
    const handler: UntypedHandler = (request, context) =>
      (handlers as Readonly<Record<string, UntypedHandler>>)[name]?.(request, context);
    definition[name] = method;
    implementation[name] = method.responseStream ? serveStream(handler) : serveUnary(handler);
  }
  server.addService(definition, implementation);
}

function serveUnary(handler: UntypedHandler): grpc.handleUnaryCall<unknown, unknown> {
  return (call, done) => {
    const { signal, settle } = followCall(call);
    const context = contextOf(call, signal);
    const answer = Promise.resolve().then(() => handler(call.request, context));
    answer.then(
      (value) => {
        settle();
        done(null, value);
      },
      (error: unknown) => {
        settle();
        done(statusOf(error));
      },
    );
  };
}

function serveStream(handler: UntypedHandler): grpc.handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const { signal, settle } = followCall(call);
    pump(call, handler, signal).then(
      () => {
        settle();
        call.end();
      },
      (error: unknown) => {
        settle();
        call.emit('error', statusOf(error)); // grpc-js: how a streaming handler sets its status
      },
    );
  };
}

/** Sends what the handler yields, one message at a time, until it is done or the call has ended. */
async function pump(
  call: grpc.ServerWritableStream<unknown, unknown>,
  handler: UntypedHandler,
  signal: AbortSignal,
): Promise<void> {
  const context = contextOf(call, signal);
  const messages = (handler(call.request, context) as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  const ended = new Promise<typeof ENDED>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve(ENDED);
    });
  });
  for (;;) {
    const next = await Promise.race([messages.next(), ended]);
    if (next === ENDED || signal.aborted) break;
    if (next.done === true) return;
    const message: unknown = next.value;
    // The callback comes when the message has been handed to the connection: at most one waits for a slow reader.
    const written = new Promise((resolve) => call.write(message, resolve));
    if ((await Promise.race([written, ended])) === ENDED) break;
  }
  // Not awaited: a generator that ignores the signal may take for ever, and nobody is left to hear of its failure.
  messages.return?.().catch(() => undefined);
}

const ENDED = Symbol('call ended');

function contextOf(
  call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerWritableStream<unknown, unknown>,
  signal: AbortSignal,
): CallContext {
  const deadline = Number(call.getDeadline()); // a Date, or infinity
  const [sentAuthority] = call.metadata.get(SENT_AUTHORITY);
  return {
    signal,
    connection: call.getHost(),
    sentAuthority: sentAuthority?.toString(),
    timeLimitMs: Number.isFinite(deadline) ? deadline - Date.now() : undefined,
  };
}

/** A signal that is aborted when the call ends before it is settled. */
function followCall(call: { once(event: 'cancelled', listener: () => void): unknown; readonly cancelled: boolean }): {
  signal: AbortSignal;
  settle: () => void;
} {
  const controller = new AbortController();
  let settled = false; // grpc-js emits 'cancelled' after every call, completed ones included
  call.once('cancelled', () => {
    if (!settled) controller.abort(new Error('the call has ended'));
  });
  return {
    signal: controller.signal,
    settle: () => {
      settled = true;
    },
  };
}

/** A status from whatever a handler threw. (grpc-go: a plain error is Unknown with the error's text) */
function statusOf(error: unknown): grpc.StatusObject {
  const details = error instanceof RpcError ? error.details : error instanceof Error ? error.message : String(error);
  // A number: plugins may send, and so handlers may pass on, codes that the enumeration does not have.
  const code: number = error instanceof RpcError ? error.code : RpcCode.Unknown;
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- see above
  return { code, details: sendable(details), metadata: new grpc.Metadata() };
}

/** Peers bound the size of header blocks, the C core at 8 KiB: longer texts would cost the whole status. */
const MAX_ENCODED_DETAILS = 6 * 1024;

/** The text as it can travel in a header: well-formed UTF-16 (grpc-js throws on a lone surrogate) and not too long. */
function sendable(details: string): string {
  let text = details.replace(/\p{Surrogate}/gu, '\ufffd');
  if (text.length > MAX_ENCODED_DETAILS) text = `${text.slice(0, MAX_ENCODED_DETAILS)}…`.replace(/\p{Surrogate}/gu, '');
  while (encodeURI(text).length > MAX_ENCODED_DETAILS + 16) {
    text = `${text.slice(0, Math.floor(text.length * 0.8))}…`.replace(/\p{Surrogate}/gu, '');
  }
  return text;
}
