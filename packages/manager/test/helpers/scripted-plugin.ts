import { basename } from 'node:path';
import {
  RpcError,
  bindService,
  createClient,
  deviceplugin,
  listenUnix,
  pluginregistration,
  type CallContext,
  type UnixServer,
} from '@devmgr/wire';

/** A device as a script names it: an id alone is healthy and without topology. */
export type ScriptedDevice =
  string | { readonly id: string; readonly health?: string; readonly nodes?: readonly (number | bigint)[] };

/** How the plugin behaves. Whatever is left out works and offers nothing special. */
export interface PluginScript {
  readonly preStartRequired?: boolean;
  readonly preferredAllocationAvailable?: boolean;
  /** `'never'` leaves GetDevicePluginOptions unanswered. */
  readonly optionsFailure?: Error | 'never';
  /** Awaited before GetDevicePluginOptions is answered. */
  readonly optionsDelay?: () => Promise<void>;
  /** The first list; without it the stream is silent until `list` is called. */
  readonly devices?: readonly ScriptedDevice[];
  /** Ends every ListAndWatch at once. */
  readonly listFailure?: Error;
  readonly allocate?: (
    request: deviceplugin.AllocateRequest,
    context: CallContext,
  ) => Promise<deviceplugin.AllocateResponse>;
  readonly preferred?: (
    request: deviceplugin.PreferredAllocationRequest,
  ) => Promise<deviceplugin.PreferredAllocationResponse>;
  readonly preStart?: (request: deviceplugin.PreStartContainerRequest) => Promise<void>;
  /** Serves pluginregistration on the same socket when given. */
  readonly info?: Partial<pluginregistration.PluginInfo>;
  /** Awaited before GetInfo is answered. */
  readonly infoDelay?: () => Promise<void>;
  /** Thrown by NotifyRegistrationStatus, after the status was written down. */
  readonly notifyFailure?: Error;
}

export interface RecordedCall {
  readonly method: string;
  readonly request: unknown;
}

interface OpenStream {
  readonly pending: (deviceplugin.ListAndWatchResponse | Error | 'end')[];
  wake: () => void;
}

/** A real device plugin that does what its script says and writes down every call. */
export class ScriptedPlugin {
  readonly socketPath: string;
  readonly calls: RecordedCall[] = [];
  /** What NotifyRegistrationStatus was told. */
  readonly statuses: pluginregistration.RegistrationStatus[] = [];
  readonly #script: PluginScript;
  readonly #streams = new Set<OpenStream>();
  readonly #server: UnixServer;
  #current: deviceplugin.ListAndWatchResponse | undefined;

  private constructor(server: UnixServer, script: PluginScript) {
    this.#server = server;
    this.socketPath = server.path;
    this.#script = script;
    if (script.devices !== undefined) this.#current = toList(script.devices);
  }

  static async start(socketPath: string, script: PluginScript = {}): Promise<ScriptedPlugin> {
    const box: { plugin?: ScriptedPlugin } = {};
    const plugin = (): ScriptedPlugin => {
      if (box.plugin === undefined) throw new Error('called before it was started');
      return box.plugin;
    };
    const services = [
      bindService(deviceplugin.DevicePluginService, {
        getDevicePluginOptions: (request) => plugin().#options(request),
        listAndWatch: (request, context) => plugin().#listAndWatch(request, context),
        allocate: (request, context) => plugin().#allocate(request, context),
        getPreferredAllocation: (request) => plugin().#preferred(request),
        preStartContainer: (request) => plugin().#preStart(request),
      }),
    ];
    if (script.info !== undefined) {
      services.push(
        bindService(pluginregistration.RegistrationService, {
          getInfo: (request) => plugin().#getInfo(request),
          notifyRegistrationStatus: (request) => plugin().#notify(request),
        }),
      );
    }
    // Bound under the final name only once `plugin` can answer: nobody can connect earlier.
    const server = await listenUnix({ path: socketPath, services });
    box.plugin = new ScriptedPlugin(server, script);
    return box.plugin;
  }

  get methods(): readonly string[] {
    return this.calls.map(({ method }) => method);
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** Sends a list on every open stream; streams opened later begin with it. */
  list(devices: readonly ScriptedDevice[]): void {
    this.#current = toList(devices);
    this.#push(this.#current);
  }

  /** Ends every open stream: with OK, or with the error. */
  endStreams(error?: Error): void {
    this.#push(error ?? 'end');
  }

  /** Calls Register at the manager, as this plugin. */
  async register(
    kubeletSocket: string,
    resourceName: string,
    overrides: Partial<deviceplugin.RegisterRequest> = {},
  ): Promise<void> {
    await register(kubeletSocket, { resourceName, endpoint: basename(this.socketPath), ...overrides });
  }

  /** Stops serving at once and cuts every connection. */
  async stop(): Promise<void> {
    await this.#server.close(0);
  }

  #push(message: deviceplugin.ListAndWatchResponse | Error | 'end'): void {
    for (const stream of this.#streams) {
      stream.pending.push(message);
      stream.wake();
    }
  }

