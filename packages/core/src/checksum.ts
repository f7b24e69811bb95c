import type { CheckpointData, CheckpointDevices, CheckpointEntry, CheckpointVersion } from './checkpoint.ts';
import { compareUtf8 } from './utf8.ts';

/** Every byte as it is printed after another one, so that a long response costs one step a byte. */
const NEXT_BYTES: readonly string[] = Array.from({ length: 256 }, (_, byte) => ` ${String(byte)}`);
const NIL = '<nil>';

/**
 * The checksum of a checkpoint's data: FNV-1a (32 bits) over the text go-spew prints for the decoded value. Strings are
 * printed raw, NUMA nodes in numeric order, resources in byte order, lists in file order. (kubelet: checkpoint manager,
 * checksum; the grammar was measured against go-spew)
 */
export function checkpointChecksum(data: CheckpointData, version: CheckpointVersion = 2): number {
  const hash = new Fnv1a32();
  print(data, version, (text) => {
    hash.update(text);
  });
  return hash.value;
}

/** The text under {@link checkpointChecksum}, for people who compare. */
export function checkpointDump(data: CheckpointData, version: CheckpointVersion = 2): string {
  const parts: string[] = [];
  print(data, version, (text) => parts.push(text));
  return parts.join('');
}

type Sink = (text: string) => void;

function print(data: CheckpointData, version: CheckpointVersion, sink: Sink): void {
  sink('(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)');
  printList(data.entries, sink, (entry) => {
    printEntry(entry, version, sink);
  });
  sink(' RegisteredDevices:(map[string][]string)');
  const registered = data.registered;
  printMap(registered === null ? null : [...registered.keys()].sort(compareUtf8), sink, (resource) => {
    printStrings(registered?.get(resource) ?? null, sink);
  });
  sink('}');
}

function printEntry(entry: CheckpointEntry, version: CheckpointVersion, sink: Sink): void {
  sink(`{PodUID:(string)${entry.podUid} ContainerName:(string)${entry.container}`);
  sink(` ResourceName:(string)${entry.resource} DeviceIDs:`);
  sink(version === 1 ? '([]string)' : '(checkpoint.DevicesPerNUMA)');
  printDevices(entry.devices, sink);
  sink(' AllocResp:([]uint8)');
  printBytes(entry.response, sink);
  sink('}');
}

function printBytes(bytes: Uint8Array | null, sink: Sink): void {
  if (bytes === null) {
    sink(NIL);
    return;
  }
  sink('[');
  if (bytes[0] !== undefined) sink(String(bytes[0]));
  for (let index = 1; index < bytes.length; index++) sink(NEXT_BYTES[bytes[index] ?? 0] ?? '');
  sink(']');
}

function printDevices(devices: CheckpointDevices, sink: Sink): void {
  if (devices === null || isList(devices)) {
    printStrings(devices, sink);
    return;
  }
  const nodes = [...devices.keys()].sort((a, b) => a - b);
  printMap(nodes, sink, (node) => {
    printStrings(devices.get(node) ?? null, sink);
  });
}

function printStrings(texts: readonly string[] | null, sink: Sink): void {
  printList(texts, sink, sink);
}

function printList<T>(items: readonly T[] | null, sink: Sink, print: (item: T) => void): void {
  if (items === null) {
    sink(NIL);
    return;
  }
  sink('[');
  let first = true;
  for (const item of items) {
    if (!first) sink(' ');
    first = false;
    print(item);
  }
  sink(']');
}

function printMap<K extends string | number>(keys: readonly K[] | null, sink: Sink, print: (key: K) => void): void {
  if (keys === null) {
    sink(NIL);
    return;
  }
  sink('map');
  printList(keys, sink, (key) => {
    sink(`${String(key)}:`);
    print(key);
  });
}

function isList(devices: Exclude<CheckpointDevices, null>): devices is readonly string[] {
  return Array.isArray(devices);
}

/** FNV-1a, 32 bits, over the UTF-8 form of the texts, without ever making their bytes. */
class Fnv1a32 {
  #hash = 0x811c9dc5;

  get value(): number {
    return this.#hash >>> 0;
  }

  update(text: string): void {
    let hash = this.#hash;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit < 0x80) {
        hash = Math.imul(hash ^ unit, PRIME);
        continue;
      }
      let code = text.codePointAt(index) ?? 0;
      if (code > 0xffff) index++;
      else if (code >= 0xd800 && code <= 0xdfff) code = REPLACEMENT;
      hash = addMultiByte(hash, code);
    }
    this.#hash = hash;
  }
}

const PRIME = 0x01000193;
/** What stands in UTF-8 for half a surrogate pair. */
const REPLACEMENT = 0xfffd;

/** Adds the two to four UTF-8 bytes of a code point above U+007F. */
function addMultiByte(hash: number, code: number): number {
  const add = (current: number, byte: number): number => Math.imul(current ^ byte, PRIME);
  const tail = (shift: number): number => 0x80 | ((code >> shift) & 0x3f);
  if (code < 0x800) return add(add(hash, 0xc0 | (code >> 6)), tail(0));
  if (code < 0x10000) return add(add(add(hash, 0xe0 | (code >> 12)), tail(6)), tail(0));
  return add(add(add(add(hash, 0xf0 | (code >> 18)), tail(12)), tail(6)), tail(0));
}
