import { decodeBase64 } from './base64.ts';
import { CHECKPOINT_EXTENSION_KEY } from './checkpoint-codec.ts';
import type {
  CheckpointData,
  CheckpointDevices,
  CheckpointEndpoint,
  CheckpointEntry,
  CheckpointExtension,
  CheckpointVersion,
} from './checkpoint.ts';
import { checkpointChecksum } from './checksum.ts';
import { wellFormed } from './go-text.ts';
import { isAbsent, isJsonObject, ownValue, type JsonObject } from './json-value.ts';
import { CHECKPOINT_CORRUPTED } from './messages.ts';
import { releaseFromJson } from './release.ts';
import { decodeUtf8 } from './utf8.ts';

export type DecodedCheckpoint =
  | {
      readonly ok: true;
      readonly data: CheckpointData;
      readonly version: CheckpointVersion;
      readonly checksum: number;
      /** Undefined when a kubelet wrote the file. */
      readonly extension: CheckpointExtension | undefined;
    }
  /** `message` ends with the place: `unexpected end of JSON input`, `Data.PodDeviceEntries[3].DeviceIDs: must be an object`. */
  | { readonly ok: false; readonly message: string };

/**
 * Reads a checkpoint as a Go kubelet does: unknown keys are ignored, key names match in any case, null means absent; but
 * one wrong type or a wrong checksum and the whole file is unusable. Files of kubelets before 1.20 (version 1, plain lists
 * of ids) are read too. Never throws. (kubelet: device manager, checkpoint; Go: encoding/json)
 */
export function decodeCheckpoint(bytes: Uint8Array): DecodedCheckpoint {
  const parsed = parseCheckpoint(bytes);
  if (!parsed.ok) return parsed;
  const { data, version, checksum, extension } = parsed;
  if (version === undefined) return { ok: false, message: CHECKPOINT_CORRUPTED };
  return { ok: true, data, version, checksum, extension };
}

/** A checkpoint whatever its checksum: for those who look at a file that no kubelet would take. */
export type ParsedCheckpoint =
  | {
      readonly ok: true;
      readonly data: CheckpointData;
      /** The version whose checksum the file has; undefined when it has that of none. */
      readonly version: CheckpointVersion | undefined;
      /** As the file says; 0 when it says nothing. */
      readonly checksum: number;
      /** What the data would need, for each version it can be of. */
      readonly expected: readonly { readonly version: CheckpointVersion; readonly checksum: number }[];
      readonly extension: CheckpointExtension | undefined;
    }
  | { readonly ok: false; readonly message: string };

/** {@link decodeCheckpoint} without a verdict on the checksum. Never throws. */
export function parseCheckpoint(bytes: Uint8Array): ParsedCheckpoint {
  try {
    return parse(bytes);
  } catch (error) {
    if (error instanceof WrongShape || error instanceof SyntaxError) return { ok: false, message: error.message };
    throw error;
  }
}

function parse(bytes: Uint8Array): ParsedCheckpoint {
  const file = object(JSON.parse(decodeUtf8(bytes)), 'the file') ?? {};
  const fields = object(field(file, 'Data'), 'Data') ?? {};
  const entries = list(field(fields, 'PodDeviceEntries'), 'Data.PodDeviceEntries')?.map(entry) ?? null;
  const data: CheckpointData = {
    entries,
    registered: registered(field(fields, 'RegisteredDevices')),
  };
  const checksum = field(file, 'Checksum') ?? 0;
  if (typeof checksum !== 'number' || !Number.isSafeInteger(checksum) || checksum < 0) {
    throw new WrongShape('Checksum', 'a whole number');
  }
  const expected: { version: CheckpointVersion; checksum: number }[] = [];
  let version: CheckpointVersion | undefined;
  for (const candidate of possibleVersions(entries)) {
    const needed = checkpointChecksum(data, candidate);
    expected.push({ version: candidate, checksum: needed });
    if (needed !== checksum) continue;
    version = candidate;
    break;
  }
  const own = extension(ownValue(file, CHECKPOINT_EXTENSION_KEY));
  return { ok: true, data, version, checksum, expected, extension: own };
}

/** A kubelet reads into an empty map, which only an explicit null takes away. */
function registered(value: unknown): CheckpointData['registered'] {
  return value === undefined ? new Map() : stringLists(value, 'Data.RegisteredDevices', wellFormed);
}

