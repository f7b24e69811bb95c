/** What the children of the kill test and of the full-disk test share with the tests that start them. */
import type { Clock, Logger, StateRecord } from '../../src/ports.ts';

/** The n-th record (1, 2, 3, …) of an endless, always equal series over few pods and resources. */
export function recordNumber(n: number): StateRecord {
  const podUid = `pod-${String((n * 7) % 11)}`;
  switch ((n * 5) % 7) {
    case 0:
      return { type: 'released', podUid };
    case 1:
      return { type: 'pod-deleted', podUid };
    case 2:
      return {
        type: 'resource',
        resource: `example.com/r${String(n % 3)}`,
        endpoint: `/run/${String(n)}.sock`,
        preStartRequired: n % 2 === 0,
      };
    case 3:
    case 4: {
      const metadata = { name: podUid, uid: podUid, annotations: { n: String(n), filler: 'x'.repeat(n % 400) } };
      return { type: 'pod', pod: { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [{ name: 'c' }] } } };
    }
    default: {
      const deviceIds = new Map([[n % 3, [`dev-${String(n)}`]]]);
      const response = Uint8Array.from([10, 6, 10, 1, 78, 18, 1, 48 + (n % 10)]);
      return {
        type: 'allocated',
        podUid,
        allocations: [{ podUid, container: 'c', resource: 'example.com/r0', deviceIds, response }],
      };
    }
  }
}

const nothing = (): void => undefined;
export const quietLog: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => quietLog };

export const realClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimeout(callback: () => void, delayMs: number) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