  async #options(request: deviceplugin.Empty): Promise<deviceplugin.DevicePluginOptions> {
    this.calls.push({ method: 'GetDevicePluginOptions', request });
    const { optionsFailure, preStartRequired, preferredAllocationAvailable } = this.#script;
    await this.#script.optionsDelay?.();
    if (optionsFailure === 'never') await new Promise(() => undefined);
    if (optionsFailure instanceof Error) throw optionsFailure;
    return {
      preStartRequired: preStartRequired ?? false,
      getPreferredAllocationAvailable: preferredAllocationAvailable ?? false,
    };
  }

  async *#listAndWatch(
    request: deviceplugin.Empty,
    { signal }: CallContext,
  ): AsyncGenerator<deviceplugin.ListAndWatchResponse> {
    this.calls.push({ method: 'ListAndWatch', request });
    if (this.#script.listFailure !== undefined) throw this.#script.listFailure;
    const stream: OpenStream = { pending: this.#current === undefined ? [] : [this.#current], wake: () => undefined };
    this.#streams.add(stream);
    const ended = (): void => {
      this.#streams.delete(stream);
      stream.wake();
    };
    signal.addEventListener('abort', ended, { once: true });
    try {
      while (!signal.aborted) {
        const message = stream.pending.shift();
        if (message === 'end') return;
        if (message instanceof Error) throw message;
        if (message !== undefined) yield message;
        else await new Promise<void>((resolve) => (stream.wake = resolve));
      }
    } finally {
      ended();
    }
  }

  async #allocate(request: deviceplugin.AllocateRequest, context: CallContext): Promise<deviceplugin.AllocateResponse> {
    this.calls.push({ method: 'Allocate', request });
    if (this.#script.allocate !== undefined) return this.#script.allocate(request, context);
    const ids = request.containerRequests.flatMap(({ devicesIds }) => devicesIds);
    return { containerResponses: [containerResponse({ DEVICES: ids.join(',') })] };
  }

  async #preferred(
    request: deviceplugin.PreferredAllocationRequest,
  ): Promise<deviceplugin.PreferredAllocationResponse> {
    this.calls.push({ method: 'GetPreferredAllocation', request });
    if (this.#script.preferred !== undefined) return this.#script.preferred(request);
    throw new RpcError(12, 'not offered');
  }

  async #preStart(request: deviceplugin.PreStartContainerRequest): Promise<deviceplugin.PreStartContainerResponse> {
    this.calls.push({ method: 'PreStartContainer', request });
    await this.#script.preStart?.(request);
    return {};
  }

  async #getInfo(request: pluginregistration.InfoRequest): Promise<pluginregistration.PluginInfo> {
    this.calls.push({ method: 'GetInfo', request });
    await this.#script.infoDelay?.();
    return {
      type: 'DevicePlugin',
      name: 'example.com/r',
      endpoint: '',
      supportedVersions: ['v1beta1'],
      ...this.#script.info,
    };
  }

  #notify(request: pluginregistration.RegistrationStatus): Promise<pluginregistration.RegistrationStatusResponse> {
    this.calls.push({ method: 'NotifyRegistrationStatus', request });
    this.statuses.push(request);
    const { notifyFailure } = this.#script;
    return notifyFailure === undefined ? Promise.resolve({}) : Promise.reject(notifyFailure);
  }
}

/** One Register call on a connection of its own. */
export async function register(
  kubeletSocket: string,
  request: Partial<deviceplugin.RegisterRequest> & Pick<deviceplugin.RegisterRequest, 'resourceName' | 'endpoint'>,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const client = createClient(deviceplugin.RegistrationService, kubeletSocket);
  try {
    await client.waitForReady(options.timeoutMs ?? 30_000);
    await client.register({ version: 'v1beta1', options: undefined, ...request }, { timeoutMs: 30_000, ...options });
  } finally {
    client.close();
  }
}

export function containerResponse(envs: Readonly<Record<string, string>>): deviceplugin.ContainerAllocateResponse {
  return { envs: new Map(Object.entries(envs)), mounts: [], devices: [], annotations: new Map(), cdiDevices: [] };
}

function toList(devices: readonly ScriptedDevice[]): deviceplugin.ListAndWatchResponse {
  return {
    devices: devices.map((device) => {
      const { id, health = 'Healthy', nodes } = typeof device === 'string' ? { id: device } : device;
      const topology = nodes === undefined ? undefined : { nodes: nodes.map((node) => ({ ID: BigInt(node) })) };
      return { ID: id, health, topology };
    }),
  };
}
