import type { Device } from '@devmgr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONTAINERS, ModelledLedger, PODS, RESOURCES } from './ledger-model.ts';

const resource = fc.constantFrom(...RESOURCES);
const pod = fc.constantFrom(...PODS);
const container = fc.constantFrom(...CONTAINERS);
const id = fc.integer({ min: 1, max: 12 }).map((number) => `d${String(number)}`);
const numaNodes = fc.constantFrom<number[]>([], [0], [1], [0, 1], [2]);
const health = fc.constantFrom('Healthy', 'Healthy', 'Healthy', 'Healthy', 'Unhealthy', '', 'Unknown');

/** Lists of devices that mostly are there, in any order, sometimes twice. */
const list = fc.array(fc.record<Device>({ id, health, numaNodes }), { minLength: 0, maxLength: 24, size: 'max' });
const affinity = fc.constantFrom(null, null, new Set([0]), new Set([1]), new Set([0, 2]));

type Command = (real: ModelledLedger) => void;

/** What a command does, with words for a failing run. */
function command<T>(name: string, input: fc.Arbitrary<T>, run: (real: ModelledLedger, input: T) => void) {
  return input.map((value): Command =>
    Object.assign(
      (real: ModelledLedger) => {
        run(real, value);
      },
      {
        [fc.toStringMethod]: () => `${name} ${fc.stringify(value)}`,
      },
    ),
  );
}

const index = fc.nat(7);
const next = command('next', fc.tuple(index, fc.boolean()), (real, [at, offers]) => {
  real.next(at, offers);
});
const commit = command('commit', index, (real, at) => {
  real.commit(at);
});
const open = command(
  'open',
  fc.tuple(pod, container, resource, fc.nat(4), affinity),
  (real, [podUid, [name, kind], of, count, nodes]) => {
    real.open({ podUid, container: name, kind, resource: of, count, affinity: nodes });
  },
);

/** One container after the other as admission does it, so that long stories come about. */
const admitContainer = command(
  'admit',
  fc.tuple(pod, container, resource, fc.nat(3), affinity, fc.option(fc.array(id, { maxLength: 5 }))),
  (real, [podUid, [name, kind], of, count, nodes, prefers]) => {
    real.admit({ podUid, container: name, kind, resource: of, count, affinity: nodes }, prefers);
  },
);

/** All containers of a pod in order, with what was there before released. */
const admitPod = command(
  'admit pod',
  fc.tuple(
    pod,
    resource,
    fc.array(fc.nat(2), { minLength: CONTAINERS.length, maxLength: CONTAINERS.length }),
    affinity,
  ),
  (real, [podUid, of, counts, nodes]) => {
    real.releasePod(podUid);
    for (const [at, [name, kind]] of CONTAINERS.entries()) {
      real.admit({ podUid, container: name, kind, resource: of, count: counts[at] ?? 0, affinity: nodes }, null);
    }
  },
);

const anyCommand = fc.oneof(
  {
    weight: 4,
    arbitrary: command('list', fc.tuple(resource, list), (real, [of, devices]) => {
      real.list(of, devices);
    }),
  },
  {
    weight: 12,
    arbitrary: command('flip', fc.tuple(resource, id, health), (real, [of, one, now]) => {
      real.flip(of, one, now);
    }),
  },
  {
    weight: 6,
    arbitrary: command('vanish', fc.tuple(resource, id), (real, [of, one]) => {
      real.vanish(of, one);
    }),
  },
  {
    weight: 1,
    arbitrary: command('disconnect', resource, (real, of) => {
      real.disconnect(of);
    }),
  },
  {
    weight: 1,
    arbitrary: command('forget', resource, (real, of) => {
      real.forget(of);
    }),
  },
  {
    weight: 1,
    arbitrary: command('know', resource, (real, of) => {
      real.know(of);
    }),
  },
  { weight: 15, arbitrary: open },
  { weight: 25, arbitrary: next },
  {
    weight: 5,
    arbitrary: command('answer', fc.tuple(index, fc.array(id)), (real, [at, ids]) => {
      real.answer(at, ids);
    }),
  },
  { weight: 8, arbitrary: commit },
  {
    weight: 3,
    arbitrary: command('release', index, (real, at) => {
      real.release(at);
    }),
  },
  { weight: 10, arbitrary: admitContainer },
  { weight: 4, arbitrary: admitPod },
  {
    weight: 4,
    arbitrary: command('settle', fc.tuple(pod, container), (real, [uid, [name]]) => {
      real.settle(uid, name);
    }),
  },
  {
    weight: 1,
    arbitrary: command('drop reuse', pod, (real, uid) => {
      real.dropReuse(uid);
    }),
  },
  {
    weight: 5,
    arbitrary: command('release pod', pod, (real, uid) => {
      real.releasePod(uid);
    }),
  },
  {
    weight: 5,
    arbitrary: command('retire pod', fc.tuple(pod, fc.subarray([...RESOURCES])), (real, [uid, hooked]) => {
      real.retirePod(uid, hooked);
    }),
  },
  {
    weight: 2,
    arbitrary: command('release failed', fc.tuple(index, fc.boolean()), (real, [at, quarantined]) => {
      real.failRelease(at, quarantined);
    }),
  },
  {
    weight: 4,
    arbitrary: command('release succeeded', index, (real, at) => {
      real.endRelease(at);
    }),
  },
  {
    weight: 1,
    arbitrary: command('restart', fc.constant(null), (real) => {
      real.restart();
    }),
  },
);

describe('the ledger as a whole', () => {
  it('says at every moment what a plain model says, and never has a device in two hands or loses one', () => {
    const seen = { commits: 0, reuses: 0, preferences: 0, replacements: 0, releases: 0, returns: 0 };
    const start = fc.tuple(list, list);
    fc.assert(
      fc.property(start, fc.array(anyCommand, { minLength: 20, maxLength: 100, size: 'max' }), ([a, b], commands) => {
        const real = new ModelledLedger();
        real.list(RESOURCES[0], a);
        real.list(RESOURCES[1], b);
        for (const run of commands) {
          run(real);
          real.check();
        }
        for (const key of Object.keys(seen) as (keyof typeof seen)[]) seen[key] += real.seen[key];
      }),
      { numRuns: 2000 },
    );
    // Otherwise the stories would be too dull to prove anything.
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(50);
  }, 300_000);
});
