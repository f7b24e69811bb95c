import { DevmgrError, HEALTHY } from '@devmgr/core';
import type { Device } from '@devmgr/core';
import type { deviceplugin } from '@devmgr/wire';

/** A device as a plugin's author writes it: an id alone, or an id with what is known about the device. */
export type DeviceInput = string | PluginDevice;

export interface PluginDevice {
  /** Unique within the resource and opaque to the manager. The API's documentation asks for at most 63 characters. */
  readonly id: string;
  /** `Healthy` (the default) makes the device allocatable; every other string does not. */
  readonly health?: string | undefined;
  /** NUMA nodes the device is attached to; none when unknown. */
  readonly numaNodes?: readonly number[] | undefined;
}

/**
 * Checks a list of devices and fills in defaults. `resource` is only for the message.
 *
 * @throws DevmgrError PLUGIN_INVALID naming the first device that cannot be sent: no id, an id twice, a NUMA node that
 * is not a whole number of zero or more.
 */
export function checkDevices(resource: string, devices: readonly DeviceInput[]): readonly Device[] {
  if (!Array.isArray(devices)) throw invalid(resource, 'the list of devices is not an array');
  const seen = new Set<string>();
  return devices.map((input, index) => {
    const device = checkDevice(resource, input, index);
    if (seen.has(device.id)) throw invalid(resource, `device id ${JSON.stringify(device.id)} is listed twice`);
    seen.add(device.id);
    return device;
  });
}

function checkDevice(resource: string, input: unknown, index: number): Device {
  const place = `devices[${String(index)}]`;
  const device: unknown = typeof input === 'string' ? { id: input } : input;
  if (typeof device !== 'object' || device === null) {
    throw invalid(resource, `${place} is neither an id nor an object with an id`);
  }
  const { id, health = HEALTHY, numaNodes = [] } = device as Record<string, unknown>;
  if (typeof id !== 'string') throw invalid(resource, `${place}.id is not a string`);
  if (id === '') throw invalid(resource, `${place}.id is empty`);
  if (typeof health !== 'string') throw invalid(resource, `${place}.health is not a string`);
  if (!Array.isArray(numaNodes) || !numaNodes.every(isNumaNode)) {
    throw invalid(resource, `${place}.numaNodes is not a list of whole numbers of zero or more`);
  }
  return { id, health, numaNodes };
}

function isNumaNode(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function invalid(resource: string, what: string): DevmgrError {
  return new DevmgrError('PLUGIN_INVALID', `${resource}: ${what}`);
}

/** True when both lists say the same about the same devices, in whatever order. */
export function sameDevices(one: readonly Device[], other: readonly Device[]): boolean {
  if (one.length !== other.length) return false;
  const byId = new Map(one.map((device) => [device.id, device]));
  return other.every((device) => {
    const known = byId.get(device.id);
    return known?.health === device.health && sameNodes(known.numaNodes, device.numaNodes);
  });
}

function sameNodes(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((node) => other.includes(node));
}

/** A device as it goes over the wire. Topology is left out, not sent empty, when no NUMA node is known. */
export function toWireDevice(device: Device): deviceplugin.Device {
  return {
    ID: device.id,
    health: device.health,
    topology:
      device.numaNodes.length === 0 ? undefined : { nodes: device.numaNodes.map((node) => ({ ID: BigInt(node) })) },
  };
}
