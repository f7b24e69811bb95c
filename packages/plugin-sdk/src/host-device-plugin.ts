import { DevmgrError } from '@devmgr/core';
import { checkPermissions, deviceNode, env, mount } from './container-response.ts';
import type { ResponsePiece } from './container-response.ts';
import { DirectoryWatch } from './directory-watch.ts';
import { fixedDirectory, hasWildcard } from './file-glob.ts';
import { scanHostDevices } from './host-device-scan.ts';
import type { FoundDevice, ScanOptions } from './host-device-scan.ts';
import type { PluginDevice } from './plugin-device.ts';
import { silentLog } from './plugin-log.ts';
import { servePlugin } from './serve-plugin.ts';
import type { Plugin, PluginPlacement } from './plugin-spec.ts';

/**
 * A path or a pattern (`/dev/ttyUSB*`), or one device made of several nodes. A plain path is always listed, as
 * Unhealthy while it is not there; a pattern lists what it matches now.
 */
export type HostDevice = string | HostDeviceGroup;

export interface HostDeviceGroup {
  /** Nodes that are handed out together. One path alone may be a pattern, which gives a device for each match. */
  readonly paths: readonly string[];
  /** Default: made from the first path, `/dev/snd/timer` is `snd-timer`. */
  readonly id?: string | undefined;
  /** Combination of `r`, `w` and `m`. Default: the plugin's. */
  readonly permissions?: string | undefined;
}

export interface HostDeviceOptions {
  readonly resource: string;
  readonly devices: readonly HostDevice[];
  /** How many containers may share a device: each is listed so many times, as `ID-0`, `ID-1`, … Default: 1, listed as `ID`. */
  readonly count?: number | undefined;
  /** Combination of `r`, `w` and `m`. Default: `rw`. */
  readonly permissions?: string | undefined;
  /** Further mounts, environment and annotations for every container that gets a device. */
  readonly extras?: readonly ResponsePiece[] | undefined;
  /** Accept FIFOs, sockets, files and directories too; they are mounted, not made as nodes. Default: false, they are Unhealthy. */
  readonly allowNonDevices?: boolean | undefined;
  /** Pause between two looks at the host, in milliseconds; changes of the directories are noticed earlier. Default: 5000. */
  readonly scanEveryMs?: number | undefined;
  /** Where sysfs is. Default: `/sys`. */
  readonly sysDir?: string | undefined;
}

/**
 * Hands out device nodes of the host, at the same path in the container. They appear, become unhealthy and disappear
 * as the nodes do; NUMA nodes come from sysfs. Containers also get `<RESOURCE>_DEVICES` (see {@link devicesVariable}),
 * the paths of their devices separated by commas.
 *
 * @throws DevmgrError PLUGIN_INVALID when the description cannot work.
 */
export function hostDevicePlugin(options: HostDeviceOptions & PluginPlacement): Plugin {
  checkOptions(options);
  const { resource, count = 1, extras = [], scanEveryMs = 5_000, log = silentLog } = options;
  const scanOptions: ScanOptions = {
    devices: options.devices,
    permissions: options.permissions ?? 'rw',
    allowNonDevices: options.allowNonDevices ?? false,
    sysDir: options.sysDir ?? '/sys',
    reservedIdChars: count === 1 ? 0 : String(count).length + 1,
  };
  const problems = new Map<string, string>();
  const known = new Map<string, FoundDevice>();

  const scan = async (): Promise<PluginDevice[]> => {
    const found = await scanHostDevices(scanOptions);
    known.clear();
    return found.flatMap((device) => {
      if (device.problem !== problems.get(device.id)) {
        if (device.problem === undefined) problems.delete(device.id);
        else problems.set(device.id, device.problem);
        log.info({ resource, device: device.id, problem: device.problem ?? null }, 'device looked at');
      }
      return Array.from({ length: count }, (_, share) => {
        const id = count === 1 ? device.id : `${device.id}-${String(share)}`;
        known.set(id, device);
        const health = device.problem === undefined ? 'Healthy' : 'Unhealthy';
        return { id, health, numaNodes: device.numaNodes };
      });
    });
  };

  return servePlugin({
    ...options,
    resource,
    devices: { scan, everyMs: scanEveryMs, watch: (rescan) => watchDirectories(options.devices, rescan) },
    allocate: (ids) => {
      // Shares of one device in one container give its nodes once.
      const devices = new Set(ids.map((id) => known.get(id)).filter((device) => device !== undefined));
      for (const { problem } of devices) if (problem !== undefined) throw new Error(problem);
      const pieces = [...devices].flatMap(piecesOf);
      const paths = [...devices].flatMap((device) => device.paths);
      return [...pieces, env({ [devicesVariable(resource)]: paths.join(',') }), ...extras];
    },
  });
}

/** The variable that names a container's devices: the resource in capitals, all but letters and digits as `_`, and `_DEVICES`; `example.com/tty` gives `EXAMPLE_COM_TTY_DEVICES`. */
export function devicesVariable(resource: string): string {
  const name = resource.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
  return `${/^\d/.test(name) ? '_' : ''}${name}_DEVICES`;
}

function piecesOf(device: FoundDevice): ResponsePiece[] {
  const { permissions } = device;
  return device.paths.map((path) =>
    device.mounted.has(path)
      ? mount(path, { readOnly: !permissions.includes('w') })
      : deviceNode(path, { permissions }),
  );
}

/** File events in the directories where nodes appear; sub-directories made later are found by the scan. */
function watchDirectories(devices: readonly HostDevice[], rescan: () => void): () => void {
  const paths = devices.flatMap((device) => (typeof device === 'string' ? [device] : device.paths));
  const watches = [...new Set(paths.map(fixedDirectory))].map((dir) => new DirectoryWatch(dir, rescan));
  const ensure = (): void => {
    for (const watch of watches) void watch.ensure();
  };
  ensure();
  const timer = setInterval(ensure, 5_000);
  return () => {
    clearInterval(timer);
    for (const watch of watches) watch.close();
  };
}

function checkOptions(options: HostDeviceOptions): void {
  const { resource, devices, count = 1, permissions = 'rw' } = options;
  const invalid = (what: string): DevmgrError => new DevmgrError('PLUGIN_INVALID', `${resource}: ${what}`);
  if (!Number.isSafeInteger(count) || count < 1 || count > 100_000) {
    throw invalid('count must be a whole number from 1 to 100000');
  }
  checkPermissions(resource, permissions);
  if (!isList(devices) || devices.length === 0) throw invalid('devices must name at least one path');
  for (const [index, entry] of devices.entries()) {
    const place = `devices[${String(index)}]`;
    const { paths, id, permissions: own } = typeof entry === 'string' ? { paths: [entry] } : entry;
    if (!isList(paths) || paths.length === 0) throw invalid(`${place} names no path`);
    if (own !== undefined) checkPermissions(`${resource}: ${place}`, own);
    if (id === '') throw invalid(`${place}.id is empty`);
    for (const path of paths) {
      if (typeof path !== 'string' || !path.startsWith('/')) {
        throw invalid(`${place}: ${JSON.stringify(path)} is not an absolute path`);
      }
      if (hasWildcard(path) && (paths.length > 1 || id !== undefined)) {
        throw invalid(`${place}: the pattern ${path} can neither be part of a group nor have an id`);
      }
    }
  }
}

/** `Array.isArray` that keeps the element type. Callers in plain JavaScript may pass anything. */
function isList<T>(value: readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}
