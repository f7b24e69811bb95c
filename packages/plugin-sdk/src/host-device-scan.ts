import { createHash } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { expandGlob, hasWildcard, namePattern } from './file-glob.ts';
import type { BusSelection, HostDevice } from './host-device-plugin.ts';
import { SHARED_VFIO_NODE, findPciDevices, parsePciSelector } from './pci-devices.ts';
import { nodeNames, numaNodeOf } from './sysfs.ts';
import { findUsbDevices, parseUsbSelector } from './usb-devices.ts';

/** A file of the host that is handed out. */
export interface FoundNode {
  /** Where it is on the host, links followed. */
  readonly hostPath: string;
  /** Where containers see it. */
  readonly containerPath: string;
  /** It is no device node and so must be mounted. */
  readonly mounted: boolean;
  /** It belongs to no device alone: others may have it too. */
  readonly shared?: boolean | undefined;
}

/** One device as found on the host: what is handed to containers, and whether it is there. */
export interface FoundDevice {
  /** Id without the share number. */
  readonly id: string;
  /** The paths by which it is known in containers; none for a device without nodes. */
  readonly paths: readonly string[];
  readonly nodes: readonly FoundNode[];
  readonly permissions: string;
  readonly numaNodes: readonly number[];
  /** Where the device is on its bus: `{ bus: 'pci', addresses: ['0000:3b:00.0'] }`. */
  readonly place?: Pick<BusDevice, 'bus' | 'addresses'> | undefined;
  /** Why the device cannot be used; undefined when it can. */
  readonly problem: string | undefined;
}

/** A device as its bus knows it. */
export interface BusDevice {
  readonly bus: 'pci' | 'usb';
  readonly id: string;
  readonly addresses: readonly string[];
  /** Its directories in sysfs: one, or those of all functions that go together. */
  readonly dirs: readonly string[];
  /** Nodes it needs that sysfs does not list below it, by their names below /dev. */
  readonly extraNodes: readonly string[];
}

/** Longest device id the API's documentation allows. (kubelet: device plugin API v1beta1, Device.ID) */
const MAX_ID_CHARS = 63;

export interface ScanOptions {
  readonly devices: readonly HostDevice[];
  readonly permissions: string;
  readonly allowNonDevices: boolean;
  readonly sysDir: string;
  readonly devDir: string;
  /** Room to leave in an id for the share number. */
  readonly reservedIdChars: number;
}

/** Looks at the host once. Wildcards and selections give what they match now, plain paths one device each, there or not. */
export async function scanHostDevices(options: ScanOptions): Promise<FoundDevice[]> {
  const found = new Map<string, FoundDevice>();
  /** Nodes and bus addresses that an earlier entry has: `[/dev/tty0, /dev/tty*]` does not list tty0 twice. */
  const claimed = new Set<string>();
  const add = (device: FoundDevice): void => {
    for (const { hostPath, shared } of device.nodes) if (shared !== true) claimed.add(hostPath);
    for (const address of device.place?.addresses ?? []) claimed.add(address);
    const id = uniqueId({ ...device, id: shortened(device.id, MAX_ID_CHARS - options.reservedIdChars) }, found);
    found.set(id, { ...device, id });
  };
  for (const entry of options.devices) {
    if (typeof entry !== 'string' && !('paths' in entry)) {
      for (const device of await select(entry, options.sysDir)) {
        if (device.addresses.some((address) => claimed.has(address))) continue;
        const examined = await examineBusDevice(device, entry, options);
        if (!examined.nodes.some(({ hostPath, shared }) => shared !== true && claimed.has(hostPath))) add(examined);
      }
      continue;
    }
    const { paths, ...rest } = typeof entry === 'string' ? { paths: [entry] } : entry;
    const single = paths.length === 1 ? paths[0] : undefined;
    const groups =
      single !== undefined && hasWildcard(single) ? (await expandGlob(single)).map((path) => [path]) : [paths];
    for (const group of groups) {
      const device = await examine(group, rest, options);
      if (group.length === 1 && claimed.has(device.nodes[0]?.hostPath ?? '')) continue;
      add(device);
    }
  }
  return [...found.values()];
}

async function select(entry: BusSelection, sysDir: string): Promise<BusDevice[]> {
  return entry.usb !== undefined
    ? findUsbDevices(parseUsbSelector(entry.usb), sysDir)
    : findPciDevices(parsePciSelector(entry.pci), sysDir);
}

