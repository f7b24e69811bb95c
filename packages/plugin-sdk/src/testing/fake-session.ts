import { DevicePluginClientService, createClient, decodeContainerAllocateResponse, lifecycle } from '@devmgr/wire';
import type { RpcClient, deviceplugin } from '@devmgr/wire';

/** One connection of a fake manager to a plugin, with everything the plugin sent. */
export interface FakeSession {
  readonly resource: string;
  readonly socketPath: string;
  readonly options: deviceplugin.DevicePluginOptions;
  /** Every ListAndWatch message, in order. */
  readonly lists: readonly (readonly deviceplugin.Device[])[];
  /** The newest of `lists`; empty before the first. */
  readonly devices: readonly deviceplugin.Device[];
  readonly live: boolean;
  /** Why the stream ended: an error, or null for a plain end. Undefined while it lives. */
  readonly endedWith: Error | null | undefined;
  allocate(deviceIds: readonly string[], timeoutMs?: number): Promise<deviceplugin.ContainerAllocateResponse>;
  prefer(available: readonly string[], mustInclude: readonly string[], size: number): Promise<readonly string[]>;
  preStart(deviceIds: readonly string[]): Promise<void>;
  /** Tells the plugin that devices were given back, as devmgr does. */
  released(deviceIds: readonly string[], options?: ReleaseOptions): Promise<void>;
  /** Cuts the stream and the connection. */
  close(): void;
}

export interface ReleaseOptions {
  /** Default: `r1`. */
  readonly releaseId?: string;
  /** `namespace/name` of the pod that had the devices. Default: nobody knows. */
  readonly pod?: string;
  readonly timeoutMs?: number;
}

const CALL_TIMEOUT_MS = 15_000;

/** Dials a plugin as a manager does: reads its options, then holds ListAndWatch. Rejects when it cannot be dialled or asked. */
export async function openSession(resource: string, socketPath: string, signal?: AbortSignal): Promise<FakeSession> {
  const client = createClient(DevicePluginClientService, socketPath);
  try {
    await client.waitForReady(CALL_TIMEOUT_MS, signal);
    const options = await client.getDevicePluginOptions({}, { timeoutMs: CALL_TIMEOUT_MS, signal });
    return new DialledSession(resource, socketPath, options, client);
  } catch (error) {
    client.close();
    throw error;
  }
}

class DialledSession implements FakeSession {
  readonly resource: string;
  readonly socketPath: string;
  readonly options: deviceplugin.DevicePluginOptions;
  readonly lists: (readonly deviceplugin.Device[])[] = [];
  endedWith: Error | null | undefined;
  readonly #client: RpcClient<typeof DevicePluginClientService>;

  constructor(
    resource: string,
    socketPath: string,
    options: deviceplugin.DevicePluginOptions,
    client: RpcClient<typeof DevicePluginClientService>,
  ) {
    this.resource = resource;
    this.socketPath = socketPath;
    this.options = options;
    this.#client = client;
    void this.#follow();
  }

  get devices(): readonly deviceplugin.Device[] {
    return this.lists.at(-1) ?? [];
  }

  get live(): boolean {
    return this.endedWith === undefined;
  }

  async allocate(
    deviceIds: readonly string[],
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<deviceplugin.ContainerAllocateResponse> {
    const request = { containerRequests: [{ devicesIds: [...deviceIds] }] };
    const { containerResponses } = await this.#client.allocate(request, { timeoutMs });
    const [first] = containerResponses;
    if (first === undefined) throw new Error('the plugin answered Allocate without a container');
    return decodeContainerAllocateResponse(first);
  }

  async prefer(available: readonly string[], mustInclude: readonly string[], size: number): Promise<readonly string[]> {
    const container = {
      availableDeviceIDs: [...available],
      mustIncludeDeviceIDs: [...mustInclude],
      allocationSize: size,
    };
    const request = { containerRequests: [container] };
    const response = await this.#client.getPreferredAllocation(request, { timeoutMs: CALL_TIMEOUT_MS });
    return response.containerResponses[0]?.deviceIDs ?? [];
  }

  async preStart(deviceIds: readonly string[]): Promise<void> {
    await this.#client.preStartContainer({ devicesIds: [...deviceIds] }, { timeoutMs: CALL_TIMEOUT_MS });
  }

  async released(deviceIds: readonly string[], options: ReleaseOptions = {}): Promise<void> {
    const { releaseId = 'r1', pod = '', timeoutMs = CALL_TIMEOUT_MS } = options;
    const [podNamespace = '', podName = ''] = pod.split('/');
    const client = createClient(lifecycle.DeviceLifecycleService, this.socketPath);
    try {
      const request = { releaseId, deviceIds: [...deviceIds], podNamespace, podName, podUid: pod, attempt: 1 };
      await client.released(request, { timeoutMs });
    } finally {
      client.close();
    }
  }

  close(): void {
    this.#client.close();
  }

  async #follow(): Promise<void> {
    try {
      for await (const { devices } of this.#client.listAndWatch({})) this.lists.push(devices);
      this.endedWith = null;
    } catch (error) {
      this.endedWith = error instanceof Error ? error : new Error(String(error));
    }
  }
}