/** A file without any device list can be of either version: only its checksum tells. */
function possibleVersions(entries: readonly CheckpointEntry[] | null): readonly CheckpointVersion[] {
  const lists = entries?.filter(({ devices }) => Array.isArray(devices)).length ?? 0;
  const groups = entries?.filter(({ devices }) => devices !== null && !Array.isArray(devices)).length ?? 0;
  if (lists > 0 && groups > 0) throw new WrongShape('Data.PodDeviceEntries', 'of one version');
  if (lists > 0) return [1];
  return groups > 0 ? [2] : [2, 1];
}

function entry(value: unknown, index: number): CheckpointEntry {
  const place = `Data.PodDeviceEntries[${String(index)}]`;
  const fields = object(value, place) ?? {};
  return {
    podUid: text(field(fields, 'PodUID'), `${place}.PodUID`),
    container: text(field(fields, 'ContainerName'), `${place}.ContainerName`),
    resource: text(field(fields, 'ResourceName'), `${place}.ResourceName`),
    devices: devices(field(fields, 'DeviceIDs'), `${place}.DeviceIDs`),
    response: blob(field(fields, 'AllocResp'), `${place}.AllocResp`),
  };
}

function devices(value: unknown, place: string): CheckpointDevices {
  if (Array.isArray(value)) return strings(value, place);
  return stringLists(value, place, (key) => {
    if (!/^[+-]?\d+$/.test(key) || !Number.isSafeInteger(Number(key)))
      throw new WrongShape(place, 'keyed by whole numbers');
    return Number(key);
  });
}

function extension(value: unknown): CheckpointExtension | undefined {
  if (!isJsonObject(value)) return undefined;
  const { sequence, bootId, endpoints } = value;
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence) || sequence < 0) return undefined;
  const known = new Map<string, CheckpointEndpoint>();
  for (const [resource, endpoint] of isJsonObject(endpoints) ? Object.entries(endpoints) : []) {
    if (!isJsonObject(endpoint)) continue;
    known.set(resource, {
      endpoint: typeof endpoint['endpoint'] === 'string' ? endpoint['endpoint'] : null,
      preStartRequired: endpoint['preStartRequired'] === true,
    });
  }
  const releases = itemsOf(value['releases'])
    .map(releaseFromJson)
    .filter((release) => release !== undefined);
  const releaseRequired = itemsOf(value['releaseRequired']).filter((name) => typeof name === 'string');
  return {
    sequence,
    bootId: typeof bootId === 'string' ? bootId : '',
    endpoints: known,
    ...(releaseRequired.length === 0 ? {} : { releaseRequired }),
    ...(releases.length === 0 ? {} : { releases }),
  };
}

function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The value of the last key that matches in any case, as Go's decoder chooses. */
function field(holder: JsonObject, name: string): unknown {
  const wanted = name.toLowerCase();
  let value: unknown;
  for (const [key, candidate] of Object.entries(holder)) if (key.toLowerCase() === wanted) value = candidate;
  return value;
}

function object(value: unknown, place: string): JsonObject | null {
  if (isAbsent(value)) return null;
  if (isJsonObject(value)) return value;
  throw new WrongShape(place, 'an object');
}

function list(value: unknown, place: string): readonly unknown[] | null {
  if (isAbsent(value)) return null;
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new WrongShape(place, 'an array');
}

function text(value: unknown, place: string): string {
  if (isAbsent(value)) return '';
  if (typeof value === 'string') return wellFormed(value);
  throw new WrongShape(place, 'a string');
}

function strings(value: unknown, place: string): readonly string[] | null {
  return list(value, place)?.map((item, index) => text(item, `${place}[${String(index)}]`)) ?? null;
}

function stringLists<K>(
  value: unknown,
  place: string,
  toKey: (key: string) => K,
): ReadonlyMap<K, readonly string[] | null> | null {
  const lists = object(value, place);
  if (lists === null) return null;
  return new Map(Object.entries(lists).map(([key, item]) => [toKey(key), strings(item, `${place}[${key}]`)]));
}

function blob(value: unknown, place: string): Uint8Array | null {
  if (isAbsent(value)) return null;
  // Go writes base64, and reads a list of numbers too.
  if (isByteList(value)) return Uint8Array.from(value);
  const bytes = typeof value === 'string' ? decodeBase64(value) : undefined;
  if (bytes === undefined) throw new WrongShape(place, 'base64 text');
  return bytes;
}

function isByteList(value: unknown): value is readonly number[] {
  const isByte = (item: unknown): boolean => Number.isInteger(item) && Number(item) >= 0 && Number(item) <= 255;
  return Array.isArray(value) && value.every(isByte);
}

/** The JSON is valid and does not have the shape of a checkpoint. */
class WrongShape extends Error {
  constructor(place: string, expected: string) {
    super(`${place}: must be ${expected}`);
  }
}
