import { join } from 'node:path';
import { DirectoryWatch } from './directory-watch.ts';
import { expandGlob, fixedDirectory } from './file-glob.ts';
import type { ScanOptions } from './host-device-scan.ts';

/** How often directories that were made or replaced meanwhile are found, in milliseconds. */
const ENSURE_MS = 5_000;

/**
 * File events where nodes appear, as hints. The kernel sends none for sysfs; but a device that is plugged in gets its
 * nodes, and what has none is found by the next scan.
 *
 * @returns how to stop
 */
export function watchHostDevices(options: ScanOptions, rescan: () => void): () => void {
  const watches = new Map<string, DirectoryWatch>();
  let closed = false;
  const ensure = async (): Promise<void> => {
    const dirs = new Set(await directoriesOf(options));
    if (closed) return;
    for (const dir of dirs) if (!watches.has(dir)) watches.set(dir, new DirectoryWatch(dir, rescan));
    for (const [dir, watch] of watches) {
      if (dirs.has(dir)) void watch.ensure();
      else {
        watch.close();
        watches.delete(dir);
      }
    }
  };
  void ensure();
  const timer = setInterval(() => void ensure(), ENSURE_MS);
  return () => {
    closed = true;
    clearInterval(timer);
    for (const watch of watches.values()) watch.close();
  };
}

async function directoriesOf({ devices, devDir, sysDir }: ScanOptions): Promise<string[]> {
  const dirs: string[] = [];
  for (const entry of devices) {
    if (typeof entry === 'string') dirs.push(fixedDirectory(entry));
    else if ('paths' in entry) dirs.push(...entry.paths.map(fixedDirectory));
    else if (entry.usb !== undefined) {
      dirs.push(devDir, join(sysDir, 'bus/usb/devices'), ...(await expandGlob(join(devDir, 'bus/usb/*'))));
    } else dirs.push(devDir, join(devDir, 'vfio'), join(devDir, 'dri'), join(sysDir, 'bus/pci/devices'));
  }
  return dirs;
}
