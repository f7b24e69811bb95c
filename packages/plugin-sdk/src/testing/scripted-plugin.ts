import { join } from 'node:path';
import {
  DevicePluginClientService,
  RpcCode,
  RpcError,
  bindService,
  createClient,
  deviceplugin,
  lifecycle,
  encodeContainerAllocateResponse,
  listenUnix,
  pluginregistration,
} from '@devmgr/wire';
import type { CallContext, ServiceBinding, UnixServer } from '@devmgr/wire';
import { containerResponse, env } from '../container-response.ts';
import type { DeviceInput } from '../plugin-device.ts';
import { API_VERSION } from '../register-call.ts';
import { ScriptedStream } from './scripted-stream.ts';
import { leavingSocketFile } from '../socket-file.ts';
import { until } from './until.ts';

type Answer<Request, Response> = (request: Request, context: CallContext) => Response | Promise<Response>;

/** An Allocate answer as a message, or with each container's part as bytes of any kind. */
export type ScriptedAllocateResponse = deviceplugin.AllocateResponse | { readonly containerResponses: Uint8Array[] };

/** How each call is answered. See `hang`, `fail` and `slow` for common ways. */
export interface PluginScript {
  /** Default: neither PreStartContainer nor GetPreferredAllocation. */
  options: Answer<deviceplugin.Empty, deviceplugin.DevicePluginOptions>;
  /** Default: `SCRIPTED_DEVICES` with the ids, comma-separated, for each container. */
  allocate: Answer<deviceplugin.AllocateRequest, ScriptedAllocateResponse>;
  /** Default: the first of the available ones. */
  preferredAllocation: Answer<deviceplugin.PreferredAllocationRequest, deviceplugin.PreferredAllocationResponse>;
  /** Default: agrees. */
  preStart: Answer<deviceplugin.PreStartContainerRequest, deviceplugin.PreStartContainerResponse>;
  /** What devmgr says when devices were given back; asked for with `releaseRequired` in `options`. Default: agrees. */
  released: Answer<lifecycle.ReleasedRequest, lifecycle.ReleasedResponse>;
  /** Throwing ends a ListAndWatch right after it was opened. Default: nothing. */
  streamOpened: (context: CallContext) => void | Promise<void>;
  /** Only with `registry`. Default: type DevicePlugin, the resource, no endpoint, v1beta1. */
  getInfo: Answer<pluginregistration.InfoRequest, pluginregistration.PluginInfo>;
  /** Only with `registry`. Default: agrees. */
  notify: Answer<pluginregistration.RegistrationStatus, pluginregistration.RegistrationStatusResponse>;
}

export interface ScriptedPluginOptions {
  /** Directory of the plugin's socket, and of the `kubelet.sock` that `register` calls. */
  readonly pluginDir: string;
  readonly resource: string;
  /** Name of the socket in `pluginDir`. Default: made from the resource name. */
  readonly endpoint?: string | undefined;
  /** The first list, sent on each new stream until `list` says otherwise. Undefined: streams stay silent until `list`. */
  readonly devices?: readonly DeviceInput[] | undefined;
  readonly script?: Partial<PluginScript> | undefined;
  /** Also serve the registration API of plugins_registry on the socket. Default: false. */
  readonly registry?: boolean | undefined;
}

export interface RecordedCall {
  /** gRPC method name: `Allocate`, `ListAndWatch`, `GetInfo`, … */
  readonly method: string;
  readonly request: unknown;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface RegisterOverrides {
  readonly version?: string;
  readonly endpoint?: string;
  readonly resourceName?: string;
  readonly options?: deviceplugin.DevicePluginOptions | undefined;
  /** Default: `kubelet.sock` in the plugin directory. */
  readonly managerSocket?: string;
  readonly timeoutMs?: number;
}

/** Starts a {@link ScriptedPlugin}: it serves at once and registers only when told to. */
export async function startScriptedPlugin(options: ScriptedPluginOptions): Promise<ScriptedPlugin> {
  const plugin = new ScriptedPlugin(options);
  await plugin.listen();
  return plugin;
}

/**
 * A real plugin server for tests of managers: every answer is scripted and can be changed at any time, every call is
 * recorded, and nothing is checked, so that it can do all that real plugins do wrong.
 */
export class ScriptedPlugin {
  readonly resource: string;
  readonly endpoint: string;
  readonly socketPath: string;
  readonly calls: RecordedCall[] = [];
  readonly #options: ScriptedPluginOptions;
  readonly #script: PluginScript;
  readonly #streams = new Set<ScriptedStream>();
  #list: deviceplugin.ListAndWatchResponse | undefined;
  #server: UnixServer | undefined;

