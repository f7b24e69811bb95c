import * as grpc from '@grpc/grpc-js';
import { DEFAULT_MAX_RECEIVE_BYTES } from './limits.ts';
import { PlaintextCredentials } from './plaintext-credentials.ts';
import { RpcCode, RpcError } from './rpc-error.ts';
import { methodsOf } from './service.ts';
import type { RequestOf, ResponseOf, ServiceShape, UntypedMethod } from './service.ts';
import { assertSocketPath } from './socket-path.ts';

/** Limits of one call. */
export interface CallOptions {
  /** Aborting it ends the call with Canceled; the peer's handler is told. */
  readonly signal?: AbortSignal | undefined;
  /** After this time the call ends with DeadlineExceeded. Unlimited by default, so give one to every unary call. */
  readonly timeoutMs?: number | undefined;
}

export interface ClientOptions {
  /** Larger messages end the call with ResourceExhausted. Default: {@link DEFAULT_MAX_RECEIVE_BYTES}. */
  readonly maxReceiveBytes?: number | undefined;
  /** A peer that has not said anything by then loses its connection; calls fail with Unavailable. Default: 20 s, as in Go. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** What is sent as `:authority`. Default: `localhost`, as the kubelet does. */
  readonly authority?: string | undefined;
}

/**
 * A generated service seen from the client's side: promises for unary methods, async iterables for server streams.
 * Every failure is an {@link RpcError}. A stream is opened when its iteration starts, and ends when it is left.
 */
export type RpcClient<S> = {
  readonly [K in keyof S]: S[K] extends { readonly responseStream: true }
    ? (request: RequestOf<S[K]>, options?: CallOptions) => AsyncIterable<ResponseOf<S[K]>>
    : (request: RequestOf<S[K]>, options?: CallOptions) => Promise<ResponseOf<S[K]>>;
} & RpcConnection;

/** The part of an {@link RpcClient} that is the same for every service. */
export interface RpcConnection {
  /**
   * Resolves once the peer has completed the HTTP/2 handshake. Rejects with DeadlineExceeded after `timeoutMs`, with
   * Canceled when the signal is aborted or the client closed. A socket that is missing or refuses is tried again until
   * the time is up; callers who want to fail at once ask `probeUnix` first.
   */
  waitForReady(timeoutMs: number, signal?: AbortSignal): Promise<void>;
  /** Ends all calls and streams with Canceled and closes the connection; idempotent. */
  close(): void;
}

/** (grpc-go: minConnectTimeout) */
const HANDSHAKE_TIMEOUT_MS = 20_000;
const CLOSING = 'grpc: the client connection is closing';

/**
 * A client for the service behind a unix socket. It connects when it is first used.
 *
 * @throws SocketPathError when no unix socket can have the path.
 */
export function createClient<S extends ServiceShape>(
  service: S,
  socketPath: string,
  options: ClientOptions = {},
): RpcClient<S> {
  assertSocketPath(socketPath);
  const connection = new Connection(socketPath, options);
  const methods = methodsOf(service).map(([name, method]) => [
    name,
    method.responseStream
      ? (request: unknown, callOptions?: CallOptions) => connection.stream(method, request, callOptions)
      : (request: unknown, callOptions?: CallOptions) => connection.unary(method, request, callOptions),
  ]);
  return {
    ...Object.fromEntries(methods),
    waitForReady: (timeoutMs: number, signal?: AbortSignal) => connection.waitForReady(timeoutMs, signal),
    close: () => {
      connection.close();
    },
  } as RpcClient<S>;
}

/**
 * Invariants: every open call is in `#calls` until its status arrived, and none is opened after `close`; every stream
 * has an error listener for as long as it lives, since an 'error' event without one ends the process.
 */
class Connection implements RpcConnection {
  readonly #client: grpc.Client;
  readonly #credentials: PlaintextCredentials;
  readonly #socketPath: string;
  readonly #calls = new Set<{ cancel(): void }>();
  #closed = false;

