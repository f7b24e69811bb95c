import type { Event, ObjectReference } from '@devmgr/core';
import { ageOf } from '../output/age.ts';
import type { Description } from '../output/description.ts';

const MAX_EVENTS = 25;

/** Appends the events of one object, oldest first, as kubectl does; `<none>` when there are none. */
export function describeEvents(description: Description, events: readonly Event[], nowMs: number): void {
  if (events.length === 0) {
    description.field('Events', undefined);
    return;
  }
  description.section('Events');
  const rows = events
    .slice(-MAX_EVENTS)
    .map((event) => [event.type, event.reason, seen(event, nowMs), event.source.component, event.message]);
  description.table([['Type', 'Reason', 'Age', 'From', 'Message'], ...rows]);
}

/** Events about an object: by uid when it has one, by kind and name otherwise. */
export function eventsOf(events: readonly Event[], object: ObjectReference): readonly Event[] {
  return events.filter(
    ({ involvedObject }) =>
      involvedObject.kind === object.kind &&
      involvedObject.name === object.name &&
      (object.namespace === undefined ||
        involvedObject.namespace === undefined ||
        involvedObject.namespace === object.namespace) &&
      (object.uid === undefined || involvedObject.uid === undefined || involvedObject.uid === object.uid),
  );
}

function seen(event: Event, nowMs: number): string {
  const last = ageOf(event.lastTimestamp, nowMs);
  return event.count > 1 ? `${last} (x${String(event.count)} over ${ageOf(event.firstTimestamp, nowMs)})` : last;
}

/** Events about what has no object of its own (a resource, a plugin, a device): those of the node whose message names it. */
export function eventsNaming(events: readonly Event[], word: string): readonly Event[] {
  const wordCharacters = /[A-Za-z0-9_.-]/;
  return events.filter(({ involvedObject, message }) => {
    if (involvedObject.kind !== 'Node') return false;
    for (let at = message.indexOf(word); at >= 0; at = message.indexOf(word, at + 1)) {
      const before = message[at - 1] ?? ' ';
      const after = message[at + word.length] ?? ' ';
      if (!wordCharacters.test(before) && !wordCharacters.test(after)) return true;
    }
    return false;
  });
}
