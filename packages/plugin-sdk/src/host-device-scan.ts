import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { expandGlob, hasWildcard } from './file-glob.ts';
import type { HostDevice } from './host-device-plugin.ts';

/** One device as found on the host: what is handed to containers, and whether it is there. */
export interface FoundDevice {
  /** Id without the share number. */
  readonly id: string;
  readonly paths: readonly string[];
  /** The paths that are no device nodes and so must be mounted. */
  readonly mounted: ReadonlySet<string>;
  readonly permissions: string;
  readonly numaNodes: readonly number[];
  /** Why the device cannot be used; undefined when it can. */
  readonly problem: string | undefined;
}

/** Longest device id the API's documentation allows. (kubelet: device plugin API v1beta1, Device.ID) */
const MAX_ID_CHARS = 63;

export interface ScanOptions {
  readonly devices: readonly HostDevice[];
  readonly permissions: string;
  readonly allowNonDevices: boolean;
  readonly sysDir: string;
  /** Room to leave in an id for the share number. */
  readonly reservedIdChars: number;
}

/** Looks at the host once. Wildcards give what they match now, plain paths one device each, there or not. */
export async function scanHostDevices(options: ScanOptions): Promise<FoundDevice[]> {
  const found = new Map<string, FoundDevice>();
  const claimed = new Set<string>();
  for (const entry of options.devices) {
    const { paths, ...rest } = typeof entry === 'string' ? { paths: [entry] } : entry;
    const single = paths.length === 1 ? paths[0] : undefined;
    const groups =
      single !== undefined && hasWildcard(single) ? (await expandGlob(single)).map((path) => [path]) : [paths];
    for (const group of groups) {
      // A node named by an earlier entry stays with it: `[/dev/tty0, /dev/tty*]` does not list tty0 twice.
      if (group.length === 1 && claimed.has(group[0] ?? '')) continue;
      const device = await examine(group, rest, options);
      for (const path of group) claimed.add(path);
      found.set(uniqueId(device, found), { ...device, id: uniqueId(device, found) });
    }
  }
  return [...found.values()];
}

async function examine(
  paths: readonly string[],
  entry: { readonly id?: string | undefined; readonly permissions?: string | undefined },
  options: ScanOptions,
): Promise<FoundDevice> {
  const mounted = new Set<string>();
  const numaNodes = new Set<number>();
  let problem: string | undefined;
  for (const path of paths) {
    const file = await stat(path).catch((error: unknown) => (error as NodeJS.ErrnoException).code ?? 'unreadable');
    if (typeof file === 'string') problem ??= file === 'ENOENT' ? `${path} does not exist` : `${path}: ${file}`;
    else if (isDeviceNode(file)) {
      const node = await numaNodeOf(file, options.sysDir);
      if (node !== undefined) numaNodes.add(node);
    } else {
      mounted.add(path);
      if (!options.allowNonDevices) problem ??= `${path} is not a device node`;
    }
  }
  const id = shortened(entry.id ?? idOf(paths), MAX_ID_CHARS - options.reservedIdChars);
  const permissions = entry.permissions ?? options.permissions;
  return { id, paths, mounted, permissions, numaNodes: [...numaNodes].sort((one, other) => one - other), problem };
}

function isDeviceNode(file: Stats): boolean {
  return file.isCharacterDevice() || file.isBlockDevice();
}

/** The NUMA node of the hardware behind a device node, as sysfs knows it. (Linux: sysfs-devices, numa_node; -1 when unknown) */
async function numaNodeOf(file: Stats, sysDir: string): Promise<number | undefined> {
  const kind = file.isBlockDevice() ? 'block' : 'char';
  // glibc's dev_t: 12 + 20 bits of major and minor, interleaved. (gnu_dev_major, gnu_dev_minor)
  const rdev = BigInt(file.rdev);
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  const path = `${sysDir}/dev/${kind}/${String(major)}:${String(minor)}/device/numa_node`;
  const node = Number.parseInt(await readFile(path, 'utf8').catch(() => '-1'), 10);
  return Number.isSafeInteger(node) && node >= 0 ? node : undefined;
}

/** `/dev/snd/timer` becomes `snd-timer`, `/srv/x` becomes `srv-x`. */
function idOf(paths: readonly string[]): string {
  const path = paths[0] ?? '';
  return path.replace(/^\/(dev\/)?/, '').replaceAll('/', '-') || 'root';
}

function shortened(id: string, maxChars: number): string {
  return id.length <= maxChars ? id : `${id.slice(0, maxChars - 9)}-${digest(id)}`;
}

/** Two paths may give one id (`/dev/a-b`, `/dev/a/b`): the later one gets a suffix made from its path, the same at every scan. */
function uniqueId(device: FoundDevice, found: ReadonlyMap<string, FoundDevice>): string {
  return found.has(device.id)
    ? `${device.id.slice(0, MAX_ID_CHARS - 18)}-${digest(device.paths.join(','))}`
    : device.id;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