  constructor(options: ScriptedPluginOptions) {
    this.#options = options;
    this.resource = options.resource;
    this.endpoint = options.endpoint ?? `${options.resource.replaceAll(/[^A-Za-z0-9._-]/g, '_')}.sock`;
    this.socketPath = join(options.pluginDir, this.endpoint);
    this.#list = options.devices === undefined ? undefined : toList(options.devices);
    this.#script = { ...defaultScript(options.resource), ...options.script };
  }

  /** ListAndWatch streams open now. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Serves the socket; again after `kill` or `close`. */
  async listen(): Promise<void> {
    this.#server = await listenUnix({ path: this.socketPath, services: this.#services() });
  }

  /** Changes how some calls are answered from now on. */
  script(changes: Partial<PluginScript>): void {
    Object.assign(this.#script, changes);
  }

  /** Calls Register; rejects with the manager's `RpcError`. */
  async register(overrides: RegisterOverrides = {}): Promise<void> {
    const { managerSocket = join(this.#options.pluginDir, 'kubelet.sock'), timeoutMs = 30_000, ...fields } = overrides;
    const client = createClient(deviceplugin.RegistrationService, managerSocket);
    try {
      await client.register(
        {
          version: API_VERSION,
          endpoint: this.endpoint,
          resourceName: this.resource,
          options: undefined,
          ...fields,
        },
        { timeoutMs },
      );
    } finally {
      client.close();
    }
  }

  /** Sends a list on every open stream, changed or not, and on those to come. */
  list(devices: readonly DeviceInput[]): void {
    this.listRaw(toList(devices));
  }

  /** `list` with a message of any content. */
  listRaw(message: deviceplugin.ListAndWatchResponse): void {
    this.#list = message;
    for (const stream of this.#streams) stream.send(message);
  }

  /** Ends all open streams, with OK unless an error is given. */
  endStreams(error?: RpcError): void {
    for (const stream of this.#streams) stream.end(error);
  }

  /** Answers GetDevicePluginOptions with an error from now on; without arguments as before. */
  failOptions(message?: string, code: number = RpcCode.Unknown): void {
    this.script({ options: message === undefined ? defaultScript(this.resource).options : fail(message, code) });
  }

  /** Leaves Allocate unanswered from now on; the returned function answers what waits and restores what was before. */
  hangAllocate(): () => void {
    const before = this.#script.allocate;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.script({
      allocate: async (request, context) => {
        await released;
        return before(request, context);
      },
    });
    return () => {
      this.script({ allocate: before });
      release();
    };
  }

  callsOf(method: string): readonly RecordedCall[] {
    return this.calls.filter((call) => call.method === method);
  }

  /** Resolves once `method` was called `count` times in all. */
  async waitForCalls(method: string, count = 1, timeoutMs?: number): Promise<readonly RecordedCall[]> {
    await until(`${String(count)} × ${method}`, () => this.callsOf(method).length >= count, timeoutMs);
    return this.callsOf(method);
  }

  /** Resolves once so many streams are open. */
  async waitForStreams(count = 1, timeoutMs?: number): Promise<void> {
    await until(`${String(count)} open streams`, () => this.streams === count, timeoutMs);
  }

  /** Ends as a killed process does: connections cut, the socket file left behind. */
  async kill(): Promise<void> {
    await leavingSocketFile(this.socketPath, () => this.close());
  }

  /** Cuts connections and unlinks the socket. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close(0);
    this.endStreams();
  }

  #record(method: string, request: unknown): void {
    this.calls.push({ method, request, at: Date.now() });
  }

  #services(): ServiceBinding[] {
    const plugin = bindService(DevicePluginClientService, {
      getDevicePluginOptions: async (request, context) => {
        this.#record('GetDevicePluginOptions', request);
        return this.#script.options(request, context);
      },
      listAndWatch: (request, context) => this.#listAndWatch(request, context),
      allocate: async (request, context) => {
        this.#record('Allocate', request);
        return { containerResponses: toBytes(await this.#script.allocate(request, context)) };
      },
      getPreferredAllocation: async (request, context) => {
        this.#record('GetPreferredAllocation', request);
        return this.#script.preferredAllocation(request, context);
      },
      preStartContainer: async (request, context) => {
        this.#record('PreStartContainer', request);
        return this.#script.preStart(request, context);
      },
    });
    const released = bindService(lifecycle.DeviceLifecycleService, {
      released: async (request, context) => {
        this.#record('Released', request);
        return this.#script.released(request, context);
      },
    });
    if (this.#options.registry !== true) return [plugin, released];
    const registration = bindService(pluginregistration.RegistrationService, {
      getInfo: async (request, context) => {
        this.#record('GetInfo', request);
        return this.#script.getInfo(request, context);
      },
      notifyRegistrationStatus: async (request, context) => {
        this.#record('NotifyRegistrationStatus', request);
        return this.#script.notify(request, context);
      },
    });
    return [plugin, released, registration];
  }

  async *#listAndWatch(
    request: deviceplugin.Empty,
    context: CallContext,
  ): AsyncGenerator<deviceplugin.ListAndWatchResponse> {
    this.#record('ListAndWatch', request);
    await this.#script.streamOpened(context);
    const stream = new ScriptedStream(context.signal);
    if (this.#list !== undefined) stream.send(this.#list);
    this.#streams.add(stream);
    try {
      yield* stream.messages();
    } finally {
      this.#streams.delete(stream);
    }
  }
}

/** A script for a call that fails with this message (and gRPC status code, UNKNOWN unless given). */
export function fail(message: string, code: number = RpcCode.Unknown): () => never {
  return () => {
    throw new RpcError(code, message);
  };
}

/** A script for a call that is never answered. */
export function hang(): () => Promise<never> {
  return () => new Promise<never>(() => undefined);
}

/** A script for a call that is answered after a while. */
export function slow<Request, Response>(
  delayMs: number,
  answer: Answer<Request, Response>,
): (request: Request, context: CallContext) => Promise<Response> {
  return async (request, context) => {
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    return answer(request, context);
  };
}

function defaultScript(resource: string): PluginScript {
  return {
    options: () => ({ preStartRequired: false, getPreferredAllocationAvailable: false }),
    allocate: ({ containerRequests }) => ({
      containerResponses: containerRequests.map(({ devicesIds }) =>
        containerResponse(env({ SCRIPTED_DEVICES: devicesIds.join(',') })),
      ),
    }),
    preferredAllocation: ({ containerRequests }) => ({
      containerResponses: containerRequests.map(({ availableDeviceIDs, allocationSize }) => ({
        deviceIDs: availableDeviceIDs.slice(0, allocationSize),
      })),
    }),
    preStart: () => ({}),
    released: () => ({}),
    streamOpened: () => undefined,
    getInfo: () => ({ type: 'DevicePlugin', name: resource, endpoint: '', supportedVersions: [API_VERSION] }),
    notify: () => ({}),
  };
}

function toBytes({ containerResponses }: ScriptedAllocateResponse): Uint8Array[] {
  return containerResponses.map((one) => (one instanceof Uint8Array ? one : encodeContainerAllocateResponse(one)));
}

/** Unchecked on purpose: a scripted plugin may list what no plugin should. */
function toList(devices: readonly DeviceInput[]): deviceplugin.ListAndWatchResponse {
  return {
    devices: devices.map((input) => {
      const { id, health = 'Healthy', numaNodes } = typeof input === 'string' ? { id: input } : input;
      const topology = numaNodes === undefined ? undefined : { nodes: numaNodes.map((node) => ({ ID: BigInt(node) })) };
      return { ID: id, health, topology };
    }),
  };
}
