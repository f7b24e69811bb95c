import { request as httpRequest, type IncomingMessage } from 'node:http';
import { DevmgrError, type ErrorCode } from '@devmgr/core';
import { errorOf, isStatus } from './status-map.ts';

/** One request to a manager. */
export interface SocketRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Encoded path with its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Ends the request and what is being read of its answer; both then reject with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** System errors that mean nobody serves the socket, or not for us. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nothing listens on it',
  EACCES: 'permission denied',
  ENOTSOCK: 'it is not a socket',
  ENOTDIR: 'there is no such directory',
  ECONNRESET: 'the connection was closed',
  EPIPE: 'the connection was closed',
};

/**
 * Sends a request over a unix socket, each on a connection of its own. Resolves when the headers of a 2xx answer are
 * there; any other answer rejects with the error its Status stands for, a dead socket with MANAGER_UNREACHABLE.
 */
export async function openResponse(socketPath: string, request: SocketRequest): Promise<IncomingMessage> {
  const response = await send(socketPath, request);
  const { statusCode = 0 } = response;
  if (statusCode >= 200 && statusCode < 300) return response;
  const text = await readText(response, socketPath, request);
  throw failureOf(text, statusCode, request);
}

/** The rest of an answer. Rejects with MANAGER_UNREACHABLE when the connection ends before the answer does. */
export async function readText(response: IncomingMessage, socketPath: string, request: SocketRequest): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readChunks(response, socketPath, request)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** The rest of an answer as it comes; leaving the loop closes the connection. Rejects as {@link readText}. */
export async function* readChunks(
  response: IncomingMessage,
  socketPath: string,
  request: SocketRequest,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of response) yield chunk as Uint8Array;
  } catch (error) {
    request.signal?.throwIfAborted();
    throw unreachable(socketPath, error);
  } finally {
    response.destroy();
  }
}

async function send(socketPath: string, request: SocketRequest): Promise<IncomingMessage> {
  request.signal?.throwIfAborted();
  const body = request.body === undefined ? undefined : JSON.stringify(request.body);
  return await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = httpRequest({
      socketPath,
      method: request.method,
      path: request.path,
      agent: false,
      headers: {
        accept: 'application/json',
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    outgoing.once('response', resolve);
    // Stays for the life of the connection: errors after the answer began reach the reader of the answer too.
    outgoing.on('error', (error) => {
      reject(request.signal?.aborted === true ? abortReason(request.signal) : unreachable(socketPath, error));
    });
    outgoing.end(body);
  });
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error(String(reason));
}

function unreachable(socketPath: string, error: unknown): DevmgrError {
  const systemCode = error instanceof Error && 'code' in error ? String(error.code) : '';
  const why = UNREACHABLE[systemCode] ?? (error instanceof Error ? error.message : String(error));
  const code: ErrorCode = Buffer.byteLength(socketPath) > 107 ? 'PATH_TOO_LONG' : 'MANAGER_UNREACHABLE';
  return new DevmgrError(code, `cannot reach a manager at ${socketPath}: ${why}`, { cause: error });
}

function failureOf(text: string, statusCode: number, { method, path }: SocketRequest): DevmgrError {
  try {
    const body: unknown = JSON.parse(text);
    if (isStatus(body)) return errorOf(body);
  } catch {
    // Not JSON: said below.
  }
  return new DevmgrError('INTERNAL', `${method} ${path}: the answer was HTTP ${String(statusCode)} without a Status`, {
    remedy: 'Is it devmgr that listens on this socket?',
  });
}
