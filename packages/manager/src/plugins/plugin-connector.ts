import { DevmgrError } from '@devmgr/core';
import type { Clock, Logger, PluginHost, PluginOrigin, PluginSession } from '../ports.ts';
import { DialTurns } from './dial-turns.ts';
import { OutdatedError, openSession } from './plugin-session.ts';

export interface ConnectorOptions {
  readonly dialTimeoutMs: number;
  readonly optionsTimeoutMs: number;
  readonly maxReceiveBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: PluginHost;
}

export interface ConnectRequest {
  readonly resource: string;
  readonly socketPath: string;
  readonly origin: PluginOrigin;
  readonly signal?: AbortSignal | undefined;
  /** Called with each list that was passed to the host, and when the session is over. */
  readonly onReported?: () => void;
  readonly onEnded?: () => void;
}

/**
 * Opens sessions for all three ways a plugin can be found and knows those that are open, so that everything can be closed.
 *
 * Invariants:
 * - Of several attempts for the same resource and path that overlap, one that began earlier never takes the place of one
 *   that began later: the host sees sessions of one path in the order of their requests.
 * - After `close` nothing is open and nothing will be opened.
 */
export class PluginConnector {
  readonly #options: ConnectorOptions;
  readonly #attempts = new Map<AbortController, { readonly socketPath: string; readonly opened: Promise<unknown> }>();
  readonly #sessions = new Set<PluginSession>();
  /** The number of the latest request that led to a session, for each resource and path that has one. */
  readonly #connected = new Map<string, { readonly number: number; readonly session: PluginSession }>();
  /** For each path that is being dialled. */
  readonly #turns = new Map<string, DialTurns>();
  #requests = 0;
  #closed = false;

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /**
   * As {@link openSession}. Resolves to undefined when a later request for the same resource and path was faster: the
   * plugin is connected then, just not by this request.
   */
  async connect(request: ConnectRequest): Promise<PluginSession | undefined> {
    if (this.#closed) throw new DevmgrError('PLUGIN_FAILED', 'the manager is stopping');
    const attempt = new AbortController();
    const number = ++this.#requests;
    const opened = this.#open(request, number, anySignal(attempt, request.signal));
    this.#attempts.set(attempt, { socketPath: request.socketPath, opened });
    try {
      return await opened;
    } finally {
      this.#attempts.delete(attempt);
    }
  }

  /** Whether somebody is connected to the path, or about to be; `except` does not count. */
  knows(socketPath: string, except?: PluginSession): boolean {
    for (const attempt of this.#attempts.values()) if (attempt.socketPath === socketPath) return true;
    for (const session of this.#sessions) {
      if (session.socketPath === socketPath && session !== except) return true;
    }
    return false;
  }

  /** Ends every attempt and closes every session; the host has been told of each end when this resolves. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const attempt of this.#attempts.keys()) attempt.abort();
    await Promise.allSettled([...this.#attempts.values()].map(({ opened }) => opened));
    for (const session of [...this.#sessions]) session.close();
    await Promise.resolve();
  }

  async #open(request: ConnectRequest, number: number, scope: AttemptScope): Promise<PluginSession | undefined> {
    const key = `${request.resource}\0${request.socketPath}`;
    const { host } = this.#options;
    const isLatest = (): boolean => (this.#connected.get(key)?.number ?? 0) < number;
    try {
      return await openSession({
        ...this.#options,
        resource: request.resource,
        socketPath: request.socketPath,
        origin: request.origin,
        signal: scope.signal,
        turn: () => this.#turn(request.socketPath, () => !isLatest(), scope.signal),
        accept: () => !this.#closed && isLatest(),
        host: {
          registrationRequested: (resource) => {
            host.registrationRequested(resource);
          },
          pluginConnected: (session) => {
            this.#sessions.add(session);
            this.#connected.set(key, { number, session });
            this.#turns.get(request.socketPath)?.dismissOutdated();
            host.pluginConnected(session);
          },
          devicesReported: (session, devices) => {
            host.devicesReported(session, devices);
            request.onReported?.();
          },
          pluginEnded: (session, reason) => {
            this.#sessions.delete(session);
            if (this.#connected.get(key)?.session === session) this.#connected.delete(key);
            host.pluginEnded(session, reason);
            request.onEnded?.();
          },
        },
      });
    } catch (error) {
      if (error instanceof OutdatedError && !this.#closed) return undefined;
      throw error;
    } finally {
      scope.leave();
    }
  }

  async #turn(socketPath: string, isOutdated: () => boolean, signal: AbortSignal): Promise<() => void> {
    const { clock, dialTimeoutMs: timeoutMs } = this.#options;
    const turns = this.#turns.get(socketPath) ?? new DialTurns();
    this.#turns.set(socketPath, turns);
    const turn = await turns.take({ isOutdated, timeoutMs, clock, signal });
    if (turn.outcome === 'go') {
      return () => {
        turn.leave();
        if (turns.idle) this.#turns.delete(socketPath);
      };
    }
    if (turn.outcome === 'outdated') throw new OutdatedError(`a newer connection to ${socketPath} took over`);
    const cause = turn.outcome === 'aborted' ? 'context canceled' : 'context deadline exceeded';
    throw new Error(`dial unix ${socketPath}: ${cause}: others are dialling it`);
  }
}

interface AttemptScope {
  readonly signal: AbortSignal;
  /** Stops listening to the outer signal, which may live much longer. */
  leave(): void;
}

function anySignal(attempt: AbortController, outer: AbortSignal | undefined): AttemptScope {
  const abort = (): void => {
    attempt.abort(outer?.reason);
  };
  if (outer?.aborted === true) abort();
  outer?.addEventListener('abort', abort, { once: true });
  return {
    signal: attempt.signal,
    leave: () => {
      outer?.removeEventListener('abort', abort);
    },
  };
}
