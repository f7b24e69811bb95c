import { randomInt } from 'node:crypto';
import { lstatSync, unlinkSync } from 'node:fs';
import { chmod, lstat, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { DEFAULT_MAX_RECEIVE_BYTES } from './limits.ts';
import { RewrittenSocket } from './rewritten-socket.ts';
import type { ServiceBinding } from './rpc-server.ts';
import { assertSocketPath } from './socket-path.ts';

/** Bounds on what one peer can take. Go's servers have none of them, so they are far above what real ones use. */
const MAX_CONNECTIONS = 1024;
const MAX_CALLS_PER_CONNECTION = 256;
const DEFAULT_GRACE_MS = 1000;

export interface UnixServerOptions {
  /** Where to listen. A socket that lies there already is replaced in one step; any other file is an error. */
  readonly path: string;
  /** What to serve, made by `bindService`. */
  readonly services: readonly ServiceBinding[];
  /** Larger requests are answered with ResourceExhausted. Default: {@link DEFAULT_MAX_RECEIVE_BYTES}. */
  readonly maxReceiveBytes?: number | undefined;
  /** Permission bits of the socket. Default: 0777 less umask, as the kubelet's. */
  readonly mode?: number | undefined;
  /** Tell handlers which `:authority` the client had sent. Default: false. (`CallContext.sentAuthority`) */
  readonly keepSentAuthority?: boolean | undefined;
  /** The listener failed for good after it had been opened: no more connections are accepted. Call `close` as usual. */
  readonly onFailure?: ((error: Error) => void) | undefined;
}

/** A gRPC server on a unix socket. */
export interface UnixServer {
  readonly path: string;
  /** Inode of the socket file; as long as the server listens, no other file of the file system can have it. */
  readonly inode: bigint;
  /**
   * Removes the socket file if it is still this server's, stops accepting, lets running calls end for up to `graceMs`
   * (1 s by default) and then cuts them. Idempotent; resolves when no connection is left.
   */
  close(graceMs?: number): Promise<void>;
}

/**
 * Serves gRPC on a unix socket for clients with whatever `:authority` they send.
 *
 * The socket is bound to a temporary name in the same directory and then renamed: clients see the old listener or the
 * new one, never none, and a socket left over from a crash is no hindrance. Node unlinks the path it was bound to when a
 * listener closes, even if that path meanwhile belongs to another process; here this hits the temporary name alone.
 *
 * @throws SocketPathError when no unix socket can have the path.
 * @throws Error when the directory is missing or not writable, or another kind of file lies in the way.
 */
export async function listenUnix(options: UnixServerOptions): Promise<UnixServer> {
  const { path } = options;
  assertSocketPath(path);
  const grpcServer = new grpc.Server({
    'grpc.max_receive_message_length': options.maxReceiveBytes ?? DEFAULT_MAX_RECEIVE_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': MAX_CALLS_PER_CONNECTION,
    'grpc.enable_channelz': 0,
  });
  for (const service of options.services) service.addTo(grpcServer);
  const injector = grpcServer.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    injector.injectConnection(new RewrittenSocket(socket, options.keepSentAuthority === true));
  });
  listener.maxConnections = MAX_CONNECTIONS;
  try {
    const inode = await bind(listener, path, options.mode);
    listener.on('error', (error) => {
      if (isPassing(error)) return;
      listener.close();
      options.onFailure?.(error);
    });
    return new GrpcUnixServer(path, inode, listener, grpcServer, sockets);
  } catch (cause) {
    grpcServer.forceShutdown();
    throw new Error(`cannot listen on ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/** The system's words without the temporary name: the same failure again is to read the same. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const { path, address = path } = cause as NodeJS.ErrnoException & { address?: string };
  return address === undefined ? cause.message : cause.message.replace(` ${address}`, '').replace(` '${address}'`, '');
}

/** Invariant: the inode is compared while the listener is open, since a free inode number may be given to another file. */
class GrpcUnixServer implements UnixServer {
  readonly path: string;
  readonly inode: bigint;
  readonly #listener: Server;
  readonly #grpcServer: grpc.Server;
  readonly #sockets: ReadonlySet<Socket>;
  #closing: Promise<void> | undefined;

  constructor(path: string, inode: bigint, listener: Server, grpcServer: grpc.Server, sockets: ReadonlySet<Socket>) {
    this.path = path;
    this.inode = inode;
    this.#listener = listener;
    this.#grpcServer = grpcServer;
    this.#sockets = sockets;
  }

  close(graceMs = DEFAULT_GRACE_MS): Promise<void> {
    return (this.#closing ??= this.#close(graceMs));
  }

  async #close(graceMs: number): Promise<void> {
    this.#removeFile();
    // An error in the callback only says that the listener was not open any more.
    const closed = [once((done) => this.#listener.close(done))];
    for (const socket of this.#sockets) closed.push(once((done) => socket.once('close', done)));
    this.#grpcServer.tryShutdown(() => undefined); // tells clients to go, ends each connection after its last call
    const timer = setTimeout(() => {
      // Sockets first: clients then see Unavailable, as from a Go server, and not the Canceled of a reset stream.
      for (const socket of this.#sockets) socket.destroy();
      this.#grpcServer.forceShutdown();
    }, graceMs);
    await Promise.all(closed);
    clearTimeout(timer);
  }

  #removeFile(): void {
    try {
      if (lstatSync(this.path, { bigint: true, throwIfNoEntry: false })?.ino === this.inode) unlinkSync(this.path);
    } catch {
      // The directory may not be writable any more. A socket file without a listener refuses clients all the same.
    }
  }
}

/** Listens on a temporary name, then moves the socket into place. Returns its inode. */
async function bind(listener: Server, path: string, mode: number | undefined): Promise<bigint> {
  const existing = await lstat(path).catch(() => undefined);
  if (existing?.isSocket() === false && !existing.isSymbolicLink())
    throw new Error('a file that is not a socket lies there');
  const temporary = await listenOnTemporaryName(listener, path);
  try {
    if (mode !== undefined) await chmod(temporary, mode);
    const { ino } = await lstat(temporary, { bigint: true });
    await rename(temporary, path);
    return ino;
  } catch (error) {
    listener.close();
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A leading dot keeps it from directory watchers, and it is no longer than the final name if that is any length. */
function temporaryName(path: string): string {
  const characters = Math.min(7, Math.max(2, Buffer.byteLength(basename(path)))) - 1;
  const name = randomInt(36 ** characters)
    .toString(36)
    .padStart(characters, '0');
  return join(dirname(path), `.${name}`);
}

async function listenOnTemporaryName(listener: Server, path: string): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    const temporary = temporaryName(path);
    try {
      await listen(listener, temporary);
      return temporary;
    } catch (error) {
      const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
      if (!isTaken || attempt === 10) throw error;
    }
  }
}

function listen(listener: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ path }, () => {
      listener.off('error', reject);
      resolve();
    });
  });
}

function once(subscribe: (done: () => void) => unknown): Promise<void> {
  return new Promise((resolve) => {
    subscribe(resolve);
  });
}

/** Failures to accept one connection, after which the next may succeed. (Go: net.Error, Temporary) */
function isPassing(error: Error): boolean {
  const passing = ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ECONNABORTED', 'EAGAIN', 'EINTR'];
  return 'code' in error && typeof error.code === 'string' && passing.includes(error.code);
}
