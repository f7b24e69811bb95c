import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { performance } from 'node:perf_hooks';
import { DevmgrError } from '@devmgr/core';
import { KUBELET_ROOT_DIR } from '@devmgr/plugin-sdk/running';
import { RpcError, deviceplugin } from '@devmgr/wire';
import type { DeviceStream } from '../bench/device-stream.ts';
import { dialPlugin, type PluginSession } from '../bench/plugin-session.ts';
import type { PluginLauncher, RunningPlugin } from '../bench/running-plugin.ts';
import { TestManager, type Registration } from '../bench/test-manager.ts';
import { Traffic } from '../bench/traffic.ts';
import { diffOutcomes, diffValues, plain, type Difference, type Outcome } from './difference.ts';
import { RecordedLists, listsOf } from './recorded-lists.ts';
import { answerOf } from './recorded-plugin.ts';
import { describeRequest, methodName } from './request-key.ts';
import { callsOf, type ManagerLine, type RecordedCall, type RecordedEvent, type Recording } from './recording.ts';

const service = deviceplugin.DevicePluginService;
const REGISTER = deviceplugin.RegistrationService.register.path;
const LOOK_EVERY_MS = 10;

export interface ManagerReplayOptions {
  readonly rootDir: string;
  readonly launcher: PluginLauncher;
  /** 2 for twice as fast. */
  readonly speed: number;
  /** The longest wait for anything the plugin did in the recording. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface ManagerReplay {
  /** Registrations, lists and answers that were held against the recording. */
  readonly compared: number;
  readonly differences: readonly Difference[];
}

/**
 * Plays the manager's part of a recording against a plugin: starts and ends it, comes and goes, lists and calls as the
 * manager did, in its order and its time, and compares what the plugin answers. Waits where the plugin takes longer than
 * it did. Ends early when the plugin does.
 *
 * @throws DevmgrError when no plugin is started in the recording, or the signal's reason.
 */
export async function replayManager(recording: Recording, options: ManagerReplayOptions): Promise<ManagerReplay> {
  if (!recording.events.some((event) => event.kind === 'plugin' && event.event === 'start')) {
    throw new DevmgrError('USAGE', `${recording.path}: the recording starts no plugin, it was attached to one`, {
      remedy: 'Record with "devmgr test --record FILE -- PLUGIN".',
    });
  }
  const replay = new Replay(recording, options);
  try {
    await replay.run();
  } catch (error) {
    options.signal.throwIfAborted();
    if (!(error instanceof PluginGone)) throw error;
  } finally {
    await replay.close();
  }
  return replay.result();
}

/** The plugin has ended, so that nothing more can be asked. */
class PluginGone extends Error {}

class Replay {
  readonly #recording: Recording;
  readonly #options: ManagerReplayOptions;
  readonly #traffic = new Traffic();
  readonly #manager: TestManager;
  readonly #lists: RecordedLists;
  /** All recorded outcomes of the same request, since a plugin need not answer alike each time. */
  readonly #outcomes = new Map<string, RecordedCall[]>();
  readonly #sessions = new Map<string, PluginSession>();
  readonly #streams = new Map<number, DeviceStream>();
  readonly #running = new Set<Promise<void>>();
  readonly #differences = new Map<string, Difference>();
  readonly #claimed = new Set<Registration>();
  /** The registration of each resource that was expected last, of the present instance and manager. */
  readonly #registered = new Map<string, Registration>();
  #plugin: RunningPlugin | undefined;
  #stopping = false;
  #startedMs = 0;
  /** Whether the present instance is to end by itself. */
  #crashes = false;
  #compared = 0;

