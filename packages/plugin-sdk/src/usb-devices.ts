import { DevmgrError } from '@devmgr/core';
import { namePattern } from './file-glob.ts';
import { attribute, devicesOfBus } from './sysfs.ts';
import type { BusDevice } from './host-device-scan.ts';

/** USB devices as `VENDOR:PRODUCT[:SERIAL]`: `0403:6001`, `0403:*`, `0403:6001:A50285BI`, `2341:*:8553*`. */
export type UsbSelector = (device: { vendor: string; product: string; serial: string | undefined }) => boolean;

/** @throws DevmgrError PLUGIN_INVALID when `text` is no such thing. */
export function parseUsbSelector(text: string): UsbSelector {
  const match = /^([0-9a-f]{4}):([0-9a-f]{4}|\*)(?::(.+))?$/i.exec(text);
  if (match === null) {
    throw new DevmgrError(
      'PLUGIN_INVALID',
      `${JSON.stringify(text)} does not select USB devices: expected VENDOR:PRODUCT[:SERIAL] like 0403:6001 or 0403:*`,
    );
  }
  const [vendor, product] = [match[1]?.toLowerCase(), match[2]?.toLowerCase()];
  const serial = match[3] === undefined ? undefined : namePattern(match[3]);
  return (device) =>
    device.vendor === vendor &&
    (product === '*' || device.product === product) &&
    (serial === undefined || (device.serial !== undefined && serial.test(device.serial)));
}

/**
 * The USB devices that are plugged in and selected. A device is known by where it is plugged in and its serial number:
 * the numbers of its nodes change each time it is plugged in again.
 */
export async function findUsbDevices(select: UsbSelector, sysDir: string): Promise<BusDevice[]> {
  const found: BusDevice[] = [];
  for (const { name, dir } of await devicesOfBus(sysDir, 'usb')) {
    const vendor = await attribute(dir, 'idVendor');
    const product = await attribute(dir, 'idProduct');
    // Interfaces (`1-1:1.0`) are in the same directory and have no ids.
    if (vendor === undefined || product === undefined) continue;
    const serial = await attribute(dir, 'serial');
    if (!select({ vendor, product, serial })) continue;
    const suffix = serial === undefined ? '' : `-${serial.replaceAll(/[^A-Za-z0-9._-]/g, '_')}`;
    found.push({ bus: 'usb', id: `usb-${name}${suffix}`, addresses: [name], dirs: [dir], extraNodes: [] });
  }
  return found;
}
