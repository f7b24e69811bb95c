import { DevmgrError, type Release } from '@devmgr/core';
import { DevicePluginClientService, goErrorText, lifecycle, type RpcClient } from '@devmgr/wire';
import type {
  CallLimits,
  Clock,
  Logger,
  PluginHost,
  PluginOptions,
  PluginOrigin,
  PluginSession,
  PreferredAllocationRequest,
} from '../ports.ts';
import { DeviceListDecoder } from './device-list.ts';
import { dial } from './dial.ts';
import { ListPacer } from './list-pacer.ts';
import { pause } from './pause.ts';

/** DevicePlugin, whose lists stay undecoded until it is known that they are wanted, and what plugins may serve beside it. */
const SessionService = {
  ...DevicePluginClientService,
  released: lifecycle.DeviceLifecycleService.released,
  listAndWatch: {
    ...DevicePluginClientService.listAndWatch,
    responseDeserialize: (bytes: Buffer): Uint8Array => bytes,
  },
};
type SessionClient = RpcClient<typeof SessionService>;

export interface SessionOptions {
  readonly resource: string;
  /** Absolute path of the socket that serves DevicePlugin. */
  readonly socketPath: string;
  readonly origin: PluginOrigin;
  readonly dialTimeoutMs: number;
  readonly optionsTimeoutMs: number;
  readonly maxReceiveBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: PluginHost;
  /** Ends the attempt; has no effect once the session is there. */
  readonly signal?: AbortSignal | undefined;
  /** Waits for a turn to dial; counts towards the dial's time limit. The function it resolves to is called when the dial is over. */
  readonly turn?: () => Promise<() => void>;
  /** Asked right before the host is told; when false the connection is closed again and {@link OutdatedError} thrown. */
  readonly accept?: () => boolean;
}

/** While this connection was made, a newer one took its place. */
export class OutdatedError extends Error {
  override readonly name = 'OutdatedError';
}

let lastId = 0;

/**
 * Dials a plugin, reads its options (the plugin sees exactly one call), tells the host, and reads ListAndWatch in the
 * background from then on. Rejects with a `DevmgrError` PLUGIN_FAILED whose message is the kubelet's
 * (`failed to dial device plugin: …`, `failed to get device plugin options: …`); the host has heard nothing and no
 * connection stays open then. (kubelet: device plugin server, Register and connectClient)
 */
export async function openSession(options: SessionOptions): Promise<PluginSession> {
  const { resource, socketPath, host, signal } = options;
  const startedAt = options.clock.monotonicMs();
  let client: SessionClient;
  let leave: (() => void) | undefined;
  try {
    leave = await options.turn?.();
    client = await dial(SessionService, {
      socketPath,
      timeoutMs: Math.max(0, options.dialTimeoutMs - (options.clock.monotonicMs() - startedAt)),
      maxReceiveBytes: options.maxReceiveBytes,
      clock: options.clock,
      signal,
    });
  } catch (error) {
    if (error instanceof OutdatedError) throw error;
    throw failure(`failed to dial device plugin: ${error instanceof Error ? error.message : String(error)}`, error);
  } finally {
    leave?.();
  }
  let session: ConnectedSession;
  try {
    const answer = await client.getDevicePluginOptions({}, callOptions(options.optionsTimeoutMs, signal));
    if (options.accept?.() === false) throw new OutdatedError(`a newer connection to ${socketPath} took over`);
    session = new ConnectedSession(client, options, {
      preStartRequired: answer.preStartRequired,
      preferredAllocationAvailable: answer.getPreferredAllocationAvailable,
      releaseRequired: answer.releaseRequired === true,
    });
  } catch (error) {
    client.close();
    if (error instanceof OutdatedError) throw error;
    throw failure(`failed to get device plugin options: ${goErrorText(error)}`, error);
  }
  options.log.debug({ resource, socketPath, origin: options.origin, session: session.id }, 'Device plugin connected');
  host.pluginConnected(session);
  session.start();
  return session;
}

/**
 * Invariants:
 * - `live` is true from the construction until the first of: the stream's end (with or without an error), a message that
 *   cannot be decoded, `close()`. It never becomes true again and nothing is dialled again.
 * - The host hears `devicesReported` only while `live`, and `pluginEnded` exactly once, last.
 */
class ConnectedSession implements PluginSession {
  readonly id = ++lastId;
  readonly resource: string;
  readonly socketPath: string;
  readonly origin: PluginOrigin;
  readonly options: PluginOptions;
  readonly connectedAt: number;
  readonly #client: SessionClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #host: PluginHost;
  readonly #stop = new AbortController();
  readonly #pacer: ListPacer;
  readonly #lists = new DeviceListDecoder();
  #live = true;

