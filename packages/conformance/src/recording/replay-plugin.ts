import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DevmgrError } from '@devmgr/core';
import { KUBELET_ROOT_DIR } from '@devmgr/plugin-sdk/running';
import {
  RpcCode,
  RpcError,
  bindService,
  createClient,
  deviceplugin,
  listenUnix,
  pluginregistration,
} from '@devmgr/wire';
import type { CallContext, MethodShape, ServiceBinding, ServiceShape, UnixServer } from '@devmgr/wire';
import {
  RecordedPlugin,
  answerOf,
  type RecordedRegistration,
  type RecordedStay,
  type RecordedStream,
} from './recorded-plugin.ts';
import type { Recording } from './recording.ts';

/** A new kubelet.sock is noticed within this time. */
const LOOK_EVERY_MS = 50;
/** Of Register, as in the reference plugin; a recorded limit is kept. */
const REGISTER_LIMIT_MS = 10_000;

export interface ReplayOptions {
  /** What stands for /var/lib/kubelet: the directory of the manager. */
  readonly rootDir: string;
  /** 2 for twice as fast. */
  readonly speed: number;
  /** A line for people. */
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** How a replay ended: told to, or as the recorded plugin did. */
export type ReplayEnd = { readonly by: 'signal' } | { readonly by: 'recording'; readonly how: string };

/**
 * Plays the plugin's part of a recording against whatever manager serves the directory, until the signal aborts or the
 * recorded plugin ended by itself. Beside the nth manager it meets it does what the plugin did beside the nth of the
 * recording; beside later ones what it did beside the last.
 *
 * @throws DevmgrError when the recording holds no plugin.
 */
export async function replayPlugin(recording: Recording, options: ReplayOptions): Promise<ReplayEnd> {
  const plugin = new RecordedPlugin(recording);
  if (plugin.registry.length === 0 && plugin.stays.every(({ registrations }) => registrations.length === 0)) {
    throw new DevmgrError('USAGE', `${recording.path}: no plugin registers in this recording`, {
      remedy: 'Record a run in which the plugin reaches the manager.',
    });
  }
  const replay = new Replay(plugin, options);
  try {
    return await replay.run();
  } finally {
    await replay.close();
  }
}

class Replay {
  readonly #plugin: RecordedPlugin;
  readonly #options: ReplayOptions;
  readonly #servers = new Map<string, UnixServer>();
  /** How many streams of a resource were opened beside the present manager. */
  readonly #opened = new Map<string, number>();
  /** Aborted when the next manager comes. */
  #left = new AbortController();
  #stay: RecordedStay | undefined;
  #met = 0;

  constructor(plugin: RecordedPlugin, options: ReplayOptions) {
    this.#plugin = plugin;
    this.#options = options;
  }

