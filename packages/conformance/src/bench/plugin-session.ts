import { createClient, deviceplugin } from '@devmgr/wire';
import type { RpcClient } from '@devmgr/wire';
import { DeviceStream } from './device-stream.ts';
import type { Traffic } from './traffic.ts';

type DevicePlugin = RpcClient<typeof deviceplugin.DevicePluginService>;

/** How long a kubelet waits for a plugin to be dialled. (kubelet: device plugin client) */
export const DIAL_LIMIT_MS = 10_000;

export interface SessionTarget {
  readonly resource: string;
  readonly socketPath: string;
  /** Limit of each call, in milliseconds. */
  readonly timeoutMs: number;
  readonly traffic: Traffic;
}

/** One connection of the suite to a plugin, as a kubelet's: options read once, then a ListAndWatch held open. */
export class PluginSession {
  readonly resource: string;
  readonly socketPath: string;
  readonly options: deviceplugin.DevicePluginOptions;
  /** The first ListAndWatch, opened right after the options were read. */
  readonly stream: DeviceStream;
  readonly #client: DevicePlugin;
  readonly #target: SessionTarget;
  readonly #channel: string;
  #closed = false;

  /** Use {@link dialPlugin}. */
  constructor(target: SessionTarget, client: DevicePlugin, options: deviceplugin.DevicePluginOptions, channel: string) {
    this.resource = target.resource;
    this.socketPath = target.socketPath;
    this.options = options;
    this.#target = target;
    this.#client = client;
    this.#channel = channel;
    this.stream = this.openStream();
  }

  /** What the plugin listed last; empty before the first list. */
  get devices(): readonly deviceplugin.Device[] {
    return this.stream.latest?.devices ?? [];
  }

  get healthyIds(): readonly string[] {
    return [...new Set(this.devices.filter(({ health }) => health === 'Healthy').map(({ ID }) => ID))];
  }

  /** One more ListAndWatch on this connection. */
  openStream(): DeviceStream {
    const { traffic } = this.#target;
    const sizeOf = (): number =>
      traffic.messages.findLast(
        ({ channel, from, method }) =>
          channel === this.#channel &&
          from === 'plugin' &&
          method === deviceplugin.DevicePluginService.listAndWatch.path,
      )?.bytes.length ?? 0;
    return new DeviceStream(this.#client, () => traffic.nowMs(), sizeOf);
  }

  readOptions(): Promise<deviceplugin.DevicePluginOptions> {
    return this.#client.getDevicePluginOptions({}, { timeoutMs: this.#target.timeoutMs });
  }

  /** Allocate with one container request for each list of ids. Rejects with an RpcError. */
  allocate(...containers: readonly (readonly string[])[]): Promise<deviceplugin.AllocateResponse> {
    const containerRequests = containers.map((ids) => ({ devicesIds: [...ids] }));
    return this.#client.allocate({ containerRequests }, { timeoutMs: this.#target.timeoutMs });
  }

  /** GetPreferredAllocation for one container. Rejects with an RpcError. */
  prefer(
    available: readonly string[],
    mustInclude: readonly string[],
    size: number,
  ): Promise<deviceplugin.PreferredAllocationResponse> {
    const container = {
      availableDeviceIDs: [...available],
      mustIncludeDeviceIDs: [...mustInclude],
      allocationSize: size,
    };
    return this.#client.getPreferredAllocation(
      { containerRequests: [container] },
      { timeoutMs: this.#target.timeoutMs },
    );
  }

  /** PreStartContainer with the kubelet's limit of 30 seconds, or the bench's when that is shorter. Rejects with an RpcError. */
  async preStart(ids: readonly string[]): Promise<void> {
    const timeoutMs = Math.min(30_000, this.#target.timeoutMs);
    await this.#client.preStartContainer({ devicesIds: [...ids] }, { timeoutMs });
  }

  /** Cancels the stream and closes the connection, as a manager that ends. */
  close(): void {
    if (!this.#closed) this.#target.traffic.recorder?.note({ kind: 'close', connection: this.#channel });
    this.#closed = true;
    this.stream.close();
    this.#client.close();
  }
}

/** Dials a plugin and reads its options, within a kubelet's limits. Rejects with an RpcError and leaves nothing open. */
export async function dialPlugin(target: SessionTarget): Promise<PluginSession> {
  const channel = target.traffic.channel('session');
  const service = target.traffic.noting(deviceplugin.DevicePluginService, channel, 'plugin');
  const plain = createClient(service, target.socketPath);
  const { resource, socketPath } = target;
  const { recorder } = target.traffic;
  const client = recorder?.client(service, plain, { connection: channel, socketPath, resource }) ?? plain;
  try {
    await client.waitForReady(DIAL_LIMIT_MS).catch((error: unknown) => {
      throw new Error(`failed to dial device plugin: ${textOf(error)}`, { cause: error });
    });
    const options = await client.getDevicePluginOptions({}, { timeoutMs: target.timeoutMs }).catch((error: unknown) => {
      throw new Error(`failed to get device plugin options: ${textOf(error)}`, { cause: error });
    });
    return new PluginSession(target, client, options, channel);
  } catch (error) {
    client.close();
    throw error;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
