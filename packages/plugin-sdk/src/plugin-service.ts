import { RpcCode, RpcError } from '@devmgr/wire';
import type { CallContext, RpcHandlers, deviceplugin } from '@devmgr/wire';
import { containerResponse } from './container-response.ts';
import type { DeviceFeed } from './device-feed.ts';
import { toWireDevice } from './plugin-device.ts';
import { messageOf } from './plugin-log.ts';
import type { PluginLog } from './plugin-log.ts';
import type { PluginBehaviour, PluginMethod, PreferenceRequest } from './plugin-spec.ts';

/** One open ListAndWatch. Numbers grow in the order of opening. */
export interface OpenStream {
  readonly id: number;
  readonly openedAtMs: number;
}

interface ServiceOptions {
  readonly behaviour: PluginBehaviour;
  readonly feed: DeviceFeed;
  readonly log: PluginLog;
  /** Ask managers that know of it to tell when devices are given back. */
  readonly releaseRequired?: boolean | undefined;
  readonly onStreamOpened: (stream: OpenStream) => void;
  readonly onStreamEnded: (stream: OpenStream) => void;
}

/**
 * Answers the calls of the DevicePlugin service.
 *
 * Invariants: each stream carries the list as it was when the stream opened and then every change, newest only, and
 * never the same list twice; a stream ends only when its peer left, `endStreams` was called, or the plugin closes.
 */
export class PluginService {
  readonly #behaviour: PluginBehaviour;
  readonly #feed: DeviceFeed;
  readonly #log: PluginLog;
  readonly #options: ServiceOptions;
  readonly #streams = new Set<OpenStream>();
  #nextStreamId = 1;
  /** Aborted to end every stream there is; replaced right after. */
  #generation = new AbortController();
  #endError: RpcError | undefined;
  readonly handlers: RpcHandlers<deviceplugin.DevicePluginService>;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#behaviour = options.behaviour;
    this.#feed = options.feed;
    this.#log = options.log;
    this.handlers = {
      getDevicePluginOptions: (_request, context) =>
        this.#answer('GetDevicePluginOptions', [], context, () => this.offered()),
      listAndWatch: (_request, context) => this.#listAndWatch(context),
      allocate: (request, context) => this.#allocate(request, context),
      getPreferredAllocation: (request, context) => this.#prefer(request, context),
      preStartContainer: (request, context) => this.#preStart(request, context),
    };
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** The optional calls this plugin takes. */
  offered(): deviceplugin.DevicePluginOptions {
    return {
      preStartRequired: this.#behaviour.preStart !== undefined,
      getPreferredAllocationAvailable: this.#behaviour.preferredAllocation !== undefined,
      ...(this.#options.releaseRequired === true ? { releaseRequired: true } : {}),
    };
  }

  /** Ends the streams there are, with `error` if one is given; new ones are served. */
  endStreams(error?: RpcError): void {
    this.#endError = error;
    const ended = this.#generation;
    this.#generation = new AbortController();
    ended.abort();
  }

  async *#listAndWatch(context: CallContext): AsyncGenerator<deviceplugin.ListAndWatchResponse> {
    const generation = this.#generation.signal;
    const signal = AbortSignal.any([context.signal, generation]);
    const stream = { id: this.#nextStreamId++, openedAtMs: performance.now() };
    this.#streams.add(stream);
    this.#options.onStreamOpened(stream);
    try {
      let sent = 0;
      while (!signal.aborted) {
        const { current, version } = this.#feed;
        if (current !== undefined && version !== sent) {
          sent = version;
          yield { devices: current.map(toWireDevice) };
        } else {
          await this.#feed.changedSince(version, signal);
        }
      }
      if (generation.aborted && this.#endError !== undefined) throw this.#endError;
    } finally {
      this.#streams.delete(stream);
      this.#options.onStreamEnded(stream);
    }
  }

  #allocate(request: deviceplugin.AllocateRequest, context: CallContext): Promise<deviceplugin.AllocateResponse> {
    const all = request.containerRequests.flatMap((container) => container.devicesIds);
    return this.#answer('Allocate', all, context, async (signal) => {
      this.#mustBeListed(all);
      const containerResponses: deviceplugin.ContainerAllocateResponse[] = [];
      for (const { devicesIds } of request.containerRequests) {
        containerResponses.push(containerResponse(await this.#behaviour.allocate?.(devicesIds, { signal })));
      }
      return { containerResponses };
    });
  }

  #prefer(
    request: deviceplugin.PreferredAllocationRequest,
    context: CallContext,
  ): Promise<deviceplugin.PreferredAllocationResponse> {
    const all = request.containerRequests.flatMap((container) => container.availableDeviceIDs);
    return this.#answer('GetPreferredAllocation', all, context, async (signal) => {
      const containerResponses: deviceplugin.ContainerPreferredAllocationResponse[] = [];
      for (const container of request.containerRequests) {
        const wanted: PreferenceRequest = {
          available: container.availableDeviceIDs,
          mustInclude: container.mustIncludeDeviceIDs,
          size: container.allocationSize,
        };
        const preferred = (await this.#behaviour.preferredAllocation?.(wanted, { signal })) ?? [];
        containerResponses.push({ deviceIDs: this.#usable(preferred, wanted) });
      }
      return { containerResponses };
    });
  }

  /** A manager fails the pod when the advice fails, so advice that makes no sense is mended and reported here. */
  #usable(preferred: readonly string[], wanted: PreferenceRequest): string[] {
    const available = new Set(wanted.available);
    const usable = [...new Set(preferred)].filter((id) => available.has(id)).slice(0, wanted.size);
    if (usable.length !== preferred.length) {
      this.#log.warn(
        { resource: this.#behaviour.resource, preferred, size: wanted.size },
        'preferredAllocation named devices that are not available, or too many',
      );
    }
    return usable;
  }

  #preStart(
    request: deviceplugin.PreStartContainerRequest,
    context: CallContext,
  ): Promise<deviceplugin.PreStartContainerResponse> {
    return this.#answer('PreStartContainer', request.devicesIds, context, async (signal) => {
      this.#mustBeListed(request.devicesIds);
      await this.#behaviour.preStart?.(request.devicesIds, { signal });
      return {};
    });
  }

  #mustBeListed(ids: readonly string[]): void {
    const unknown = ids.find((id) => !this.#feed.has(id));
    if (unknown !== undefined) throw new RpcError(RpcCode.NotFound, `no device ${JSON.stringify(unknown)}`);
    if (new Set(ids).size !== ids.length) throw new RpcError(RpcCode.InvalidArgument, 'a device is named twice');
  }

  /** Runs one call; it ends when the manager gave up or the connection is cut, even if the author's code does not. */
  async #answer<T>(
    method: PluginMethod,
    deviceIds: readonly string[],
    context: CallContext,
    answer: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    const { signal } = context;
    let onAbort: () => void = () => undefined;
    const cut = new Promise<never>((_resolve, reject) => {
      onAbort = () => {
        reject(new RpcError(RpcCode.Unavailable, 'the call was given up, or the plugin is closing'));
      };
      signal.addEventListener('abort', onAbort);
    });
    const answered = (async () => {
      await this.#behaviour.intercept?.(method, deviceIds, { signal });
      return answer(signal);
    })();
    try {
      return await Promise.race([answered, cut]);
    } catch (error) {
      answered.catch(() => undefined);
      this.#log.warn({ resource: this.#behaviour.resource, method, deviceIds, cause: messageOf(error) }, 'call failed');
      throw error instanceof RpcError ? error : new RpcError(RpcCode.Unknown, messageOf(error));
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
