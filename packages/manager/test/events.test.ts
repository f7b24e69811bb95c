import { describe, expect, it } from 'vitest';
import type { Event, ObjectReference } from '@devmgr/core';
import { EventRecorder, type EventRecorderOptions } from '../src/events.ts';
import type { Clock } from '../src/ports.ts';
import { createVersionCounter } from '../src/version-counter.ts';

const POD: ObjectReference = { kind: 'Pod', name: 'a', namespace: 'x', uid: 'u' };
const NODE: ObjectReference = { kind: 'Node', name: 'here' };

class SetClock implements Clock {
  nowMs = Date.parse('2026-01-01T00:00:00Z');

  now(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  setTimeout(): () => void {
    return () => undefined;
  }
}

function recorder(options: Partial<EventRecorderOptions> = {}): {
  events: EventRecorder;
  clock: SetClock;
  seen: string[];
} {
  const clock = new SetClock();
  const events = new EventRecorder({
    clock,
    versions: createVersionCounter(),
    nodeName: 'here',
    source: 'devmgr',
    ...options,
  });
  const seen: string[] = [];
  events.watch(({ type, object }) => seen.push(`${type} ${object.message} ${String(object.count)}`));
  return { events, clock, seen };
}

function messages(events: readonly Event[]): string[] {
  return events.map(({ message }) => message);
}

describe('events', () => {
  it('have the form of v1 Events', () => {
    const { events } = recorder();
    events.record(POD, 'Warning', 'Failed', 'no such file');
    expect(events.list()).toEqual([
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: {
          name: expect.stringMatching(/^a\.[0-9a-f]{16}$/) as string,
          namespace: 'x',
          uid: expect.any(String) as string,
          resourceVersion: '1',
          creationTimestamp: '2026-01-01T00:00:00.000Z',
        },
        involvedObject: POD,
        reason: 'Failed',
        message: 'no such file',
        type: 'Warning',
        count: 1,
        firstTimestamp: '2026-01-01T00:00:00.000Z',
        lastTimestamp: '2026-01-01T00:00:00.000Z',
        source: { component: 'devmgr', host: 'here' },
      },
    ]);
  });

  it('that repeat are counted, move to the end, and keep their name', () => {
    const { events, clock, seen } = recorder();
    events.record(POD, 'Normal', 'Started', 'one');
    events.record(POD, 'Normal', 'Started', 'two');
    const [before] = events.list();
    clock.nowMs += 5_000;
    events.record({ ...POD }, 'Normal', 'Started', 'one');
    expect(messages(events.list())).toEqual(['two', 'one']);
    expect(events.list()[1]).toEqual({
      ...before,
      metadata: { ...before?.metadata, resourceVersion: '3' },
      count: 2,
      lastTimestamp: '2026-01-01T00:00:05.000Z',
    });
    expect(before?.count).toBe(1);
    expect(seen).toEqual(['ADDED one 1', 'ADDED two 1', 'MODIFIED one 2']);
  });

  it.each([
    ['object', { ...POD, uid: 'v' }, 'Normal', 'Started', 'm'],
    ['container', { ...POD, fieldPath: 'spec.containers{a}' }, 'Normal', 'Started', 'm'],
    ['type', POD, 'Warning', 'Started', 'm'],
    ['reason', POD, 'Normal', 'Killing', 'm'],
    ['message', POD, 'Normal', 'Started', 'n'],
  ] as const)('that differ in their %s are different', (_what, object, type, reason, message) => {
    const { events } = recorder();
    events.record(POD, 'Normal', 'Started', 'm');
    events.record(object, type, reason, message);
    expect(events.list().map(({ count }) => count)).toEqual([1, 1]);
    expect(new Set(events.list().map(({ metadata }) => metadata.name)).size).toBe(2);
  });

  it('about things without a namespace are in "default"', () => {
    const { events } = recorder();
    events.record(NODE, 'Normal', 'Starting', 'm');
    events.record(POD, 'Normal', 'Started', 'n');
    expect(messages(events.list('default'))).toEqual(['m']);
    expect(messages(events.list('x'))).toEqual(['n']);
    expect(messages(events.list('none'))).toEqual([]);
  });

  it('are bounded: the one seen least recently gives way', () => {
    const { events, seen } = recorder({ capacity: 3, capacityPerReason: 3 });
    for (const message of ['1', '2', '3']) events.record(POD, 'Normal', 'Started', message);
    events.record(POD, 'Normal', 'Started', '1');
    events.record(NODE, 'Normal', 'Starting', '4');
    expect(messages(events.list())).toEqual(['3', '1', '4']);
    expect(seen.at(-1)).toBe('DELETED 2 1');
    events.record(NODE, 'Normal', 'Starting', '4');
    expect(seen.at(-1)).toBe('MODIFIED 4 2');
  });

  it('of one reason cannot push out all others', () => {
    const { events } = recorder();
    events.record(POD, 'Warning', 'Failed', 'precious');
    for (let device = 0; device < 10_000; device += 1) {
      events.record(NODE, 'Warning', 'DeviceUnhealthy', `device ${String(device)}`);
    }
    expect(events.list()).toHaveLength(201);
    expect(messages(events.list('x'))).toEqual(['precious']);
    expect(messages(events.list('default'))[0]).toBe('device 9800');
  });

  it('with endless messages are cut', () => {
    const { events } = recorder();
    events.record(POD, 'Warning', 'Failed', 'x'.repeat(1_000_000));
    events.record(POD, 'Warning', 'Failed', 'x'.repeat(1_000_000));
    expect(events.list()).toHaveLength(1);
    expect(events.list()[0]?.message).toHaveLength(4_096);
  });

  it('are told to each watcher until it stops', () => {
    const { events } = recorder();
    const seen: string[] = [];
    const listener = (): void => void seen.push('x');
    const stops = [events.watch(listener), events.watch(listener)];
    events.record(POD, 'Normal', 'Started', '1');
    stops[0]?.();
    stops[0]?.();
    events.record(POD, 'Normal', 'Started', '2');
    stops[1]?.();
    events.record(POD, 'Normal', 'Started', '3');
    expect(seen).toHaveLength(3);
  });
});

describe('versions', () => {
  it('only grow, also past what was restored', () => {
    const versions = createVersionCounter();
    expect([versions.current(), versions.next(), versions.next(), versions.current()]).toEqual(['0', '1', '2', '2']);
    versions.raiseTo('40');
    versions.raiseTo('7');
    for (const foreign of [undefined, '', 'x', '1e9', '-3', '9'.repeat(40)]) versions.raiseTo(foreign);
    expect(versions.next()).toBe('41');
  });
});
