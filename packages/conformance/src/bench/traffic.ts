import { performance } from 'node:perf_hooks';
import type { ServiceShape } from '@devmgr/wire';
import type { Recorder } from '../recording/recorder.ts';

/** One message that passed between the suite and the plugin. */
export interface TrafficMessage {
  /** Milliseconds since the bench was opened. */
  readonly atMs: number;
  /** Which conversation: `register`, `registry` or `session`, with a number. */
  readonly channel: string;
  /** gRPC path: `/v1beta1.DevicePlugin/Allocate`. */
  readonly method: string;
  readonly from: 'manager' | 'plugin';
  readonly bytes: Uint8Array;
}

/** Every message of a run, in order, as the bytes that travelled. */
export class Traffic {
  readonly messages: TrafficMessage[] = [];
  /** Where all of it is written, too. */
  readonly recorder: Recorder | undefined;
  readonly #startedAtMs = performance.now();
  #channels = 0;

  constructor(recorder?: Recorder) {
    this.recorder = recorder;
  }

  /** Milliseconds since the bench was opened. */
  nowMs(): number {
    return performance.now() - this.#startedAtMs;
  }

  channel(kind: string): string {
    this.#channels += 1;
    return `${kind}-${String(this.#channels)}`;
  }

  /** A service definition that notes what is sent and received under it; `server` says whose end of it is ours. */
  noting<S extends ServiceShape>(service: S, channel: string, server: 'manager' | 'plugin'): S {
    const note = (method: string, from: 'manager' | 'plugin', bytes: Buffer): void => {
      this.messages.push({ atMs: this.nowMs(), channel, method, from, bytes: Uint8Array.from(bytes) });
    };
    const client = server === 'manager' ? 'plugin' : 'manager';
    const entries = Object.entries(service).map(([name, method]) => {
      const noted = {
        ...method,
        requestSerialize: (value: never): Buffer => {
          const bytes = method.requestSerialize(value);
          note(method.path, client, bytes);
          return bytes;
        },
        requestDeserialize: (bytes: Buffer): unknown => {
          note(method.path, client, bytes);
          const request = method.requestDeserialize(bytes);
          this.recorder?.received(request, bytes);
          return request;
        },
        responseSerialize: (value: never): Buffer => {
          const bytes = method.responseSerialize(value);
          note(method.path, server, bytes);
          return bytes;
        },
        responseDeserialize: (bytes: Buffer): unknown => {
          note(method.path, server, bytes);
          const response = method.responseDeserialize(bytes);
          this.recorder?.received(response, bytes);
          return response;
        },
      };
      return [name, noted];
    });
    return Object.fromEntries(entries) as S;
  }
}