/** A device that is on its bus is there; its nodes have to be there too. */
async function examineBusDevice(device: BusDevice, entry: BusSelection, options: ScanOptions): Promise<FoundDevice> {
  const wanted = entry.nodes?.map(namePattern);
  const names: string[] = [...device.extraNodes];
  for (const dir of device.dirs) names.push(...(await nodeNames(dir)));
  const numaNodes = new Set<number>();
  for (const dir of device.dirs) {
    const node = await numaNodeOf(dir, options.sysDir);
    if (node !== undefined) numaNodes.add(node);
  }
  const paths: string[] = [];
  const nodes: FoundNode[] = [];
  let problem: string | undefined;
  for (const name of new Set(names)) {
    if (wanted?.some((pattern) => pattern.test(name)) === false) continue;
    const path = join('/dev', name);
    const looked = await look(join(options.devDir, name), options, path);
    paths.push(path);
    problem ??= looked.problem;
    nodes.push(...looked.nodes.map((node) => ({ ...node, shared: name === SHARED_VFIO_NODE })));
  }
  if (wanted !== undefined && nodes.length === 0) {
    problem ??= `${device.addresses.join(',')} has none of the nodes ${entry.nodes?.join(', ') ?? ''}`;
  }
  return {
    id: device.id,
    paths,
    nodes,
    permissions: entry.permissions ?? options.permissions,
    numaNodes: [...numaNodes].sort((one, other) => one - other),
    place: device,
    problem,
  };
}

async function examine(
  paths: readonly string[],
  entry: { readonly id?: string | undefined; readonly permissions?: string | undefined },
  options: ScanOptions,
): Promise<FoundDevice> {
  const nodes: FoundNode[] = [];
  const numaNodes = new Set<number>();
  let problem: string | undefined;
  for (const path of paths) {
    const looked = await look(path, options, path);
    problem ??= looked.problem;
    nodes.push(...looked.nodes);
    if (looked.numaNode !== undefined) numaNodes.add(looked.numaNode);
  }
  return {
    id: entry.id ?? idOf(paths),
    paths,
    nodes,
    permissions: entry.permissions ?? options.permissions,
    numaNodes: [...numaNodes].sort((one, other) => one - other),
    problem,
  };
}

interface Look {
  readonly nodes: readonly FoundNode[];
  readonly numaNode?: number | undefined;
  readonly problem?: string | undefined;
}

/**
 * Looks at one path. What a link leads to is handed out under both names, so that programs that were told the stable
 * one (`/dev/serial/by-id/…`) and those that follow it find the node.
 */
async function look(path: string, options: ScanOptions, containerPath: string): Promise<Look> {
  const file = await stat(path).catch((error: unknown) => (error as NodeJS.ErrnoException).code ?? 'unreadable');
  const hostPath = await realpath(path).catch(() => path);
  if (typeof file === 'string') {
    const problem = file === 'ENOENT' ? `${path} does not exist` : `${path}: ${file}`;
    return { nodes: [{ hostPath, containerPath, mounted: false }], problem };
  }
  if (!isDeviceNode(file)) {
    const problem = options.allowNonDevices ? undefined : `${path} is not a device node`;
    return { nodes: [{ hostPath: path, containerPath, mounted: true }], problem };
  }
  const nodes = [{ hostPath, containerPath, mounted: false }];
  if (hostPath !== path && hostPath !== containerPath) {
    nodes.push({ hostPath, containerPath: hostPath, mounted: false });
  }
  return { nodes, numaNode: await numaNodeOf(sysfsDir(file, options.sysDir), options.sysDir) };
}

function isDeviceNode(file: Stats): boolean {
  return file.isCharacterDevice() || file.isBlockDevice();
}

/** Where sysfs describes the hardware behind a device node. */
function sysfsDir(file: Stats, sysDir: string): string {
  const kind = file.isBlockDevice() ? 'block' : 'char';
  // glibc's dev_t: 12 + 20 bits of major and minor, interleaved. (gnu_dev_major, gnu_dev_minor)
  const rdev = BigInt(file.rdev);
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${sysDir}/dev/${kind}/${String(major)}:${String(minor)}/device`;
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
