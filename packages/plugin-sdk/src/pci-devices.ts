import { DevmgrError } from '@devmgr/core';
import type { BusDevice } from './host-device-scan.ts';
import { attribute, devicesOfBus, linkName } from './sysfs.ts';

interface PciFunction {
  readonly vendor: string;
  readonly device: string;
  /** Six digits: class, subclass, programming interface. */
  readonly class: string;
  readonly driver: string | undefined;
}

/** PCI functions by `VENDOR:DEVICE`, `class=…` and `driver=…`, joined by commas: `10de:*,class=0302,driver=vfio-pci`. */
export type PciSelector = (device: PciFunction) => boolean;

/** @throws DevmgrError PLUGIN_INVALID when `text` is no such thing. */
export function parsePciSelector(text: string): PciSelector {
  const conditions = text.split(',').map((part) => condition(part.trim(), text));
  return (device) => conditions.every((holds) => holds(device));
}

function condition(part: string, text: string): PciSelector {
  const ids = /^([0-9a-f]{4}|\*):([0-9a-f]{4}|\*)$/i.exec(part);
  if (ids !== null) {
    const [, vendor = '*', device = '*'] = ids.map((id) => id.toLowerCase());
    return (found) => (vendor === '*' || found.vendor === vendor) && (device === '*' || found.device === device);
  }
  const kind = /^class=(?:0x)?((?:[0-9a-f]{2}){1,3})$/i.exec(part)?.[1]?.toLowerCase();
  if (kind !== undefined) return (found) => found.class.startsWith(kind);
  const driver = /^driver=([\w-]+)$/.exec(part)?.[1];
  if (driver !== undefined) return (found) => found.driver === driver;
  throw new DevmgrError(
    'PLUGIN_INVALID',
    `${JSON.stringify(text)} does not select PCI devices: expected VENDOR:DEVICE like 10de:*, class=0302, driver=vfio-pci, or several of them joined by commas`,
  );
}

/** The node through which all users of VFIO program the IOMMU; it belongs to no device. (Linux: VFIO) */
export const SHARED_VFIO_NODE = 'vfio/vfio';

/**
 * The PCI functions that are there and selected. Functions bound to vfio-pci come with the node of their IOMMU group;
 * those of one group are one device, since only one process can have the group.
 */
export async function findPciDevices(select: PciSelector, sysDir: string): Promise<BusDevice[]> {
  const found = new Map<string, BusDevice>();
  for (const { name, dir } of await devicesOfBus(sysDir, 'pci')) {
    const driver = await linkName(dir, 'driver');
    const [vendor, device, kind] = [await id(dir, 'vendor'), await id(dir, 'device'), await id(dir, 'class')];
    if (!select({ vendor, device, class: kind, driver })) continue;
    const group = driver === 'vfio-pci' ? await linkName(dir, 'iommu_group') : undefined;
    const key = group === undefined ? name : `group ${group}`;
    const earlier = found.get(key);
    found.set(key, {
      bus: 'pci',
      id: earlier?.id ?? `pci-${name}`,
      addresses: [...(earlier?.addresses ?? []), name],
      dirs: [...(earlier?.dirs ?? []), dir],
      extraNodes: group === undefined ? [] : [`vfio/${group}`, SHARED_VFIO_NODE],
    });
  }
  return [...found.values()];
}

/** `0x10de` in sysfs is `10de` for people. */
async function id(dir: string, name: string): Promise<string> {
  return ((await attribute(dir, name)) ?? '').replace(/^0x/, '').toLowerCase();
}
