import type { Device } from '@devmgr/core';
import { deviceplugin } from '@devmgr/wire';

const NO_NODES: readonly number[] = [];

/**
 * Decodes one ListAndWatch message. Ids and health stay as sent, duplicates and order included. NUMA ids are int64 on the
 * wire: repeated ones are named once, and those a number cannot hold exactly are left out, since no machine has such a
 * node. Throws when the bytes are no such message.
 */
export function decodeDeviceList(bytes: Uint8Array): readonly Device[] {
  return deviceplugin.ListAndWatchResponse.decode(bytes).devices.map(toDevice);
}

/** Tag of `devices` in a ListAndWatchResponse: field 1, length-delimited. */
const DEVICE_TAG = 0x0a;
/** Devices that are compared, and decoded, together. */
const BLOCK = 64;

/** A list and where in its bytes each device begins; one more number says where the last one ends. */
interface DecodedList {
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  readonly devices: readonly Device[];
}

/**
 * {@link decodeDeviceList} for the lists of one stream. Each list is the whole truth and mostly repeats the one before:
 * devices whose bytes are the same as those at their place last time are not decoded, and are the same objects again. So
 * the change of one device among 60,000 costs a comparison of bytes. Keeps the bytes of the last list.
 */
export class DeviceListDecoder {
  #last: DecodedList = { bytes: new Uint8Array(0), starts: new Uint32Array(1), devices: [] };

  /** Throws as {@link decodeDeviceList} does; what was kept stays then. */
  decode(bytes: Uint8Array): readonly Device[] {
    const starts = deviceStarts(bytes);
    // Something that is no plain list of devices: whatever it is, protobuf knows.
    if (starts === undefined) return decodeDeviceList(bytes);
    const last = this.#last;
    const devices: Device[] = [];
    const count = starts.length - 1;
    for (let from = 0; from < count; from += BLOCK) {
      const to = Math.min(from + BLOCK, count);
      if (sameBytes(last, bytes, starts, from, to)) {
        for (const device of last.devices.slice(from, to)) devices.push(device);
      } else {
        for (const device of decodeDeviceList(bytes.subarray(starts[from], starts[to]))) devices.push(device);
      }
    }
    this.#last = { bytes, starts, devices };
    return devices;
  }
}

/** Where each device of a list begins, its tag included, and where the last one ends; undefined when there is anything else in the message. */
function deviceStarts(bytes: Uint8Array): Uint32Array | undefined {
  const starts: number[] = [0];
  let position = 0;
  while (position < bytes.length) {
    if (bytes[position] !== DEVICE_TAG) return undefined;
    const length = readLength(bytes, position + 1);
    if (length === undefined) return undefined;
    position = length.end + length.value;
    starts.push(position);
  }
  return position === bytes.length ? Uint32Array.from(starts) : undefined;
}

/** A length of at most four bytes, which is more than any message has. */
function readLength(bytes: Uint8Array, from: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 4; index += 1) {
    const byte = bytes[from + index];
    if (byte === undefined) return undefined;
    value |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) return { value, end: from + index + 1 };
  }
  return undefined;
}

/** Whether the devices from one place to another have the same bytes as those at these places of the last list. */
function sameBytes(last: DecodedList, bytes: Uint8Array, starts: Uint32Array, from: number, to: number): boolean {
  if (to >= last.starts.length) return false;
  const [lastStart, lastEnd] = [last.starts[from] ?? 0, last.starts[to] ?? 0];
  const [start, end] = [starts[from] ?? 0, starts[to] ?? 0];
  if (end - start !== lastEnd - lastStart) return false;
  return Buffer.compare(bytes.subarray(start, end), last.bytes.subarray(lastStart, lastEnd)) === 0;
}

function toDevice({ ID: id, health, topology }: deviceplugin.Device): Device {
  return { id, health, numaNodes: numaNodes(topology?.nodes) };
}

function numaNodes(nodes: readonly deviceplugin.NUMANode[] | undefined): readonly number[] {
  if (nodes === undefined || nodes.length === 0) return NO_NODES;
  const ids = new Set<number>();
  for (const { ID } of nodes) {
    const id = Number(ID);
    if (Number.isSafeInteger(id)) ids.add(id);
  }
  return [...ids];
}
