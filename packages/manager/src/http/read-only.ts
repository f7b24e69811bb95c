import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { DevmgrError } from '@devmgr/core';
import { HTTP_FAILURES, HttpError } from './status-map.ts';

const LOOPBACK = '127.0.0.1';

/** Where the read-only address listens. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads `HOST:PORT`, `[V6]:PORT`, `:PORT` or `PORT`; without a host it is loopback. CONFIG_INVALID. */
export function parseListenAddress(text: string): ListenAddress {
  const [, bracketed, plain, portText] = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):)?(\d{1,5})$/.exec(text.trim()) ?? [];
  const port = Number(portText);
  if (portText === undefined || port > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    throw new DevmgrError('CONFIG_INVALID', `listen: "${text}" is not an address; use 127.0.0.1:8080 or :8080`);
  }
  return { host: bracketed ?? (plain === undefined || plain === '' ? LOOPBACK : plain), port };
}

/**
 * Why a request may not be served on the read-only address; undefined when it may.
 *
 * A page in a browser can reach a local port through a host name of its own that resolves to 127.0.0.1 (DNS rebinding);
 * its requests then carry that name. So only `localhost`, addresses, and the name listened on are answered.
 */
export function refuseUnlessReading(incoming: IncomingMessage, listen: ListenAddress): HttpError | undefined {
  const method = incoming.method ?? '';
  if (method !== 'GET' && method !== 'HEAD') {
    return new HttpError(
      HTTP_FAILURES.methodNotAllowed,
      `${method} is not possible: this address is read-only; use the unix socket`,
    );
  }
  const host = hostNameOf(incoming.headers.host ?? '');
  if (host === 'localhost' || isIP(host) !== 0 || host === listen.host.toLowerCase()) return undefined;
  return new HttpError(
    HTTP_FAILURES.forbidden,
    `the host "${host}" is not this manager's: use its address or localhost`,
  );
}

/** Host of a Host header, without port and brackets, in lower case. */
function hostNameOf(header: string): string {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? [];
  return (bracketed ?? plain ?? header).toLowerCase();
}