  constructor(client: SessionClient, options: SessionOptions, pluginOptions: PluginOptions) {
    this.resource = options.resource;
    this.socketPath = options.socketPath;
    this.origin = options.origin;
    this.options = pluginOptions;
    this.connectedAt = options.clock.now();
    this.#client = client;
    this.#clock = options.clock;
    this.#log = options.log.child({ resource: options.resource, session: this.id });
    this.#host = options.host;
    this.#pacer = new ListPacer(options.clock, (bytes) => {
      this.#report(bytes);
    });
  }

  get live(): boolean {
    return this.#live;
  }

  start(): void {
    if (this.#live) void this.#readLists();
  }

  async allocate(deviceIds: readonly string[], limits: CallLimits): Promise<Uint8Array> {
    const request = { containerRequests: [{ devicesIds: [...deviceIds] }] };
    const response = await this.#call(limits, (call) => this.#client.allocate(request, call));
    const first = response.containerResponses[0];
    if (first === undefined) {
      // The kubelet adds the response, which Go prints as nothing when it is empty. (measured: 1.37)
      throw failure('no containers return in allocation response ');
    }
    return first;
  }

  async preferredAllocation(request: PreferredAllocationRequest, limits: CallLimits): Promise<readonly string[]> {
    // Real plugins have been seen to crash when asked for what they do not offer.
    if (!this.options.preferredAllocationAvailable) return [];
    const containerRequest = {
      availableDeviceIDs: [...request.available],
      mustIncludeDeviceIDs: [...request.mustInclude],
      allocationSize: request.size,
    };
    const response = await this.#call(limits, (call) =>
      this.#client.getPreferredAllocation({ containerRequests: [containerRequest] }, call),
    );
    return response.containerResponses[0]?.deviceIDs ?? [];
  }

  async preStart(deviceIds: readonly string[], limits: CallLimits): Promise<void> {
    if (!this.options.preStartRequired) return;
    await this.#call(limits, (call) => this.#client.preStartContainer({ devicesIds: [...deviceIds] }, call));
  }

  async released(release: Release, limits: CallLimits): Promise<void> {
    if (!this.options.releaseRequired) return;
    const { id, deviceIds, podNamespace, podName, podUid, attempts } = release;
    const request = { releaseId: id, deviceIds: [...deviceIds], podNamespace, podName, podUid, attempt: attempts };
    await this.#call(limits, (call) => this.#client.released(request, call));
  }

  close(): void {
    if (!this.#live) return;
    this.#pacer.drop();
    this.#disconnect();
    // Later, since the caller is amid a change of its own.
    queueMicrotask(() => {
      this.#tellEnded('closed by the manager');
    });
  }

  async #call<T>(limits: CallLimits, invoke: (call: ReturnType<typeof callOptions>) => Promise<T>): Promise<T> {
    if (!this.#live) throw failure(`endpoint ${this.socketPath} has been stopped`);
    try {
      return await invoke(callOptions(limits.timeoutMs, limits.signal));
    } catch (error) {
      throw failure(goErrorText(error), error);
    }
  }

  async #readLists(): Promise<void> {
    let reason: string;
    try {
      for await (const bytes of this.#client.listAndWatch({}, { signal: this.#stop.signal })) {
        const pauseMs = this.#pacer.offer(bytes);
        if (pauseMs > 0) await pause(this.#clock, pauseMs, this.#stop.signal);
        if (!this.#live) return;
      }
      reason = 'EOF';
    } catch (error) {
      reason = goErrorText(error);
    }
    if (!this.#live) return;
    this.#pacer.flush();
    this.#end(reason);
  }

  #report(bytes: Uint8Array): void {
    if (!this.#live) return;
    let devices;
    try {
      devices = this.#lists.decode(bytes);
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      this.#end(`rpc error: code = Internal desc = grpc: failed to unmarshal the received message: ${cause}`);
      return;
    }
    this.#log.debug({ resourceCapacity: devices.length }, 'State pushed for device plugin');
    this.#host.devicesReported(this, devices);
  }

  /** The plugin's doing, not ours. */
  #end(reason: string): void {
    if (!this.#live) return;
    this.#pacer.drop();
    this.#disconnect();
    this.#log.warn({ err: reason }, 'ListAndWatch ended unexpectedly for device plugin');
    this.#tellEnded(reason);
  }

  #disconnect(): void {
    this.#live = false;
    this.#stop.abort();
    this.#client.close();
  }

  #tellEnded(reason: string): void {
    this.#log.debug({ socketPath: this.socketPath, reason }, 'Device plugin disconnected');
    this.#host.pluginEnded(this, reason);
  }
}

function callOptions(timeoutMs: number, signal: AbortSignal | undefined): { timeoutMs: number; signal?: AbortSignal } {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
}

function failure(message: string, cause?: unknown): DevmgrError {
  return new DevmgrError('PLUGIN_FAILED', message, { cause });
}
