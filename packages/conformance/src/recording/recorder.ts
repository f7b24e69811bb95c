import { closeSync, openSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { performance } from 'node:perf_hooks';
import { DevmgrError } from '@devmgr/core';
import { RpcCode, RpcError } from '@devmgr/wire';
import type { CallContext, MethodShape, RpcClient, ServiceShape } from '@devmgr/wire';
import { plain } from './difference.ts';
import { RECORDING_FORMAT, type CallLine, type Party, type RecordedLine, type RecordingHeader } from './recording.ts';

/** Messages larger than this are not written for people too. */
const SHOWN_UP_TO_BYTES = 64 * 1024;

/** Where calls to a plugin go. */
export interface CalledPlugin {
  readonly connection: string;
  readonly socketPath: string;
  /** Undefined where it is not known yet. */
  readonly resource?: string | undefined;
}

/**
 * Writes all that passes between a manager and a plugin to a file, a line each as it happens: nothing is kept in memory,
 * and what happened before a crash is on the disk. Only its owner can read the file, since messages hold whatever the
 * plugin hands to containers.
 */
export class Recorder {
  readonly #path: string;
  readonly #startedAtMs = performance.now();
  readonly #bytesOf = new WeakMap<object, Buffer>();
  #file: number | undefined;
  #calls = 0;

  /** Replaces the file. Throws DevmgrError when it cannot be written. */
  constructor(path: string, command: readonly string[]) {
    this.#path = path;
    try {
      this.#file = openSync(path, 'w', 0o600);
    } catch (error) {
      throw unwritable(path, error);
    }
    const header: RecordingHeader = {
      kind: 'recording',
      format: RECORDING_FORMAT,
      startedAt: new Date().toISOString(),
      command,
    };
    this.#write(header);
  }

  /** Writes a line with its time. After `close` it does nothing. Throws DevmgrError when the disk is full. */
  note(line: RecordedLine): void {
    this.#write({ at: Math.round((performance.now() - this.#startedAtMs) * 1000) / 1000, ...line });
  }

  /** Remembers how a message that was received looked on the wire: what decodes it may not know all of its fields. */
  received(message: unknown, bytes: Buffer): void {
    if (typeof message === 'object' && message !== null) this.#bytesOf.set(message, Buffer.from(bytes));
  }

  /** A client whose calls are written down. */
  client<S extends ServiceShape>(service: S, client: RpcClient<S>, to: CalledPlugin): RpcClient<S> {
    const calls = Object.entries(service).map(([name, method]) => {
      const call = (client as Readonly<Record<string, (...args: unknown[]) => unknown>>)[name]?.bind(client);
      const recorded = (request: unknown, options: unknown): unknown => {
        const { connection, resource } = to;
        const socket = basename(to.socketPath);
        const about = { from: 'manager', method: method.path, connection, socket, resource } as const;
        const note = this.#begin(about, method, request);
        const outcome = call?.(request, options);
        return method.responseStream
          ? note.stream(outcome as AsyncIterable<unknown>)
          : note.answer(outcome as Promise<unknown>);
      };
      return [name, recorded];
    });
    return { ...client, ...Object.fromEntries(calls) } as RpcClient<S>;
  }

  /** Answers a plugin's call and writes down both. */
  served<T>(
    method: MethodShape,
    at: { readonly connection: string; readonly socketPath: string },
    request: unknown,
    context: CallContext,
    answer: () => Promise<T>,
  ): Promise<T> {
    const note = this.#begin(
      {
        from: 'plugin',
        method: method.path,
        connection: at.connection,
        socket: basename(at.socketPath),
        authority: context.sentAuthority ?? null,
        timeLimitMs: context.timeLimitMs,
      },
      method,
      request,
    );
    return note.answer(answer());
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #begin(
    { from, method, connection, socket, resource, authority, timeLimitMs }: Omit<CallLine, 'kind' | 'call'>,
    shape: MethodShape,
    request: unknown,
  ): CallNote {
    this.#calls += 1;
    const call = this.#calls;
    this.note({
      kind: 'call',
      call,
      from,
      method,
      connection,
      socket,
      ...(resource === undefined ? {} : { resource }),
      ...(authority === undefined ? {} : { authority }),
      ...(timeLimitMs === undefined ? {} : { timeLimitMs: Math.round(timeLimitMs) }),
    });
    const message = (sender: Party, value: unknown, encode: (value: never) => Buffer): void => {
      const known = typeof value === 'object' && value !== null ? this.#bytesOf.get(value) : undefined;
      const bytes = known ?? encode(value as never);
      const shown = bytes.length > SHOWN_UP_TO_BYTES ? {} : { shown: plain(value) };
      this.note({ kind: 'message', call, from: sender, bytes: bytes.toString('base64'), ...shown });
    };
    message(from, request, shape.requestSerialize);
    const callee = from === 'manager' ? 'plugin' : 'manager';
    return new CallNote(
      (value) => {
        message(callee, value, shape.responseSerialize);
      },
      (error) => {
        const failure = error === undefined ? undefined : asRpcError(error);
        const byCaller = failure?.code === RpcCode.Canceled || failure?.code === RpcCode.DeadlineExceeded;
        this.note({
          kind: 'end',
          call,
          by: byCaller ? from : callee,
          code: failure?.code ?? RpcCode.OK,
          text: failure?.details ?? '',
        });
      },
    );
  }

  #write(value: unknown): void {
    if (this.#file === undefined) return;
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      this.close();
      throw unwritable(this.#path, error);
    }
  }
}

/** What follows the beginning of a call. */
class CallNote {
  readonly #message: (value: unknown) => void;
  readonly #end: (error: unknown) => void;

  constructor(message: (value: unknown) => void, end: (error: unknown) => void) {
    this.#message = message;
    this.#end = end;
  }

  async answer<T>(outcome: Promise<T>): Promise<T> {
    let value: T;
    try {
      value = await outcome;
    } catch (error) {
      this.#end(error);
      throw error;
    }
    this.#message(value);
    this.#end(undefined);
    return value;
  }

  async *stream(outcome: AsyncIterable<unknown>): AsyncGenerator {
    let end: unknown = new RpcError(RpcCode.Canceled, 'context canceled'); // when the iteration is left
    try {
      for await (const value of outcome) {
        this.#message(value);
        yield value;
      }
      end = undefined;
    } catch (error) {
      end = error;
      throw error;
    } finally {
      this.#end(end);
    }
  }
}

/** As gRPC passes it on: what is not a status is Unknown with its text. */
function asRpcError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  return new RpcError(RpcCode.Unknown, error instanceof Error ? error.message : String(error));
}

function unwritable(path: string, error: unknown): DevmgrError {
  const why = error instanceof Error ? error.message : String(error);
  return new DevmgrError('USAGE', `the recording ${path} cannot be written: ${why}`, {
    cause: error,
    remedy: 'Name a file that can be written, on a disk with room for it.',
  });
}
