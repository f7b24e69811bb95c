import { setMaxListeners } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import { DevmgrError } from '@devmgr/core';
import type { Logger } from '../ports.ts';
import { createApp, statusResponse } from './app.ts';
import { DEFAULT_API_LIMITS, type ApiContext, type ApiLimits } from './context.ts';
import { parseListenAddress, refuseUnlessReading } from './read-only.ts';
import { HTTP_FAILURES, HttpError, statusOf } from './status-map.ts';
import { listenPrivately } from './unix-socket.ts';

/** Connections that send no complete request are closed after these times. */
const TIMEOUTS: ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: 5_000,
};
/** How long answers under way may take to go out when the server closes. */
const CLOSE_GRACE_MS = 2_000;
/** At once, on the read-only address; more are turned away. */
const MAX_TCP_CONNECTIONS = 256;

export interface ApiOptions extends Omit<ApiContext, 'limits' | 'closing'> {
  /** Where the private socket goes, mode 0600. */
  readonly socketPath: string;
  /** Also listen read-only here: `HOST:PORT` or `PORT`, on loopback unless a host is named; port 0 picks one. */
  readonly listen?: string;
  readonly limits?: Partial<ApiLimits>;
}

export interface ApiServer {
  readonly socketPath: string;
  /** `http://HOST:PORT` of the read-only address, when there is one. */
  readonly address?: string;
  /** Ends all streams, lets answers go out, closes and removes the socket. Idempotent. */
  close(): Promise<void>;
}

type NodeListener = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** Serves the API. LISTEN_FAILED, MANAGER_ALREADY_RUNNING, PATH_TOO_LONG, CONFIG_INVALID (a `listen` that is no address). */
export async function startApi(options: ApiOptions): Promise<ApiServer> {
  const { socketPath, listen, limits, log } = options;
  const closing = new AbortController();
  // Each stream listens; there may be many.
  setMaxListeners(0, closing.signal);
  const context: ApiContext = { ...options, limits: { ...DEFAULT_API_LIMITS, ...limits }, closing: closing.signal };
  const serve = nodeListener(context);

  const address = listen === undefined ? undefined : parseListenAddress(listen);
  const unixServer = createHttpServer(serve, log, { requireHostHeader: false });
  const socket = await listenPrivately(unixServer, socketPath);
  const servers = [unixServer];
  let url: string | undefined;
  if (address) {
    const readOnly = createHttpServer(
      (incoming, outgoing) => {
        const refusal = refuseUnlessReading(incoming, address);
        if (refusal) refuse(outgoing, refusal);
        else serve(incoming, outgoing);
      },
      log,
      { keepAlive: true },
    );
    readOnly.maxConnections = MAX_TCP_CONNECTIONS;
    try {
      url = await listenTcp(readOnly, address);
    } catch (error) {
      await closeServer(unixServer, context);
      await socket.unlink();
      throw error;
    }
    servers.push(readOnly);
  }

  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    closing.abort();
    await Promise.all(servers.map((server) => closeServer(server, context)));
    await socket.unlink();
  };
  return {
    socketPath,
    ...(url === undefined ? {} : { address: url }),
    close: () => (closed ??= close()),
  };
}

function nodeListener(context: ApiContext): NodeListener {
  const app = createApp(context);
  const listener = getRequestListener((request, env) => app.fetch(request, env), {
    overrideGlobalObjects: false,
    // For requests that name no host, which only the unix socket accepts.
    hostname: 'localhost',
    errorHandler: (error) =>
      statusResponse(new DevmgrError('BAD_REQUEST', error instanceof Error ? error.message : 'bad request')),
  });
  return (incoming, outgoing) => {
    listener(incoming, outgoing).catch((error: unknown) => {
      context.log.error({ err: error }, 'An answer could not be written');
      outgoing.destroy();
    });
  };
}

function createHttpServer(listener: NodeListener, log: Logger, options: ServerOptions): Server {
  const server = createServer({ ...TIMEOUTS, ...options }, listener);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    answerGarbage(error, socket);
  });
  server.on('error', (error) => {
    log.error({ err: error }, 'The API server failed');
  });
  return server;
}

/** Bytes that are not HTTP, headers that are too long, or half a request that never went on. */
function answerGarbage(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = `${JSON.stringify(statusOf(new DevmgrError('BAD_REQUEST', `not an HTTP request: ${error.message}`)))}\n`;
  const head = ['HTTP/1.1 400 Bad Request', 'content-type: application/json', 'connection: close'];
  socket.end([...head, `content-length: ${String(Buffer.byteLength(body))}`, '', body].join('\r\n'), () => {
    socket.destroy();
  });
}

function refuse(outgoing: ServerResponse, refusal: HttpError): void {
  const answer = statusOf(refusal);
  outgoing.writeHead(answer.code, {
    'content-type': 'application/json',
    connection: 'close',
    ...(refusal.failure === HTTP_FAILURES.methodNotAllowed ? { allow: 'GET, HEAD' } : {}),
  });
  outgoing.end(`${JSON.stringify(answer)}\n`);
}

async function listenTcp(server: Server, { host, port }: { host: string; port: number }): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    const failed = (error: Error): void => {
      reject(
        new DevmgrError('LISTEN_FAILED', `cannot listen on ${host}:${String(port)}: ${error.message}`, {
          cause: error,
        }),
      );
    };
    server.once('error', failed);
    server.listen({ host, port }, () => {
      server.off('error', failed);
      resolve();
    });
  });
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `http://${shown}:${String(address.port)}`;
}

/** Stops accepting, waits for answers under way, then cuts what is left. */
async function closeServer(server: Server, context: ApiContext): Promise<void> {
  if (!server.listening) return;
  const cancel = context.clock.setTimeout(() => {
    server.closeAllConnections();
  }, CLOSE_GRACE_MS);
  await new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeIdleConnections();
  });
  cancel();
}
