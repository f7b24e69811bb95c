import type { Bench } from '../bench/bench.ts';
import type { DeviceStream } from '../bench/device-stream.ts';
import { dialPlugin } from '../bench/plugin-session.ts';
import { openRelay } from '../bench/relay.ts';
import { bad, good, type Check } from '../check.ts';

/** From the opening of a stream to its first list. */
const LIST_WITHIN_MS = 10_000;
/** Plugins that look every five seconds have looked by then. */
const LINGER_MS = 6_000;

/** What managers do that restart alone and find the plugin where it was: they dial it again. */
export const CONNECTION_CHECKS: readonly Check[] = [
  {
    id: 'restart/second-stream',
    level: 'full',
    severity: 'warning',
    stage: 'fresh',
    title: 'A second ListAndWatch beside the first gets the list too.',
    why: 'Managers that find a living plugin after their own restart dial it again before the old connection is known to be dead. (devmgr: restart)',
    remedy: 'Send the present list at the start of every stream, and changes to all of them.',
    async run(bench) {
      const silent: string[] = [];
      for (const session of await bench.ready()) {
        const stream = session.openStream();
        if (!(await hasList(bench, stream))) silent.push(`${session.resource}: ${howItWent(stream)}`);
        stream.close();
      }
      await bench.pause(LINGER_MS);
      return silent.length === 0 ? good('a list on each') : bad('no list on a second stream', silent);
    },
  },
  {
    id: 'restart/stream-cut',
    level: 'full',
    severity: 'warning',
    stage: 'fresh',
    title: 'When ListAndWatch is cancelled, the plugin serves the next one.',
    why: 'A manager may end the call and keep the connection; a handler that goes on waiting takes the next change away from its successor. (gRPC: cancellation)',
    remedy: 'Wait for changes and for the context of the stream together, and return when the latter is done.',
    async run(bench) {
      const silent: string[] = [];
      for (const session of await bench.ready()) {
        session.stream.close();
        const stream = session.openStream();
        const served = (): boolean =>
          stream.latest !== undefined ||
          bench.manager.sessions().some((one) => one !== session && one.resource === session.resource);
        if (!(await bench.until(served, LIST_WITHIN_MS))) silent.push(`${session.resource}: ${howItWent(stream)}`);
      }
      await bench.pause(LINGER_MS);
      bench.spoil();
      return silent.length === 0 ? good('the next stream was served') : bad('no list on the next stream', silent);
    },
  },
  {
    id: 'restart/connection-reset',
    level: 'full',
    severity: 'error',
    stage: 'fresh',
    title: 'When a connection is dropped without a word, the plugin serves the next one.',
    why: 'That is what the end of a killed kubelet looks like to a plugin; it must not take the server with it.',
    remedy: 'Treat a failed Send as the end of that stream and of nothing else.',
    async run(bench) {
      const silent: string[] = [];
      for (const { resource, socketPath } of await bench.ready()) {
        const relay = await openRelay(socketPath);
        try {
          const doomed = await dialPlugin({
            resource,
            socketPath: relay.path,
            timeoutMs: bench.timeoutMs,
            traffic: bench.traffic,
          });
          await hasList(bench, doomed.stream);
          relay.cut();
          doomed.close();
        } finally {
          await relay.close();
        }
        const next = await dialPlugin({ resource, socketPath, timeoutMs: bench.timeoutMs, traffic: bench.traffic });
        if (!(await hasList(bench, next.stream))) silent.push(`${resource}: ${howItWent(next.stream)}`);
        next.close();
      }
      await bench.pause(LINGER_MS);
      return silent.length === 0
        ? good('the next connection was served')
        : bad('no list on the next connection', silent);
    },
  },
];

function hasList(bench: Bench, stream: DeviceStream): Promise<boolean> {
  return bench
    .until(() => stream.latest !== undefined || !stream.live, LIST_WITHIN_MS)
    .then(() => stream.latest !== undefined);
}

function howItWent({ ended }: DeviceStream): string {
  return ended === undefined ? 'silence' : `ended with ${ended.error?.message ?? 'OK'}`;
}
