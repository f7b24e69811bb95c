/** Version of the file format, in the first line of every recording. */
export const RECORDING_FORMAT = 1;

/** The two who speak with each other. */
export type Party = 'manager' | 'plugin';

/** The first line of a recording. */
export interface RecordingHeader {
  readonly kind: 'recording';
  readonly format: typeof RECORDING_FORMAT;
  /** ISO 8601; times of all other lines are milliseconds since then. */
  readonly startedAt: string;
  /** Words of the plugin's command; empty when it was not started by the recorder. */
  readonly command: readonly string[];
}

/** What happened to a manager. `start`: it listens; `socket-anew`: only kubelet.sock was made anew. */
export interface ManagerLine {
  readonly kind: 'manager';
  readonly event: 'start' | 'socket-anew' | 'end' | 'directory-replaced';
  /** With `start`: whether the sockets in the directory were deleted first. */
  readonly clean?: boolean;
  /** With `end`: whether kubelet.sock was left behind, dead. */
  readonly leavesSocket?: boolean;
}

/** An instance of the plugin was started, is about to be ended by the recorder (`stop`), or has ended by itself (`crash`). */
export interface PluginLine {
  readonly kind: 'plugin';
  readonly event: 'start' | 'stop' | 'crash';
  /** With `crash`, for people: `exit code 2`. */
  readonly how?: string;
}

/** A connection to the plugin was closed by the manager, with all calls on it. */
export interface CloseLine {
  readonly kind: 'close';
  readonly connection: string;
}

/** A call began. */
export interface CallLine {
  readonly kind: 'call';
  /** Number of the call, from 1. */
  readonly call: number;
  /** Who calls. */
  readonly from: Party;
  /** gRPC path: `/v1beta1.DevicePlugin/Allocate`. */
  readonly method: string;
  /** Name of the connection it was made on. */
  readonly connection: string;
  /** File name of the socket that was called. */
  readonly socket: string;
  /** Of which resource, where the call itself does not say. */
  readonly resource?: string | undefined;
  /** `:authority` as sent by a plugin; null when it sent none. */
  readonly authority?: string | null;
  /** The plugin's own limit on the call. */
  readonly timeLimitMs?: number | undefined;
}

/** A message of a call. */
export interface MessageLine {
  readonly kind: 'message';
  readonly call: number;
  readonly from: Party;
  /** The message as it travelled, base64. */
  readonly bytes: string;
  /** The same for people; left out when it is large. Not read by anything. */
  readonly shown?: unknown;
}

/** A call ended. */
export interface EndLine {
  readonly kind: 'end';
  readonly call: number;
  /** Who ended it: the manager by cancelling or by its deadline, else the one who answers. */
  readonly by: Party;
  /** gRPC status code. */
  readonly code: number;
  readonly text: string;
}

/** Any line but the first, without its time. */
export type RecordedLine = ManagerLine | PluginLine | CloseLine | CallLine | MessageLine | EndLine;

/** A call put together from its lines. */
export interface RecordedCall extends Omit<CallLine, 'kind' | 'call'> {
  readonly number: number;
  readonly atMs: number;
  readonly messages: readonly { readonly atMs: number; readonly from: Party; readonly bytes: Buffer }[];
  /** How it ended; undefined when the recording ended before. */
  readonly end: { readonly atMs: number; readonly by: Party; readonly code: number; readonly text: string } | undefined;
}

/** One thing that happened, in the order of the file. A call is one event where it begins and one where it ends. */
export type RecordedEvent = { readonly atMs: number } & (
  | ManagerLine
  | PluginLine
  | CloseLine
  | { readonly kind: 'call'; readonly call: RecordedCall }
  | { readonly kind: 'end'; readonly call: RecordedCall }
);

/** A recording as it was read. */
export interface Recording {
  readonly path: string;
  readonly header: RecordingHeader;
  readonly events: readonly RecordedEvent[];
}

/** All calls, in the order in which they began. */
export function callsOf({ events }: Pick<Recording, 'events'>): readonly RecordedCall[] {
  return events.flatMap((event) => (event.kind === 'call' ? [event.call] : []));
}
