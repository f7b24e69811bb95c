import { RpcCode, deviceplugin, pluginregistration } from '@devmgr/wire';
import { describeRequest, methodName } from './request-key.ts';
import { callsOf, type RecordedCall, type RecordedEvent, type Recording } from './recording.ts';

const REGISTER = deviceplugin.RegistrationService.register.path;
const { getDevicePluginOptions, listAndWatch } = deviceplugin.DevicePluginService;
const { getInfo } = pluginregistration.RegistrationService;

/** One Register as it was recorded. */
export interface RecordedRegistration {
  /** From the start of the manager or of the plugin, whichever was later. */
  readonly afterMs: number;
  readonly call: RecordedCall;
  readonly request: deviceplugin.RegisterRequest;
  /** Whether the manager reached the plugin's socket from within the call. */
  readonly reachable: boolean;
}

/** One ListAndWatch as it was recorded. */
export interface RecordedStream {
  readonly call: RecordedCall;
  /** When something happened to the manager or the plugin was ended: what comes later is a consequence, not a habit. */
  readonly untilMs: number;
}

/** What the plugin did beside one manager. */
export interface RecordedStay {
  readonly registrations: readonly RecordedRegistration[];
  /** By resource, in the order of their opening. */
  readonly streams: ReadonlyMap<string, readonly RecordedStream[]>;
  /** When and how it ended by itself beside this manager, from its start on. */
  readonly crash: { readonly afterMs: number; readonly how: string } | undefined;
}

/** What a request found in the recording. */
export type RecordedAnswer =
  { readonly found: true; readonly call: RecordedCall } | { readonly found: false; readonly text: string };

/** The plugin's half of a recording: its first instance beside each manager in turn, and every answer it ever gave. */
export class RecordedPlugin {
  /** In the order of time. */
  readonly stays: readonly RecordedStay[];
  /** Sockets in plugins_registry, with their GetInfo. */
  readonly registry: readonly { readonly socket: string; readonly info: pluginregistration.PluginInfo }[];
  /** Calls of methods that answer once, by what was asked; those of a key are used in turn, the last of them again and again. */
  readonly #answers = new Map<string, { readonly calls: RecordedCall[]; next: number }>();
  readonly #requests = new Map<string, Set<string>>();

  constructor(recording: Recording) {
    this.stays = staysOf(firstInstance(recording.events));
    const info = new Map<string, pluginregistration.PluginInfo>();
    for (const call of callsOf(recording)) {
      const reply = answerOf(call);
      if (call.method === getInfo.path && reply !== undefined)
        info.set(call.socket, getInfo.responseDeserialize(reply));
      if (call.from === 'manager' && call.resource !== undefined && call.method !== listAndWatch.path) this.#keep(call);
    }
    this.registry = [...info].map(([socket, one]) => ({ socket, info: one }));
  }

  /** The answer to a request to one of these resources. */
  answer(method: string, resources: readonly string[], request: Buffer): RecordedAnswer {
    const asked = describeRequest(method, request);
    for (const resource of resources) {
      const entry = this.#answers.get(key(method, resource, asked));
      const call = entry?.calls[Math.min(entry.next, entry.calls.length - 1)];
      if (entry === undefined || call === undefined) continue;
      entry.next += 1;
      return { found: true, call };
    }
    const known = resources.flatMap((resource) => [...(this.#requests.get(key(method, resource, '')) ?? [])]);
    const name = methodName(method);
    const what = asked === '' ? name : `${name} of ${asked}`;
    const has = known.length === 0 ? `no ${name} at all` : `${name} of ${few(known)}`;
    return { found: false, text: `the recording has no answer to ${what}; it has ${has}` };
  }

  #keep(call: RecordedCall): void {
    const { method, resource = '' } = call;
    const asked = describeRequest(method, call.messages[0]?.bytes ?? Buffer.alloc(0));
    const entry = this.#answers.get(key(method, resource, asked));
    if (entry === undefined) this.#answers.set(key(method, resource, asked), { calls: [call], next: 0 });
    else entry.calls.push(call);
    const all = key(method, resource, '');
    this.#requests.set(all, (this.#requests.get(all) ?? new Set()).add(asked));
  }
}

/** The message a call was answered with; undefined when it failed or was never answered. */
export function answerOf(call: RecordedCall): Buffer | undefined {
  if (call.end?.code !== RpcCode.OK) return undefined;
  return call.messages.find(({ from }) => from !== call.from)?.bytes;
}

/** The events in the life of the first instance: all when none was started or only one; and when it was ended. */
function firstInstance(events: readonly RecordedEvent[]): {
  readonly events: readonly RecordedEvent[];
  readonly endMs: number;
} {
  const start = events.findIndex((event) => event.kind === 'plugin' && event.event === 'start');
  const end = events.findIndex((event, index) => index > start && event.kind === 'plugin' && event.event !== 'crash');
  return { events: end === -1 ? events : events.slice(0, end), endMs: events[end]?.atMs ?? Infinity };
}

/** What happened beside each manager that the instance met. */
function staysOf({ events, endMs }: ReturnType<typeof firstInstance>): readonly RecordedStay[] {
  const startIndex = events.findIndex((event) => event.kind === 'plugin' && event.event === 'start');
  const stays: { readonly sinceMs: number; readonly events: RecordedEvent[] }[] = [];
  let listening = false;
  events.forEach((event, index) => {
    const isNew = event.kind === 'manager' && (event.event === 'start' || event.event === 'socket-anew');
    if (isNew) listening = true;
    else if (event.kind === 'manager' && event.event === 'end') listening = false;
    const begins = index === startIndex ? listening : isNew && index > startIndex;
    if (begins) stays.push({ sinceMs: event.atMs, events: [] });
    else stays.at(-1)?.events.push(event);
  });
  return stays.map(({ sinceMs, events: own }) => {
    const next = events.find((event) => event.kind === 'manager' && event.atMs > sinceMs);
    return stayOf(sinceMs, next?.atMs ?? endMs, own);
  });
}

function stayOf(sinceMs: number, untilMs: number, events: readonly RecordedEvent[]): RecordedStay {
  const registrations: RecordedRegistration[] = [];
  const streams = new Map<string, RecordedStream[]>();
  let crash: RecordedStay['crash'];
  for (const event of events) {
    if (event.kind === 'plugin' && event.event === 'crash')
      crash = { afterMs: Math.max(0, event.atMs - sinceMs), how: event.how ?? '' };
    if (event.kind !== 'call') continue;
    const { call } = event;
    const bytes = call.messages[0]?.bytes;
    if (call.method === REGISTER && bytes !== undefined) {
      const request = deviceplugin.RegisterRequest.decode(bytes);
      const endMs = call.end?.atMs ?? Infinity;
      const reachable = events.some(
        (other) =>
          other.kind === 'call' &&
          other.call.method === getDevicePluginOptions.path &&
          other.call.resource === request.resourceName &&
          other.atMs >= call.atMs &&
          other.atMs <= endMs,
      );
      registrations.push({ afterMs: Math.max(0, call.atMs - sinceMs), call, request, reachable });
    }
    if (call.method === listAndWatch.path && call.resource !== undefined)
      streams.set(call.resource, [...(streams.get(call.resource) ?? []), { call, untilMs }]);
  }
  return { registrations, streams, crash };
}

function key(method: string, resource: string, asked: string): string {
  return `${method}\n${resource}\n${asked}`;
}

function few(texts: readonly string[]): string {
  const shown = texts.slice(0, 5).join(', ');
  return texts.length > 5 ? `${shown} and ${String(texts.length - 5)} more` : shown;
}
