import { MAX_SOCKET_PATH_BYTES, createClient, probeUnix, type RpcClient, type ServiceShape } from '@devmgr/wire';
import type { Clock } from '../ports.ts';
import { pause } from './pause.ts';

/** How long an endpoint's file may be absent before the dial gives up. Some plugins rename their socket into place. */
const MISSING_GRACE_MS = 1_000;
const RETRY_MS = 100;
/** A probe that meets silence is given up after this time and made anew, doubled, since the socket may have been replaced. */
const FIRST_PROBE_MS = 1_000;

export interface DialOptions {
  readonly socketPath: string;
  readonly timeoutMs: number;
  readonly maxReceiveBytes: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to a plugin's socket and resolves once an HTTP/2 server answered there. A socket that refuses or stays mute is
 * tried again until `timeoutMs` is over, since plugins announce themselves before they serve; a path where there is no
 * socket at all fails after a second, since no plugin creates its socket that late and its own deadline may be short.
 *
 * Rejects with an Error whose message is a cause to put behind `failed to dial …: `. Nothing stays open then.
 */
export async function dial<S extends ServiceShape>(service: S, options: DialOptions): Promise<RpcClient<S>> {
  const { socketPath, timeoutMs, clock, signal } = options;
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new Error(
      `dial unix ${socketPath}: the path is longer than the ${String(MAX_SOCKET_PATH_BYTES)} bytes a unix socket may have`,
    );
  }
  const deadline = clock.monotonicMs() + timeoutMs;
  const remainingMs = (): number => Math.max(0, deadline - clock.monotonicMs());
  let missingSince: number | undefined;
  let probeMs = FIRST_PROBE_MS;
  for (;;) {
    // The probe comes first because a client on a mute socket would wait, and keep the socket, for ever.
    // (grpc-js: no connect timeout, https://github.com/grpc/grpc-node/issues/2785)
    const found = await probeUnix(socketPath, Math.max(1, Math.min(probeMs, remainingMs())));
    throwIfAborted(signal);
    if (found === 'grpc') {
      const client = createClient(service, socketPath, { maxReceiveBytes: options.maxReceiveBytes });
      try {
        await client.waitForReady(Math.max(1, remainingMs()), signal);
        throwIfAborted(signal);
        return client;
      } catch (error) {
        client.close();
        throwIfAborted(signal);
        if (remainingMs() === 0)
          throw new Error(`dial unix ${socketPath}: context deadline exceeded`, { cause: error });
      }
    }
    const now = clock.monotonicMs();
    if (found === 'missing' || found === 'not-a-socket') {
      missingSince ??= now;
      if (now - missingSince >= MISSING_GRACE_MS) throw new Error(`dial unix ${socketPath}: ${CAUSES[found]}`);
    } else {
      missingSince = undefined;
      if (found === 'mute') probeMs *= 2;
    }
    if (remainingMs() === 0) {
      throw new Error(`dial unix ${socketPath}: ${CAUSES[found]}: context deadline exceeded`);
    }
    await pause(clock, Math.min(RETRY_MS, remainingMs()), signal);
    throwIfAborted(signal);
  }
}

const CAUSES = {
  grpc: 'the connection broke',
  mute: 'it accepts connections and then says nothing',
  refused: 'connect: connection refused',
  missing: 'connect: no such file or directory',
  'not-a-socket': 'connect: not a socket',
} as const;

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new Error('context canceled', { cause: signal.reason });
}
