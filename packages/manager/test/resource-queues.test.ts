import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ResourceQueues } from '../src/resource-queues.ts';

const never = new AbortController().signal;
const settled = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('ResourceQueues', () => {
  it('serves those who share a resource in order and lets others pass', async () => {
    const queues = new ResourceQueues();
    const order: string[] = [];
    const enter = async (name: string, resources: string[]): Promise<() => void> => {
      const leave = await queues.enter(resources, never);
      order.push(name);
      return leave;
    };
    const leaveA = await enter('first a', ['a']);
    const second = enter('a and b', ['a', 'b']);
    const third = enter('b', ['b']);
    const other = enter('c', ['c']);
    await settled();
    expect(order).toEqual(['first a', 'c']);
    leaveA();
    (await second)();
    (await third)();
    (await other)();
    expect(order).toEqual(['first a', 'c', 'a and b', 'b']);
    await settled();
    expect(queues.busy).toBe(0);
  });

  it('keeps the order of those behind when one gives up', async () => {
    const queues = new ResourceQueues();
    const leave = await queues.enter(['a'], never);
    const impatient = new AbortController();
    const gaveUp = queues.enter(['a'], impatient.signal);
    let served = false;
    const behind = queues.enter(['a'], never).then((done) => {
      served = true;
      return done;
    });
    impatient.abort(new Error('no patience'));
    await expect(gaveUp).rejects.toThrow('no patience');
    await settled();
    expect(served).toBe(false); // the first one still has its turn
    leave();
    (await behind)();
    await settled();
    expect(queues.busy).toBe(0);
  });

  it('never serves two at once and never locks up, whatever sets are asked for', async () => {
    const sets = fc.array(fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 }), {
      minLength: 1,
      maxLength: 30,
    });
    await fc.assert(
      fc.asyncProperty(sets, fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }), async (requests, abort) => {
        const queues = new ResourceQueues();
        const held = new Set<string>();
        await Promise.all(
          requests.map(async (resources, index) => {
            const controller = new AbortController();
            const turn = queues.enter(resources, controller.signal);
            if (abort[index] === true) setImmediate(() => controller.abort(new Error('gave up')));
            let leave: () => void;
            try {
              leave = await turn;
            } catch {
              return;
            }
            for (const resource of resources) {
              expect(held.has(resource)).toBe(false);
              held.add(resource);
            }
            await settled();
            for (const resource of resources) held.delete(resource);
            leave();
          }),
        );
        await settled();
        expect(queues.busy).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
