import { randomUUID } from 'node:crypto';
import type { Event, ObjectReference } from '@devmgr/core';
import type { Clock, EventReason, EventService, VersionCounter, WatchListener } from './ports.ts';

const DEFAULT_CAPACITY = 2_000;
/** Longer messages are cut: a plugin's error text can be megabytes. Kubernetes allows 1,024 characters. */
const MAX_MESSAGE_LENGTH = 4_096;
/** Where Kubernetes keeps events about objects that have no namespace, such as nodes. */
const CLUSTER_SCOPED_NAMESPACE = 'default';

export interface EventRecorderOptions {
  readonly clock: Clock;
  readonly versions: VersionCounter;
  readonly nodeName: string;
  /** Component named as the source, `devmgr`. */
  readonly source: string;
  /** How many different events are kept, 2,000 unless set. */
  readonly capacity?: number;
  /** How many of them may be about one object with one reason, a tenth of `capacity` unless set: a thousand flapping devices must not push out everything else. */
  readonly capacityPerReason?: number;
}

/**
 * Keeps the latest events in memory.
 *
 * Invariants:
 * - `#events` is ordered by last occurrence, oldest first; a repeated event (same object, type, reason and message) moves to the end and counts up.
 * - `#groups` holds the same keys by object and reason, in the same order; no group is empty.
 * - Neither the whole nor a group exceeds its capacity: the oldest gives way, and watchers see it DELETED.
 * - Events handed out are never changed afterwards; a repetition makes a new object.
 */
export class EventRecorder implements EventService {
  readonly #options: EventRecorderOptions;
  readonly #capacity: number;
  readonly #capacityPerReason: number;
  readonly #events = new Map<string, Event>();
  readonly #groups = new Map<string, Set<string>>();
  readonly #listeners = new Set<WatchListener<Event>>();
  #recorded = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#capacity = options.capacity ?? DEFAULT_CAPACITY;
    this.#capacityPerReason = options.capacityPerReason ?? Math.max(1, Math.floor(this.#capacity / 10));
  }

  record(object: ObjectReference, type: Event['type'], reason: EventReason, message: string): void {
    const text = message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH - 1)}…` : message;
    const group = groupKey(object, reason);
    const key = JSON.stringify([group, type, text]);
    const seen = this.#events.get(key);
    if (seen) this.#repeat(group, key, seen);
    else this.#add(group, key, object, type, reason, text);
  }

  list(namespace?: string): readonly Event[] {
    const events = [...this.#events.values()];
    return namespace === undefined ? events : events.filter((event) => event.metadata.namespace === namespace);
  }

  watch(listener: WatchListener<Event>): () => void {
    // Wrapped, so that one function may watch twice and each stops only itself.
    const own: WatchListener<Event> = (event) => {
      listener(event);
    };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  #repeat(group: string, key: string, seen: Event): void {
    const event: Event = {
      ...seen,
      metadata: { ...seen.metadata, resourceVersion: this.#options.versions.next() },
      count: seen.count + 1,
      lastTimestamp: this.#timestamp(),
    };
    this.#forget(group, key);
    this.#keep(group, key, event);
    this.#tell('MODIFIED', event);
  }

  #add(
    group: string,
    key: string,
    object: ObjectReference,
    type: Event['type'],
    reason: EventReason,
    message: string,
  ): void {
    this.#recorded += 1;
    const { clock, versions, source, nodeName } = this.#options;
    const timestamp = this.#timestamp();
    // Kubernetes' events also name the host; the interface leaves it out because nothing of ours reads it.
    const eventSource = { component: source, host: nodeName };
    const event: Event = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        // As Kubernetes does: the object's name and the time in hexadecimal; the count makes it unique within one millisecond.
        name: `${object.name}.${clock.now().toString(16)}${this.#recorded.toString(16).padStart(5, '0')}`,
        namespace: object.namespace ?? CLUSTER_SCOPED_NAMESPACE,
        uid: randomUUID(),
        resourceVersion: versions.next(),
        creationTimestamp: timestamp,
      },
      involvedObject: object,
      reason,
      message,
      type,
      count: 1,
      firstTimestamp: timestamp,
      lastTimestamp: timestamp,
      source: eventSource,
    };
    this.#keep(group, key, event);
    this.#tell('ADDED', event);
    const sameReason = this.#groups.get(group);
    if (sameReason && sameReason.size > this.#capacityPerReason) this.#evict(first(sameReason));
    if (this.#events.size > this.#capacity) this.#evict(first(this.#events.keys()));
  }

  #evict(key: string | undefined): void {
    const event = key === undefined ? undefined : this.#events.get(key);
    if (key === undefined || event === undefined) return;
    this.#forget(groupKey(event.involvedObject, event.reason), key);
    this.#tell('DELETED', event);
  }

  #keep(group: string, key: string, event: Event): void {
    this.#events.set(key, event);
    const keys = this.#groups.get(group);
    if (keys) keys.add(key);
    else this.#groups.set(group, new Set([key]));
  }

  #forget(group: string, key: string): void {
    this.#events.delete(key);
    const keys = this.#groups.get(group);
    keys?.delete(key);
    if (keys?.size === 0) this.#groups.delete(group);
  }

  #tell(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: Event): void {
    for (const listener of [...this.#listeners]) listener({ type, object });
  }

  #timestamp(): string {
    return new Date(this.#options.clock.now()).toISOString();
  }
}

function groupKey(object: ObjectReference, reason: string): string {
  return JSON.stringify([object.kind, object.namespace, object.name, object.uid, object.fieldPath, reason]);
}

function first<T>(items: Iterable<T>): T | undefined {
  for (const item of items) return item;
  return undefined;
}