  async run(): Promise<ReplayEnd> {
    const { signal, rootDir } = this.#options;
    const kubeletSocket = join(rootDir, 'device-plugins', 'kubelet.sock');
    let known: string | undefined;
    let crash: string | undefined;
    await this.#serveRegistry();
    try {
      for (;;) {
        const identity = await identityOf(kubeletSocket);
        if (identity !== undefined && identity !== known) {
          this.#left.abort();
          this.#left = new AbortController();
          this.#live(this.#left.signal, (how) => (crash = how));
        }
        known = identity;
        await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
        if (crash !== undefined) return { by: 'recording', how: crash };
        if (signal.aborted) return { by: 'signal' };
      }
    } finally {
      this.#left.abort();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#servers.values()].map((server) => server.close(0)));
  }

  /** Does beside the manager that has just come what was done beside its counterpart. */
  #live(left: AbortSignal, crash: (how: string) => void): void {
    const stay = this.#plugin.stays[Math.min(this.#met, this.#plugin.stays.length - 1)];
    this.#met += 1;
    this.#opened.clear();
    this.#stay = stay;
    for (const registration of stay?.registrations ?? []) void this.#register(registration, left);
    const end = stay?.crash;
    if (end !== undefined) {
      void this.#pause(end.afterMs, left).then(() => {
        if (!left.aborted) crash(end.how);
      });
    }
  }

  async #register({ afterMs, call, request, reachable }: RecordedRegistration, left: AbortSignal): Promise<void> {
    const { rootDir, log } = this.#options;
    const dir = join(rootDir, 'device-plugins');
    await this.#pause(afterMs, left);
    if (left.aborted) return;
    try {
      if (reachable) await this.#serve(join(dir, request.endpoint), [this.#pluginService(request.endpoint)]);
      const authority = call.authority ?? undefined;
      const client = createClient(raw(deviceplugin.RegistrationService), join(dir, 'kubelet.sock'), { authority });
      try {
        const timeoutMs = call.timeLimitMs ?? REGISTER_LIMIT_MS;
        await client.register(call.messages[0]?.bytes ?? Buffer.alloc(0), { timeoutMs, signal: left });
        log(`registered ${request.resourceName}`);
      } finally {
        client.close();
      }
    } catch (error) {
      log(`${request.resourceName}: not registered: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Sockets that are found rather than registered are there from the start. */
  async #serveRegistry(): Promise<void> {
    const { rootDir, log } = this.#options;
    for (const { socket, info } of this.#plugin.registry) {
      const endpoint = info.endpoint.startsWith(`${KUBELET_ROOT_DIR}/`)
        ? info.endpoint.replace(KUBELET_ROOT_DIR, rootDir)
        : info.endpoint;
      const registration = bindService(pluginregistration.RegistrationService, {
        getInfo: () => ({ ...info, endpoint }),
        notifyRegistrationStatus: ({ pluginRegistered, error }) => {
          log(pluginRegistered ? `registered ${info.name}` : `${info.name}: not registered: ${error}`);
          return {};
        },
      });
      const service = this.#serviceOf(() => [info.name]);
      const path = join(rootDir, 'plugins_registry', socket);
      if (endpoint === '') await this.#serve(path, [registration, service]);
      else {
        await this.#serve(path, [registration]);
        await this.#serve(endpoint, [service]);
      }
    }
  }

  /** Serves a socket, anew when its file is not ours any more. */
  async #serve(path: string, services: readonly ServiceBinding[]): Promise<void> {
    const before = this.#servers.get(path);
    const file = await stat(path, { bigint: true }).catch(() => undefined);
    if (before !== undefined && before.inode === file?.ino) return;
    await before?.close(0);
    this.#servers.set(path, await listenUnix({ path, services }));
  }

  #pluginService(endpoint: string): ServiceBinding {
    return this.#serviceOf(() => {
      const all = this.#plugin.stays.flatMap(({ registrations }) => registrations);
      const here = all.filter(({ request }) => request.endpoint === endpoint);
      return [...new Set(here.map(({ request }) => request.resourceName))];
    });
  }

  #serviceOf(resources: () => readonly string[]): ServiceBinding {
    const { getDevicePluginOptions, getPreferredAllocation, allocate, preStartContainer } =
      deviceplugin.DevicePluginService;
    const answer =
      (method: MethodShape) =>
      (request: Buffer, context: CallContext): Promise<Buffer> =>
        this.#answer(method.path, resources(), request, context);
    return bindService(raw(deviceplugin.DevicePluginService), {
      getDevicePluginOptions: answer(getDevicePluginOptions),
      listAndWatch: (_request: Buffer, context: CallContext) => this.#lists(resources(), context),
      getPreferredAllocation: answer(getPreferredAllocation),
      allocate: answer(allocate),
      preStartContainer: answer(preStartContainer),
    });
  }

  async #answer(
    method: string,
    resources: readonly string[],
    request: Buffer,
    { signal }: CallContext,
  ): Promise<Buffer> {
    const answer = this.#plugin.answer(method, resources, request);
    if (!answer.found) {
      this.#options.log(answer.text);
      throw new RpcError(RpcCode.FailedPrecondition, answer.text);
    }
    const { call } = answer;
    if (call.end?.by !== 'plugin') return ended(signal); // it was never answered
    await this.#pause(call.end.atMs - call.atMs, signal);
    const reply = answerOf(call);
    if (reply !== undefined) return reply;
    throw new RpcError(call.end.code, call.end.text);
  }

  /**
   * The nth stream beside this manager as the nth of the recording, later ones as the last. An end that followed from
   * what happened to the recorded manager follows here from the coming of the next one.
   */
  async *#lists(resources: readonly string[], { signal }: CallContext): AsyncGenerator<Buffer> {
    const stream = resources.map((resource) => this.#nextStream(resource)).find((one) => one !== undefined);
    if (stream === undefined) return ended(signal);
    const { call, untilMs } = stream;
    const left = this.#left.signal;
    let nowMs = call.atMs;
    for (const { atMs, from, bytes } of call.messages) {
      if (from !== 'plugin' || atMs > untilMs) continue;
      await this.#pause(atMs - nowMs, signal);
      if (signal.aborted) return;
      nowMs = atMs;
      yield bytes;
    }
    if (call.end?.by !== 'plugin') return ended(signal);
    if (call.end.atMs <= untilMs) await this.#pause(call.end.atMs - nowMs, signal);
    else await ended(AbortSignal.any([signal, left])).catch(() => undefined);
    if (call.end.code !== RpcCode.OK) throw new RpcError(call.end.code, call.end.text);
  }

  #nextStream(resource: string): RecordedStream | undefined {
    const number = this.#opened.get(resource) ?? 0;
    this.#opened.set(resource, number + 1);
    const here = this.#stay?.streams.get(resource) ?? [];
    const elsewhere = this.#plugin.stays.findLast(({ streams }) => streams.has(resource))?.streams.get(resource);
    return here[number] ?? here.at(-1) ?? elsewhere?.at(-1);
  }

  /** Waits for a recorded time at the speed of the replay, until this signal or that of the whole aborts. */
  async #pause(recordedMs: number, signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#options.signal]);
    await delay(Math.max(0, recordedMs) / this.#options.speed, undefined, { signal: either }).catch(() => undefined);
  }
}

/** A service whose messages are left as the bytes they travel as. */
function raw<S extends ServiceShape>(service: S): RawService<S> {
  const same = (bytes: Buffer): Buffer => bytes;
  const coding = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => [name, { ...method, ...coding }]),
  ) as unknown as RawService<S>;
}

type RawService<S extends ServiceShape> = {
  readonly [K in keyof S]: MethodShape & {
    readonly responseStream: S[K]['responseStream'];
    readonly requestDeserialize: (bytes: Buffer) => Buffer;
    readonly responseDeserialize: (bytes: Buffer) => Buffer;
  };
};

/** Never resolves; rejects when the call is over. */
function ended(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const over = (): void => {
      reject(new RpcError(RpcCode.Canceled, 'context canceled'));
    };
    if (signal.aborted) over();
    else signal.addEventListener('abort', over, { once: true });
  });
}

/** Tells one manager's socket from the next at the same path; undefined when there is none. */
async function identityOf(path: string): Promise<string | undefined> {
  const file = await stat(path, { bigint: true }).catch(() => undefined);
  return file?.isSocket() === true ? `${String(file.dev)}:${String(file.ino)}:${String(file.mtimeNs)}` : undefined;
}
