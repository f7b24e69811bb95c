import type { Allocation } from './allocation.ts';
import { decodeBase64, encodeBase64 } from './base64.ts';
import { isJsonObject, type JsonObject } from './json-value.ts';
import type { Pod } from './kubernetes.ts';
import { releaseFromJson, type Release } from './release.ts';

/** One durable change of state. Each is a statement about the state after it, so that applying it twice changes nothing. */
export type JournalRecord =
  | { readonly type: 'allocated'; readonly podUid: string; readonly allocations: readonly Allocation[] }
  | {
      readonly type: 'released';
      readonly podUid: string;
      /** What of it is not free before its release succeeded; absent when all of it is. */
      readonly releases?: readonly Release[];
    }
  /** What is known of a release now. */
  | { readonly type: 'release'; readonly release: Release }
  | { readonly type: 'release-ended'; readonly id: string }
  | {
      readonly type: 'resource';
      readonly resource: string;
      readonly endpoint: string | null;
      readonly preStartRequired: boolean;
      /** Only there when it is true. */
      readonly releaseRequired?: true;
    }
  | { readonly type: 'resource-removed'; readonly resource: string }
  | { readonly type: 'pod'; readonly pod: Pod }
  | { readonly type: 'pod-deleted'; readonly podUid: string };

/** First line of a journal file or of a snapshot of pods. */
export interface JournalHeader {
  readonly type: 'journal' | 'pods';
  /** Records in a journal have numbers above this; a snapshot of pods includes every record up to it. */
  readonly sequence: number;
  readonly bootId: string;
  /** How many pods follow in a snapshot; 0 in a journal. */
  readonly count: number;
}

export interface NumberedRecord {
  /** Position among all records ever written here: 1, 2, 3, … */
  readonly sequence: number;
  readonly record: JournalRecord;
}

const FORMAT_VERSION = 1;

export function encodeHeader(header: JournalHeader): string {
  return JSON.stringify({ version: FORMAT_VERSION, ...header });
}

/** Undefined when the text is no header of a version this program reads. */
export function decodeHeader(text: string): JournalHeader | undefined {
  const value = parseObject(text);
  if (value?.['version'] !== FORMAT_VERSION) return undefined;
  const { type, sequence, bootId, count } = value;
  if (type !== 'journal' && type !== 'pods') return undefined;
  if (!isCount(sequence) || !isCount(count) || typeof bootId !== 'string') return undefined;
  return { type, sequence, bootId, count };
}

/** A record without its number. Throws what `JSON.stringify` throws for a pod that JSON cannot hold. */
export function encodeRecordBody(record: JournalRecord): string {
  const { type } = record;
  if (type !== 'allocated') return JSON.stringify(record);
  return JSON.stringify({ type, podUid: record.podUid, allocations: record.allocations.map(allocationToJson) });
}

/** The text of a record: its number in front of what {@link encodeRecordBody} gave. */
export function numberRecord(sequence: number, body: string): string {
  return `{"sequence":${String(sequence)},${body.slice(1)}`;
}

export function encodeRecord(sequence: number, record: JournalRecord): string {
  return numberRecord(sequence, encodeRecordBody(record));
}

/** Undefined when the text is no record that this program knows. Never throws. */
export function decodeRecord(text: string): NumberedRecord | undefined {
  const value = parseObject(text);
  if (value === undefined || !isCount(value['sequence'])) return undefined;
  const record = recordFromJson(value);
  return record === undefined ? undefined : { sequence: value['sequence'], record };
}

/** A pod that was accepted once and written by this program: only what every reader relies on is looked at again. */
export function isStoredPod(value: unknown): value is Pod {
  if (!isJsonObject(value) || value['apiVersion'] !== 'v1' || value['kind'] !== 'Pod') return false;
  const { metadata, spec } = value;
  if (!isJsonObject(metadata) || typeof metadata['name'] !== 'string' || typeof metadata['uid'] !== 'string')
    return false;
  return isJsonObject(spec) && Array.isArray(spec['containers']);
}

function recordFromJson(value: JsonObject): JournalRecord | undefined {
  const { type, podUid, resource, endpoint, preStartRequired, pod } = value;
  switch (type) {
    case 'allocated':
      return allocatedFromJson(value);
    case 'released':
      return releasedFromJson(value);
    case 'release': {
      const release = releaseFromJson(value['release']);
      return release === undefined ? undefined : { type, release };
    }
    case 'release-ended':
      return typeof value['id'] === 'string' ? { type, id: value['id'] } : undefined;
    case 'pod-deleted':
      return typeof podUid === 'string' ? { type, podUid } : undefined;
    case 'resource':
      if (typeof resource !== 'string' || (typeof endpoint !== 'string' && endpoint !== null)) return undefined;
      return {
        type,
        resource,
        endpoint,
        preStartRequired: preStartRequired === true,
        ...(value['releaseRequired'] === true ? { releaseRequired: true } : {}),
      };
    case 'resource-removed':
      return typeof resource === 'string' ? { type, resource } : undefined;
    case 'pod':
      return isStoredPod(pod) ? { type, pod } : undefined;
    default:
      return undefined;
  }
}

function releasedFromJson({ podUid, releases }: JsonObject): JournalRecord | undefined {
  if (typeof podUid !== 'string') return undefined;
  if (releases === undefined) return { type: 'released', podUid };
  if (!Array.isArray(releases)) return undefined;
  const decoded = releases.map(releaseFromJson).filter((release) => release !== undefined);
  return decoded.length === releases.length ? { type: 'released', podUid, releases: decoded } : undefined;
}

function allocatedFromJson({ podUid, allocations }: JsonObject): JournalRecord | undefined {
  if (typeof podUid !== 'string' || !Array.isArray(allocations)) return undefined;
  const decoded: Allocation[] = [];
  for (const item of allocations as readonly unknown[]) {
    const allocation = allocationFromJson(podUid, item);
    if (allocation === undefined) return undefined;
    decoded.push(allocation);
  }
  return { type: 'allocated', podUid, allocations: decoded };
}

function allocationToJson(allocation: Allocation): JsonObject {
  return {
    container: allocation.container,
    resource: allocation.resource,
    devices: [...allocation.deviceIds],
    response: encodeBase64(allocation.response),
  };
}

function allocationFromJson(podUid: string, value: unknown): Allocation | undefined {
  if (!isJsonObject(value)) return undefined;
  const { container, resource, devices, response } = value;
  if (typeof container !== 'string' || typeof resource !== 'string' || !Array.isArray(devices)) return undefined;
  const bytes = typeof response === 'string' ? decodeBase64(response) : undefined;
  if (bytes === undefined) return undefined;
  const deviceIds = new Map<number, readonly string[]>();
  for (const group of devices as readonly unknown[]) {
    if (!Array.isArray(group)) return undefined;
    const [node, ids] = group as readonly unknown[];
    if (!Number.isSafeInteger(node) || !isStrings(ids)) return undefined;
    deviceIds.set(node as number, ids);
  }
  return { podUid, container, resource, deviceIds, response: bytes };
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
