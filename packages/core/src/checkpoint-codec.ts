import { encodeBase64 } from './base64.ts';
import type {
  CheckpointData,
  CheckpointDevices,
  CheckpointEntry,
  CheckpointExtension,
  CheckpointVersion,
} from './checkpoint.ts';
import { checkpointChecksum } from './checksum.ts';
import { goJson } from './go-text.ts';
import { compareUtf8, encodeUtf8 } from './utf8.ts';

/** Key under which devmgr keeps its own part of the file. */
export const CHECKPOINT_EXTENSION_KEY = 'devmgr';

/**
 * The bytes of a checkpoint file, to the letter as a Go kubelet of 1.20 and later writes them: key order, null apart from
 * empty, keys of objects sorted as strings, Go's escapes, checksum. With `extension`, one more key at the end, which a
 * kubelet ignores. Plain device lists (version 1) are written under NUMA node 0, as kubelets read them; the other way
 * round, as version 1, the NUMA nodes are lost. Entries without a response are left out. (kubelet: device manager,
 * checkpoint)
 */
export function encodeCheckpoint(
  data: CheckpointData,
  extension?: CheckpointExtension,
  version: CheckpointVersion = 2,
): Uint8Array {
  const shape = version === 2 ? withGroups : withList;
  const kept = data.entries?.filter((entry) => entry.response !== null).map(shape) ?? [];
  // A Go kubelet builds the list by appending, so one without entries is nil and written as null.
  const written: CheckpointData = { entries: kept.length === 0 ? null : kept, registered: data.registered };
  const parts = [
    `{"Data":{"PodDeviceEntries":${encodeEntries(written.entries)}`,
    `,"RegisteredDevices":${encodeRegistered(written.registered)}}`,
    `,"Checksum":${String(checkpointChecksum(written, version))}`,
  ];
  if (extension !== undefined) parts.push(`,"${CHECKPOINT_EXTENSION_KEY}":${encodeExtension(extension)}`);
  parts.push('}');
  return encodeUtf8(parts.join(''));
}

/** Device groups as version 2 has them, whatever version they were read from. */
export function groupsOf(devices: CheckpointDevices): ReadonlyMap<number, readonly string[] | null> {
  if (devices === null) return new Map();
  if (isGroups(devices)) return devices;
  return new Map([[0, devices]]);
}

function withGroups(entry: CheckpointEntry): CheckpointEntry {
  return entry.devices === null || isGroups(entry.devices) ? entry : { ...entry, devices: groupsOf(entry.devices) };
}

function withList(entry: CheckpointEntry): CheckpointEntry {
  const { devices } = entry;
  if (devices === null || !isGroups(devices)) return entry;
  const nodes = [...devices.keys()].sort((a, b) => a - b);
  return { ...entry, devices: [...new Set(nodes.flatMap((node) => devices.get(node) ?? []))] };
}

function isGroups(devices: Exclude<CheckpointDevices, null>): devices is ReadonlyMap<number, readonly string[] | null> {
  return !Array.isArray(devices);
}

function encodeEntries(entries: readonly CheckpointEntry[] | null): string {
  if (entries === null) return 'null';
  return `[${entries.map(encodeEntry).join(',')}]`;
}

function encodeEntry(entry: CheckpointEntry): string {
  const names = `"PodUID":${goJson(entry.podUid)},"ContainerName":${goJson(entry.container)}`;
  const resource = `"ResourceName":${goJson(entry.resource)}`;
  const response = entry.response === null ? 'null' : `"${encodeBase64(entry.response)}"`;
  return `{${names},${resource},"DeviceIDs":${encodeDevices(entry.devices)},"AllocResp":${response}}`;
}

function encodeDevices(devices: CheckpointDevices): string {
  if (devices === null) return 'null';
  if (!isGroups(devices)) return goJson(devices);
  const groups = [...groupsOf(devices)].map(([node, ids]) => [String(node), ids] as const);
  return encodeObject(groups);
}

function encodeRegistered(registered: CheckpointData['registered']): string {
  return registered === null ? 'null' : encodeObject([...registered]);
}

/** An object of string lists, its keys in byte order. */
function encodeObject(pairs: (readonly [string, readonly string[] | null])[]): string {
  const sorted = pairs.sort(([a], [b]) => compareUtf8(a, b));
  return `{${sorted.map(([key, list]) => `${goJson(key)}:${list === null ? 'null' : goJson(list)}`).join(',')}}`;
}

function encodeExtension(extension: CheckpointExtension): string {
  const endpoints = [...extension.endpoints]
    .sort(([a], [b]) => compareUtf8(a, b))
    .map(([resource, { endpoint, preStartRequired }]) => {
      const path = endpoint === null ? 'null' : goJson(endpoint);
      return `${goJson(resource)}:{"endpoint":${path},"preStartRequired":${String(preStartRequired)}}`;
    });
  const sequence = `"sequence":${String(extension.sequence)}`;
  const { releaseRequired = [], releases = [] } = extension;
  const parts = [sequence, `"bootId":${goJson(extension.bootId)}`, `"endpoints":{${endpoints.join(',')}}`];
  if (releaseRequired.length > 0) parts.push(`"releaseRequired":${goJson([...releaseRequired].sort(compareUtf8))}`);
  if (releases.length > 0) parts.push(`"releases":${JSON.stringify(releases)}`);
  return `{${parts.join(',')}}`;
}
