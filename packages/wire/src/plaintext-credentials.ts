import type { Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';

/** How long a connection that was given up may take to end by itself. */
const FAREWELL_MS = 1000;

/**
 * Insecure channel credentials that keep an eye on the connections made under them.
 *
 * - Symptom: a client to a peer that accepts but stays mute (a plugin stopped in a debugger) waits for ever, and its
 *   connection outlives `close()`.
 * - Cause: grpc-js puts no time limit on the HTTP/2 handshake, and forgets a connection whose handshake is under way.
 * - Upstream: grpc-node #2785.
 * - Proof: `unix-probe.test.ts`, the tests about a peer that stays mute.
 * - Can go: when grpc-js limits the handshake and ends it on close.
 */
export class PlaintextCredentials extends grpc.ChannelCredentials {
  readonly #handshakeTimeoutMs: number;
  readonly #sockets = new Set<Socket>();

  constructor(handshakeTimeoutMs: number) {
    super();
    this.#handshakeTimeoutMs = handshakeTimeoutMs;
  }

  /** Ends the connections that the channel, which must have been closed, leaves behind. */
  abandon(): void {
    if (this.#sockets.size === 0) return;
    setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, FAREWELL_MS).unref();
  }

  override _isSecure(): boolean {
    return false;
  }

  override _equals(other: grpc.ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials = grpc.CallCredentials.createEmpty(),
  ): grpc.experimental.SecureConnector {
    return {
      connect: (socket) => {
        this.#follow(socket);
        return Promise.resolve({ socket, secure: false });
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials,
      destroy: () => undefined,
    };
  }

  #follow(socket: Socket): void {
    const timer = setTimeout(() => {
      if (socket.bytesRead === 0) socket.destroy(new Error('no HTTP/2 handshake'));
    }, this.#handshakeTimeoutMs).unref();
    this.#sockets.add(socket);
    socket.once('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
  }
}