  constructor(recording: Recording, options: ManagerReplayOptions) {
    this.#recording = recording;
    this.#options = options;
    this.#lists = new RecordedLists(recording);
    const { rootDir } = options;
    this.#manager = new TestManager({
      pluginDir: join(rootDir, 'device-plugins'),
      registryDir: join(rootDir, 'plugins_registry'),
      toOurPath: (path) => (path.startsWith(`${KUBELET_ROOT_DIR}/`) ? path.replace(KUBELET_ROOT_DIR, rootDir) : path),
      timeoutMs: options.timeoutMs,
      traffic: this.#traffic,
    });
    for (const call of callsOf(recording)) {
      if (call.from !== 'manager') continue;
      const key = keyOf(call);
      this.#outcomes.set(key, [...(this.#outcomes.get(key) ?? []), call]);
    }
  }

  async run(): Promise<void> {
    const { events } = this.#recording;
    const { speed, signal } = this.#options;
    const startedMs = performance.now();
    let lateMs = 0;
    for (const [index, event] of events.entries()) {
      const dueMs = startedMs + event.atMs / speed + lateMs;
      const restMs = dueMs - performance.now();
      if (restMs > 0) await delay(restMs, undefined, { signal });
      signal.throwIfAborted();
      if (event.kind === 'plugin' && event.event === 'start') this.#crashes = crashFollows(events.slice(index + 1));
      await this.#play(event);
      // What had to be waited for moves all that follows.
      lateMs = Math.max(lateMs, performance.now() - startedMs - event.atMs / speed);
    }
    await Promise.all(this.#running);
    this.#lookForStrangers();
  }

  result(): ManagerReplay {
    return { compared: this.#compared, differences: [...this.#differences.values()] };
  }

  async close(): Promise<void> {
    this.#stopping = true;
    await this.#plugin?.kill();
    await this.#manager.close();
    await Promise.allSettled(this.#running);
  }

  async #play(event: RecordedEvent): Promise<void> {
    switch (event.kind) {
      case 'plugin':
        if (event.event === 'start') this.#start();
        else if (event.event === 'stop') {
          this.#assertAlive();
          await this.#stop();
        } else await this.#expectCrash(event.how ?? '');
        return;
      case 'manager':
        await this.#playManager(event);
        return;
      case 'close':
        this.#sessions.get(event.connection)?.close();
        this.#sessions.delete(event.connection);
        return;
      case 'call':
        if (event.call.method === REGISTER) await this.#expectRegistration(event.call);
        else if (event.call.from === 'manager' && event.call.resource !== undefined) await this.#call(event.call);
        return;
      case 'end':
        await this.#endStream(event.call);
    }
  }

  #start(): void {
    this.#stopping = false;
    this.#startedMs = this.#traffic.nowMs();
    this.#registered.clear();
    this.#plugin = this.#options.launcher.launch(this.#options.rootDir);
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    await this.#plugin?.kill();
  }

  async #expectCrash(how: string): Promise<void> {
    const what = 'the plugin';
    this.#compared += 1;
    if (!(await this.#until(() => this.#plugin?.end !== undefined))) {
      this.#differ({ what, recorded: `ended by itself (${how})`, now: 'lives on' });
    }
    await this.#stop();
  }

  async #playManager({ event, clean, leavesSocket }: ManagerLine): Promise<void> {
    switch (event) {
      case 'start':
        this.#registered.clear();
        await this.#manager.listen({ clean: clean !== false });
        return;
      case 'socket-anew':
        this.#registered.clear();
        await this.#manager.recreateSocket();
        return;
      case 'end':
        await this.#manager.close({ leaveSocket: leavesSocket === true });
        return;
      case 'directory-replaced':
        await this.#manager.replaceDirectory();
    }
  }

  /** The plugin has to register as it did, or is missed. */
  async #expectRegistration(call: RecordedCall): Promise<void> {
    const recorded = deviceplugin.RegisterRequest.decode(call.messages[0]?.bytes ?? Buffer.alloc(0));
    const what = `${recorded.resourceName}: Register`;
    let found: Registration | undefined;
    const came = await this.#until(() => {
      found = this.#manager.current.find((one) => one.resource === recorded.resourceName && !this.#claimed.has(one));
      return found !== undefined;
    });
    this.#compared += 1;
    if (!came || found === undefined) {
      this.#differ({ what, recorded: 'came', now: 'did not come' });
      return;
    }
    this.#claimed.add(found);
    this.#registered.set(recorded.resourceName, found);
    const { version, options } = recorded;
    for (const one of diffValues(
      what,
      plain({ version, options }),
      plain({ version: found.version, options: found.options }),
    ))
      this.#differ(one);
  }

  /** The session that stands for a recorded connection: of a registration, or one the manager opened by itself. */
  async #sessionFor(call: RecordedCall): Promise<PluginSession | undefined> {
    const known = this.#sessions.get(call.connection);
    if (known !== undefined) return known;
    const taken = new Set(this.#sessions.values());
    let registration: Registration | undefined;
    const there = await this.#until(() => {
      registration = this.#registered.get(call.resource ?? '') ?? this.#found(call.resource);
      return registration?.session !== undefined || registration?.refused !== undefined;
    });
    if (!there || registration?.session === undefined) return undefined;
    let { session } = registration;
    if (taken.has(session)) {
      session = await dialPlugin({
        resource: registration.resource,
        socketPath: registration.socketPath,
        timeoutMs: this.#options.timeoutMs,
        traffic: this.#traffic,
      });
    }
    this.#sessions.set(call.connection, session);
    return session;
  }

  /** A plugin of plugins_registry does not call Register: the manager finds it. */
  #found(resource: string | undefined): Registration | undefined {
    return this.#manager.current.findLast(
      (one) => one.way === 'registry' && one.resource === resource && one.atMs >= this.#startedMs,
    );
  }

  async #call(call: RecordedCall): Promise<void> {
    const isNew = !this.#sessions.has(call.connection);
    // A recorded call that failed to reach the plugin needs none now either.
    const session = await this.#sessionFor(call).catch((error: unknown) => {
      this.#options.signal.throwIfAborted();
      if (error instanceof PluginGone) throw error;
      return undefined;
    });
    if (session === undefined) {
      if (answerOf(call) !== undefined) {
        this.#compared += 1;
        this.#differ({ what: nameOf(call), recorded: 'an answer', now: 'no connection to the plugin' });
      }
      return;
    }
    if (call.method === service.listAndWatch.path) {
      const isFirst = ![...this.#streams.values()].includes(session.stream);
      const stream = isFirst ? session.stream : session.openStream();
      this.#streams.set(call.number, stream);
      this.#follow(this.#compareList(call, stream));
    } else if (call.method === service.getDevicePluginOptions.path && isNew) {
      this.#compareAnswer(call, { answer: plain(session.options) });
    } else if (call.end?.by === 'plugin') {
      this.#follow(this.#ask(call, session));
    }
  }

  async #ask(call: RecordedCall, session: PluginSession): Promise<void> {
    try {
      this.#compareAnswer(call, { answer: plain(await repeatCall(call, session)) });
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (!this.#stopping) this.#compareAnswer(call, { error: error.message });
    }
  }

  /** An answer is the same when it is one of those the same request ever got. */
  #compareAnswer(call: RecordedCall, now: Outcome): void {
    this.#compared += 1;
    const outcomes = (this.#outcomes.get(keyOf(call)) ?? []).filter(({ end }) => end?.by === 'plugin');
    let first: readonly Difference[] | undefined;
    for (const outcome of [call, ...outcomes]) {
      const differences = diffOutcomes(nameOf(call), recordedOutcome(outcome), now);
      if (differences.length === 0) return;
      first ??= differences;
    }
    for (const difference of first ?? []) this.#differ(difference);
  }

  async #compareList(call: RecordedCall, stream: DeviceStream): Promise<void> {
    if (listsOf(call).length === 0) return;
    const { resource = '' } = call;
    const came = await this.#until(() => stream.latest !== undefined || !stream.live || this.#stopping);
    if (this.#stopping || stream.cut) return;
    this.#compared += 1;
    const [first] = stream.lists;
    if (!came || first === undefined) {
      const now = stream.ended?.error?.message ?? (stream.live ? 'none in time' : 'the stream ended without one');
      this.#differ({ what: `${resource}: the first list`, recorded: 'came', now });
    } else for (const difference of this.#lists.compare(resource, first.devices)) this.#differ(difference);
  }

  /** A stream that the manager ended ends now; one that the plugin ended has to end. */
  async #endStream(call: RecordedCall): Promise<void> {
    const stream = this.#streams.get(call.number);
    if (stream === undefined || call.end === undefined) return;
    const what = `${call.resource ?? ''}: ListAndWatch`;
    if (call.end.by === 'manager') {
      if (!stream.live && !stream.cut && !this.#stopping)
        this.#differ({ what, recorded: 'stayed open', now: `ended: ${stream.ended?.error?.message ?? 'with OK'}` });
      stream.close();
      return;
    }
    if (this.#stopping || !this.#manager.listening) return; // it ended with the plugin or the manager
    this.#compared += 1;
    if (!(await this.#until(() => !stream.live)))
      this.#differ({ what, recorded: `ended: ${call.end.text || 'with OK'}`, now: 'stays open' });
  }

  /** Resources that are not in the recording. */
  #lookForStrangers(): void {
    const known = new Set(
      this.#recording.events.flatMap((event) => (event.kind === 'call' ? [resourceOf(event.call)] : [])),
    );
    for (const { resource } of this.#manager.registrations) {
      if (!known.has(resource)) this.#differ({ what: `${resource}: Register`, recorded: 'never came', now: 'came' });
    }
  }

  #differ(difference: Difference): void {
    this.#differences.set(JSON.stringify(difference), difference);
  }

  /** Lets something go on beside the rest; the end of the plugin ends it without a word. */
  #follow(work: Promise<void>): void {
    const running = work
      .catch((error: unknown) => {
        if (!(error instanceof PluginGone)) throw error;
      })
      .finally(() => this.#running.delete(running));
    running.catch(() => undefined); // awaited at the end
    this.#running.add(running);
  }

  #assertAlive(): void {
    const end = this.#plugin?.end;
    if (end === undefined || this.#stopping || this.#crashes) return;
    const log = this.#plugin?.log.last(5).join(' | ') ?? '';
    this.#differ({ what: 'the plugin', recorded: 'lived on', now: `ended by itself (${end.how}): ${log}` });
    throw new PluginGone();
  }

  /** True once the condition holds, false after the time limit. Rejects with PluginGone when the plugin ends meanwhile. */
  async #until(condition: () => boolean): Promise<boolean> {
    const deadline = performance.now() + this.#options.timeoutMs;
    for (;;) {
      if (condition()) return true;
      this.#assertAlive();
      if (performance.now() > deadline) return false;
      await delay(LOOK_EVERY_MS, undefined, { signal: this.#options.signal });
    }
  }
}

/** Whether the next thing that happens to an instance is that it ends by itself. */
function crashFollows(events: readonly RecordedEvent[]): boolean {
  const next = events.find((event) => event.kind === 'plugin');
  return next?.kind === 'plugin' && next.event === 'crash';
}

/** Makes a recorded call once more. Rejects with an RpcError. */
function repeatCall(call: RecordedCall, session: PluginSession): Promise<unknown> {
  const bytes = call.messages[0]?.bytes ?? Buffer.alloc(0);
  switch (call.method) {
    case service.allocate.path: {
      const { containerRequests } = service.allocate.requestDeserialize(bytes);
      return session.allocate(...containerRequests.map(({ devicesIds }) => devicesIds));
    }
    case service.getPreferredAllocation.path: {
      const [one] = service.getPreferredAllocation.requestDeserialize(bytes).containerRequests;
      return session.prefer(one?.availableDeviceIDs ?? [], one?.mustIncludeDeviceIDs ?? [], one?.allocationSize ?? 0);
    }
    case service.preStartContainer.path:
      return session.preStart(service.preStartContainer.requestDeserialize(bytes).devicesIds).then(() => ({}));
    default:
      return session.readOptions();
  }
}

function recordedOutcome(call: RecordedCall): Outcome {
  const reply = answerOf(call);
  if (reply === undefined) return { error: new RpcError(call.end?.code ?? 0, call.end?.text ?? '').message };
  const method = Object.values(service).find(({ path }) => path === call.method);
  return { answer: plain(method?.responseDeserialize(reply)) };
}

function keyOf(call: RecordedCall): string {
  return `${call.method} ${call.resource ?? ''} ${describeRequest(call.method, call.messages[0]?.bytes ?? Buffer.alloc(0))}`;
}

function nameOf(call: RecordedCall): string {
  const asked = describeRequest(call.method, call.messages[0]?.bytes ?? Buffer.alloc(0));
  return `${call.resource ?? ''}: ${methodName(call.method)}${asked === '' ? '' : ` of ${asked}`}`;
}

function resourceOf(call: RecordedCall): string | undefined {
  if (call.method !== REGISTER) return call.resource;
  return deviceplugin.RegisterRequest.decode(call.messages[0]?.bytes ?? Buffer.alloc(0)).resourceName;
}