  constructor(socketPath: string, options: ClientOptions) {
    this.#socketPath = socketPath;
    this.#credentials = new PlaintextCredentials(options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS);
    // A leading `//` would be read as a URI authority.
    this.#client = new grpc.Client(`unix:${socketPath.replace(/^\/+/, '/')}`, this.#credentials, {
      // Without a pool of its own, a client to a plugin that came back would inherit the back-off of its predecessor's
      // failed connections: up to two minutes (grpc-node: global subchannel pool).
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      // The retry buffer keeps the messages of long streams (grpc-node #2371); a plugin call must not be repeated anyway.
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.max_receive_message_length': options.maxReceiveBytes ?? DEFAULT_MAX_RECEIVE_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc.enable_channelz': 0,
      ...(options.authority === undefined ? {} : { 'grpc.default_authority': options.authority }),
    });
  }

  unary(method: UntypedMethod, request: unknown, options: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      this.#assertUsable(signal);
      const cancel = (): void => {
        call.cancel();
      };
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new grpc.Metadata(),
        deadlineOf(options),
        (error, value) => {
          signal?.removeEventListener('abort', cancel);
          this.#calls.delete(call);
          if (error === null) resolve(value);
          else reject(this.#failure(error, signal));
        },
      );
      this.#calls.add(call);
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  async *stream(method: UntypedMethod, request: unknown, options: CallOptions = {}): AsyncGenerator {
    const { signal } = options;
    this.#assertUsable(signal);
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new grpc.Metadata(),
      deadlineOf(options),
    );
    const cancel = (): void => {
      call.cancel();
    };
    call.on('error', () => undefined); // thrown by the iteration below; the one after leaving it is of no interest
    call.once('status', () => this.#calls.delete(call));
    this.#calls.add(call);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      // The iterator reads only when asked, and grpc-js grants the peer more flow-control window only when it is read.
      yield* call;
    } catch (error) {
      throw this.#failure(error, signal);
    } finally {
      signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  async waitForReady(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { READY } = grpc.connectivityState;
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      this.#assertUsable(signal);
      const state = this.#client.getChannel().getConnectivityState(true);
      if (state === READY) return;
      const left = deadline - Date.now();
      if (left <= 0) {
        const limit = `${String(timeoutMs)} ms`;
        throw new RpcError(RpcCode.DeadlineExceeded, `no gRPC connection to ${this.#socketPath} within ${limit}`);
      }
      // In slices, since a watch cannot be taken back: it and its timer would outlive an abort by the whole time limit.
      await this.#stateChange(state, Math.min(left, 100), signal);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const call of this.#calls) call.cancel(); // closing a grpc-js client leaves its open streams running
    this.#client.close();
    this.#credentials.abandon();
  }

  #stateChange(state: grpc.connectivityState, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal?.removeEventListener('abort', done);
        resolve();
      };
      signal?.addEventListener('abort', done, { once: true });
      this.#client.getChannel().watchConnectivityState(state, Date.now() + timeoutMs, done);
    });
  }

  #assertUsable(signal: AbortSignal | undefined): void {
    if (this.#closed) throw new RpcError(RpcCode.Canceled, CLOSING);
    if (signal?.aborted === true) throw new RpcError(RpcCode.Canceled, 'context canceled', { cause: signal.reason });
  }

  /** The call's status as an {@link RpcError}; what this side caused itself in the words Go has for it. */
  #failure(error: unknown, signal: AbortSignal | undefined): RpcError {
    if (!isServiceError(error)) {
      return new RpcError(RpcCode.Internal, error instanceof Error ? error.message : String(error), { cause: error });
    }
    const code: number = error.code;
    let { details } = error;
    if (code === RpcCode.Canceled && this.#closed) details = CLOSING;
    else if (code === RpcCode.Canceled && signal?.aborted === true) details = 'context canceled';
    else if (code === RpcCode.DeadlineExceeded && /^Deadline exceeded(?: after|$)/.test(details)) {
      // grpc-js' own text, ours with where the time went or a peer's that noticed first; operators look for Go's.
      details = 'context deadline exceeded';
    }
    if (code === RpcCode.Internal && details.includes('Call ended without gRPC status')) {
      // The peer closed its connection in good order while the call was running, as a server that stops does.
      return new RpcError(RpcCode.Unavailable, 'error reading from server: EOF', { cause: error });
    }
    return new RpcError(code, details, { cause: error });
  }
}

function deadlineOf({ timeoutMs }: CallOptions): grpc.CallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}
