import { DevmgrError } from '@devmgr/core';
import { checkPermissions, deviceNode, env, mount } from './container-response.ts';
import type { ResponsePiece } from './container-response.ts';
import { hasWildcard } from './file-glob.ts';
import { scanHostDevices } from './host-device-scan.ts';
import type { FoundDevice, ScanOptions } from './host-device-scan.ts';
import { watchHostDevices } from './host-device-watch.ts';
import { parsePciSelector } from './pci-devices.ts';
import type { PluginDevice } from './plugin-device.ts';
import { silentLog } from './plugin-log.ts';
import { servePlugin } from './serve-plugin.ts';
import type { Plugin, PluginPlacement } from './plugin-spec.ts';
import { parseUsbSelector } from './usb-devices.ts';

/**
 * A path or a pattern (`/dev/ttyUSB*`), one device made of several nodes, or devices chosen on their bus. A plain path
 * is always listed, as Unhealthy while it is not there; patterns and choices list what they match now.
 */
export type HostDevice = string | HostDeviceGroup | BusSelection;

/** Devices by what they are, wherever they are plugged in. What an earlier entry lists already is left out. */
export type BusSelection = {
  /** Give only those of the device's nodes whose names below /dev match: `tty*`, `dri/render*`. Default: all it has. */
  readonly nodes?: readonly string[] | undefined;
  /** Combination of `r`, `w` and `m`. Default: the plugin's. */
  readonly permissions?: string | undefined;
} & (
  | {
      /** `VENDOR:PRODUCT[:SERIAL]`; the product may be `*`, the serial number a pattern: `0403:6001:A5*`. */
      readonly usb: string;
      readonly pci?: undefined;
    }
  | {
      /** `VENDOR:DEVICE`, either of which may be `*`, `class=…`, `driver=…`, or several of them joined by commas. */
      readonly pci: string;
      readonly usb?: undefined;
    }
);

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
  /** Where the nodes of devices chosen on a bus are; containers see them below /dev. Default: `/dev`. */
  readonly devDir?: string | undefined;
}

/**
 * Hands out device nodes of the host, at the same path in the container. They appear, become unhealthy and disappear
 * as the nodes do; NUMA nodes come from sysfs. Containers also get `<RESOURCE>_DEVICES` (see {@link devicesVariable}),
 * the paths of their devices separated by commas, and for devices chosen on a bus `PCIDEVICE_<RESOURCE>` or
 * `USBDEVICE_<RESOURCE>`, their addresses.
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
    devDir: options.devDir ?? '/dev',
    reservedIdChars: count === 1 ? 0 : String(count).length + 1,
  };
  const problems = new Map<string, string>();

  /** What is there now, by the ids under which it is listed. */
  const look = async (): Promise<Map<string, FoundDevice>> => {
    const found = await scanHostDevices(scanOptions);
    return new Map(
      found.flatMap((device) =>
        Array.from({ length: count }, (_, share) => [
          count === 1 ? device.id : `${device.id}-${String(share)}`,
          device,
        ]),
      ),
    );
  };

  const scan = async (): Promise<PluginDevice[]> => {
    const known = await look();
    for (const device of new Set(known.values())) {
      if (device.problem === problems.get(device.id)) continue;
      if (device.problem === undefined) problems.delete(device.id);
      else problems.set(device.id, device.problem);
      log.info({ resource, device: device.id, problem: device.problem ?? null }, 'device looked at');
    }
    return [...known].map(([id, { problem, numaNodes }]) => ({
      id,
      health: problem === undefined ? 'Healthy' : 'Unhealthy',
      numaNodes,
    }));
  };

  return servePlugin({
    ...options,
    resource,
    devices: { scan, everyMs: scanEveryMs, watch: (rescan) => watchHostDevices(scanOptions, rescan) },
    allocate: async (ids) => {
      // Looked at again: a device that was plugged in anew has other nodes than at the last scan.
      const known = await look();
      // Shares of one device in one container give its nodes once.
      const devices = new Set<FoundDevice>();
      for (const id of ids) {
        const device = known.get(id);
        const problem = device === undefined ? `${id} is not there any more` : device.problem;
        if (problem !== undefined) throw new Error(problem);
        if (device !== undefined) devices.add(device);
      }
      return [...[...devices].flatMap(nodePieces), env(variablesOf(resource, [...devices])), ...extras];
    },
  });
}

/** The variable that names a container's devices: the resource in capitals, all but letters and digits as `_`, and `_DEVICES`; `example.com/tty` gives `EXAMPLE_COM_TTY_DEVICES`. */
export function devicesVariable(resource: string): string {
  const name = inCapitals(resource);
  return `${/^\d/.test(name) ? '_' : ''}${name}_DEVICES`;
}

function inCapitals(resource: string): string {
  return resource.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
}

function variablesOf(resource: string, devices: readonly FoundDevice[]): Record<string, string> {
  const variables: Record<string, string> = {
    [devicesVariable(resource)]: devices.flatMap((device) => device.paths).join(','),
  };
  for (const bus of ['pci', 'usb'] as const) {
    const addresses = devices.flatMap(({ place }) => (place?.bus === bus ? place.addresses : []));
    // The name that plugins for SR-IOV made customary.
    if (addresses.length > 0) variables[`${bus.toUpperCase()}DEVICE_${inCapitals(resource)}`] = addresses.join(',');
  }
  return variables;
}

function nodePieces({ nodes, permissions }: FoundDevice): ResponsePiece[] {
  return nodes.map(({ hostPath, containerPath, mounted }) =>
    mounted
      ? mount(hostPath, { containerPath, readOnly: !permissions.includes('w') })
      : deviceNode(hostPath, { containerPath, permissions }),
  );
}

function checkOptions(options: HostDeviceOptions): void {
  const { resource, devices, count = 1, permissions = 'rw' } = options;
  const invalid = (what: string): DevmgrError => new DevmgrError('PLUGIN_INVALID', `${resource}: ${what}`);
  if (!Number.isSafeInteger(count) || count < 1 || count > 100_000) {
    throw invalid('count must be a whole number from 1 to 100000');
  }
  checkPermissions(resource, permissions);
  if (!isList(devices) || devices.length === 0) throw invalid('devices must name at least one device');
  for (const [index, entry] of devices.entries()) {
    const place = `devices[${String(index)}]`;
    if (typeof entry === 'object' && !('paths' in entry)) {
      if (entry.usb !== undefined) parseUsbSelector(entry.usb);
      else parsePciSelector(entry.pci);
      if (entry.permissions !== undefined) checkPermissions(`${resource}: ${place}`, entry.permissions);
      continue;
    }
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
