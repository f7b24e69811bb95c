import { readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Reading what Linux tells of devices in sysfs. What cannot be read is as good as not there: devices may go at any moment. */

/** Directories below a device that are devices of their own: PCI functions behind a bridge, USB devices behind a hub. */
const OTHER_DEVICE = /^([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|usb\d+|\d+-\d+(\.\d+)*)$/;
/** How deep below its device a node is looked for; `1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0` is four. */
const MAX_DEPTH = 8;

/** The devices of a bus: the name of each with its directory. Empty when there is no such bus. */
export async function devicesOfBus(sysDir: string, bus: 'pci' | 'usb'): Promise<{ name: string; dir: string }[]> {
  const dir = join(sysDir, 'bus', bus, 'devices');
  const names = await readdir(dir).catch(() => []);
  return names.sort().map((name) => ({ name, dir: join(dir, name) }));
}

/** An attribute without the white space around it; undefined when there is none. */
export async function attribute(dir: string, name: string): Promise<string | undefined> {
  const text = await readFile(join(dir, name), 'utf8').catch(() => '');
  return text.trim() === '' ? undefined : text.trim();
}

/** The last part of where a link leads: the name of a driver, the number of an IOMMU group. */
export async function linkName(dir: string, name: string): Promise<string | undefined> {
  const target = await readlink(join(dir, name)).catch(() => undefined);
  return target === undefined ? undefined : basename(target);
}

/** Names (below /dev) of the nodes of a device and of what its drivers made of it, sorted. (Linux: uevent, DEVNAME) */
export async function nodeNames(deviceDir: string): Promise<string[]> {
  const found: string[] = [];
  const walk = async (dir: string, depth: number): Promise<void> => {
    const name = /^DEVNAME=(.+)$/m.exec((await attribute(dir, 'uevent')) ?? '')?.[1];
    if (name !== undefined) found.push(name);
    if (depth === MAX_DEPTH) return;
    // Links lead to other devices, to drivers and back up: only real directories belong to this device.
    for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
      if (entry.isDirectory() && !OTHER_DEVICE.test(entry.name)) await walk(join(dir, entry.name), depth + 1);
    }
  };
  await walk(await realpath(deviceDir).catch(() => deviceDir), 0);
  return found.sort();
}

/** The NUMA node of a device, or of the nearest device it hangs on. (Linux: sysfs-devices, numa_node; -1 when unknown) */
export async function numaNodeOf(deviceDir: string, sysDir: string): Promise<number | undefined> {
  const top = await realpath(sysDir).catch(() => sysDir);
  let dir = await realpath(deviceDir).catch(() => top);
  while (dir.startsWith(`${top}/`)) {
    const node = Number.parseInt((await attribute(dir, 'numa_node')) ?? '-1', 10);
    if (Number.isSafeInteger(node) && node >= 0) return node;
    dir = dirname(dir);
  }
  return undefined;
}
