import type { DeviceState } from '@devmgr/core';
import { podresources } from '@devmgr/wire';
import { topologyOf } from './container-devices.ts';

const { ContainerDevices } = podresources;
/** Field 1 of AllocatableResourcesResponse (devices) and field 2 of ContainerDevices (device_ids), length-delimited. */
const DEVICES_TAG = 0x0a;
const DEVICE_IDS_TAG = 0x12;
const NOTHING = new Uint8Array();

/**
 * Devices a plugin lists, encoded as the field `devices` of an AllocatableResourcesResponse: one entry per device and NUMA
 * node, each with exactly one id. A device whose topology names no node gets one entry without topology; the kubelet leaves
 * it out. (kubelet: podresources server, containerDevicesFromResourceDeviceInstances)
 *
 * Written straight into one buffer: a message object for each of 100,000 devices holds up everything else several times as
 * long. All that varies from entry to entry is the id; the fields around it come from the generated code, once.
 */
export function encodeListedDevices(
  resource: string,
  devices: readonly Pick<DeviceState, 'id' | 'numaNodes'>[],
): Uint8Array {
  const name = ContainerDevices.encode({ resourceName: resource, deviceIds: [], topology: undefined }).finish();
  const tails = new Map<number, Uint8Array>();
  const tailOf = (node: number): Uint8Array => {
    let tail = tails.get(node);
    if (tail === undefined) {
      tail = ContainerDevices.encode({ resourceName: '', deviceIds: [], topology: topologyOf(node) }).finish();
      tails.set(node, tail);
    }
    return tail;
  };
  const out = new GrowingBuffer(devices.length * (name.length + 48));
  for (const { id, numaNodes } of devices) {
    if (numaNodes.length === 0) writeEntry(out, name, id, NOTHING);
    for (const node of numaNodes) writeEntry(out, name, id, tailOf(node));
  }
  return out.bytes();
}

function writeEntry(out: GrowingBuffer, name: Uint8Array, id: string, tail: Uint8Array): void {
  const idBytes = Buffer.byteLength(id);
  const entryBytes = name.length + 1 + varintBytes(idBytes) + idBytes + tail.length;
  out.reserve(1 + varintBytes(entryBytes) + entryBytes);
  out.varint(DEVICES_TAG);
  out.varint(entryBytes);
  out.raw(name);
  out.varint(DEVICE_IDS_TAG);
  out.varint(idBytes);
  out.text(id);
  out.raw(tail);
}

/** Bytes of an unsigned varint below 2^31. */
function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest >>>= 7) bytes += 1;
  return bytes;
}

/** Invariant: writers write only what was reserved before. */
class GrowingBuffer {
  #buffer: Buffer;
  #length = 0;

  constructor(expectedBytes: number) {
    this.#buffer = Buffer.allocUnsafe(Math.max(64, expectedBytes));
  }

  reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }

  varint(value: number): void {
    let rest = value;
    for (; rest >= 0x80; rest >>>= 7) this.#buffer[this.#length++] = (rest & 0x7f) | 0x80;
    this.#buffer[this.#length++] = rest;
  }

  raw(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(text: string): void {
    this.#length += this.#buffer.write(text, this.#length, 'utf8');
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }
}
