import { DevmgrError } from '@devmgr/core';

/**
 * A description of devices for container runtimes: what a container gets when it is given `KIND=NAME`. The shapes are
 * those of the Container Device Interface; `cdiDocument` makes the JSON of it, checked and with its version.
 */
export interface CdiSpec {
  /** `vendor.domain/class`, for example `example.com/gpu`. */
  readonly kind: string;
  readonly devices: readonly CdiSpecDevice[];
  /** What a container gets, once, when it is given any device of the kind. */
  readonly edits?: CdiEdits | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface CdiSpecDevice {
  /** Letters, digits, `_`, `-`, `.` and `:`, the first and the last a letter or digit. See `cdiName` for ids that are not. */
  readonly name: string;
  readonly edits: CdiEdits;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** What a runtime changes about a container. */
export interface CdiEdits {
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly deviceNodes?: readonly CdiDeviceNode[] | undefined;
  readonly mounts?: readonly CdiMount[] | undefined;
  readonly hooks?: readonly CdiHook[] | undefined;
  /** Network interfaces of the host that move into the container. (CDI 1.1.0) */
  readonly netDevices?: readonly { readonly hostInterfaceName: string; readonly name: string }[] | undefined;
  /** Groups of the container's process. (CDI 0.7.0) */
  readonly additionalGids?: readonly number[] | undefined;
  readonly intelRdt?: CdiIntelRdt | undefined;
}

export interface CdiDeviceNode {
  /** In the container. */
  readonly path: string;
  /** On the host; the same unless given. */
  readonly hostPath?: string | undefined;
  readonly type?: 'b' | 'c' | 'u' | 'p' | undefined;
  readonly major?: number | undefined;
  readonly minor?: number | undefined;
  readonly fileMode?: number | undefined;
  /** Combination of `r`, `w` and `m`, or `none`; the runtime's default is `rwm`. */
  readonly permissions?: string | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  /** As for mount(8), for example `['ro', 'nosuid', 'bind']`. */
  readonly options?: readonly string[] | undefined;
  readonly type?: string | undefined;
}

export interface CdiHook {
  readonly hookName: 'prestart' | 'createRuntime' | 'createContainer' | 'startContainer' | 'poststart' | 'poststop';
  readonly path: string;
  readonly args?: readonly string[] | undefined;
  readonly env?: readonly string[] | undefined;
  /** Seconds. */
  readonly timeout?: number | undefined;
}

/** (CDI 0.7.0; `schemata` and `enableMonitoring` 1.1.0) */
export interface CdiIntelRdt {
  readonly closID?: string | undefined;
  readonly l3CacheSchema?: string | undefined;
  readonly memBwSchema?: string | undefined;
  readonly schemata?: readonly string[] | undefined;
  readonly enableMonitoring?: boolean | undefined;
}

/** The versions a document may have: old runtimes refuse newer numbers, so the lowest that suffices is chosen. */
type CdiVersion = '0.6.0' | '0.7.0' | '1.1.0';

const CLASS = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const VENDOR = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/;
const DEVICE = /^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;
const HOOKS = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'];

/**
 * The document a CDI spec file holds, with the lowest version from 0.6.0 to 1.1.0 that has all that is used.
 *
 * @throws DevmgrError PLUGIN_INVALID naming the place that runtimes would refuse.
 */
export function cdiDocument(spec: CdiSpec): Record<string, unknown> {
  const { kind, devices, edits, annotations } = spec;
  const [vendor = '', className = '', more] = kind.split('/');
  if (!VENDOR.test(vendor) || !CLASS.test(className) || more !== undefined) {
    throw invalid(kind, 'the kind is not a vendor domain, a slash and a class like example.com/gpu');
  }
  const seen = new Set<string>();
  const written = devices.map((device, index) => {
    const place = `devices[${String(index)}]`;
    if (!DEVICE.test(device.name)) {
      throw invalid(
        kind,
        `${place}.name ${JSON.stringify(device.name)} is not a device name; cdiName makes one of any id`,
      );
    }
    if (seen.has(device.name)) throw invalid(kind, `${place}.name ${JSON.stringify(device.name)} is there twice`);
    seen.add(device.name);
    return {
      name: device.name,
      annotations: device.annotations,
      containerEdits: editsDocument(kind, place, device.edits),
    };
  });
  return {
    cdiVersion: cdiVersion([edits, ...devices.map((device) => device.edits)]),
    kind,
    ...(annotations === undefined ? {} : { annotations }),
    devices: written,
    ...(edits === undefined ? {} : { containerEdits: editsDocument(kind, 'edits', edits) }),
  };
}

/**
 * A CDI device name made of any id: other characters become `_`. Ids that differ may get the same name; the spec is
 * refused then.
 */
export function cdiName(id: string): string {
  const name = id
    .replaceAll(/[^A-Za-z0-9_.:-]/g, '_')
    .replace(/^[^A-Za-z0-9]+/, '')
    .replace(/[^A-Za-z0-9]+$/, '');
  if (name === '') throw invalid(id, 'no CDI device name can be made of this id');
  return name;
}

function cdiVersion(all: readonly (CdiEdits | undefined)[]): CdiVersion {
  let version: CdiVersion = '0.6.0';
  for (const edits of all) {
    const rdt = edits?.intelRdt;
    if (isFilled(edits?.netDevices) || rdt?.schemata !== undefined || rdt?.enableMonitoring === true) return '1.1.0';
    if (rdt !== undefined || isFilled(edits?.additionalGids)) version = '0.7.0';
  }
  return version;
}

/** The field names and their places are those of the CDI specification; empty lists are left out. */
function editsDocument(kind: string, place: string, edits: CdiEdits): Record<string, unknown> {
  const { env, deviceNodes, mounts, hooks, netDevices, additionalGids, intelRdt } = edits;
  const problem = (what: string): DevmgrError => invalid(kind, `${place}: ${what}`);
  for (const [name, value] of Object.entries(env ?? {})) {
    if (name === '' || /[=\0]/.test(name) || value.includes('\0')) {
      throw problem(`${JSON.stringify(name)} cannot be an environment variable`);
    }
  }
  for (const { path, hostPath, permissions } of deviceNodes ?? []) {
    if (!isAbsolute(path) || (hostPath !== undefined && !isAbsolute(hostPath))) {
      throw problem(`the device node ${JSON.stringify(hostPath ?? path)} is not an absolute path`);
    }
    if (permissions !== undefined && permissions !== 'none' && !/^(?!.*(.).*\1)[rwm]{1,3}$/.test(permissions)) {
      throw problem(`permissions ${JSON.stringify(permissions)} are neither a combination of r, w and m nor none`);
    }
  }
  for (const { hostPath, containerPath } of mounts ?? []) {
    if (hostPath === '' || !isAbsolute(containerPath)) {
      throw problem(`the mount of ${JSON.stringify(hostPath)} needs a host path and an absolute container path`);
    }
  }
  for (const { hookName, path } of hooks ?? []) {
    if (!HOOKS.includes(hookName))
      throw problem(`${JSON.stringify(hookName)} is not a hook; there are ${HOOKS.join(', ')}`);
    if (!isAbsolute(path)) throw problem(`the hook ${JSON.stringify(path)} is not an absolute path`);
  }
  for (const { hostInterfaceName, name } of netDevices ?? []) {
    if (hostInterfaceName === '' || name === '')
      throw problem('a network device needs its name on the host and inside');
  }
  for (const gid of additionalGids ?? []) {
    if (!Number.isSafeInteger(gid) || gid < 0 || gid >= 2 ** 32) throw problem(`${String(gid)} is not a group id`);
  }
  const document: Record<string, unknown> = {};
  if (env !== undefined) document['env'] = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  if (isFilled(deviceNodes)) document['deviceNodes'] = deviceNodes;
  if (isFilled(mounts)) document['mounts'] = mounts;
  if (isFilled(hooks)) document['hooks'] = hooks;
  if (isFilled(netDevices)) document['netDevices'] = netDevices;
  if (isFilled(additionalGids)) document['additionalGids'] = additionalGids;
  if (intelRdt !== undefined) document['intelRdt'] = intelRdt;
  // A device without any edit is refused by runtimes.
  if (place !== 'edits' && Object.keys(document).length === 0) throw problem('the device has no edits');
  return document;
}

function isFilled<T>(list: readonly T[] | undefined): list is readonly T[] {
  return list !== undefined && list.length > 0;
}

function isAbsolute(path: string): boolean {
  return path.startsWith('/');
}

function invalid(kind: string, what: string): DevmgrError {
  return new DevmgrError('PLUGIN_INVALID', `CDI spec ${JSON.stringify(kind)}: ${what}`);
}
