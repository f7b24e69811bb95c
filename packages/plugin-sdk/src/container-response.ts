import { DevmgrError } from '@devmgr/core';
import type { deviceplugin } from '@devmgr/wire';

/** A part of what a container gets; `allocate` answers with one or a list of them. The helpers below make them. */
export type ResponsePiece = Partial<deviceplugin.ContainerAllocateResponse>;

/** Environment variables. */
export function env(variables: Readonly<Record<string, string>>): ResponsePiece {
  const envs = new Map(Object.entries(variables));
  for (const [name, value] of envs) {
    if (name === '' || name.includes('=') || name.includes('\0')) {
      throw invalid(`env: ${JSON.stringify(name)} cannot be the name of an environment variable`);
    }
    if (typeof value !== 'string' || value.includes('\0')) {
      throw invalid(`env: the value of ${name} is not a string without NUL`);
    }
  }
  return { envs };
}

/** A file or directory of the host in the container, at the same path unless `containerPath` says otherwise. Read-only on request. */
export function mount(
  hostPath: string,
  options: { containerPath?: string | undefined; readOnly?: boolean | undefined } = {},
): ResponsePiece {
  const { containerPath = hostPath, readOnly = false } = options;
  absolute('mount', hostPath);
  absolute('mount', containerPath);
  return { mounts: [{ hostPath, containerPath, readOnly }] };
}

/** A device node of the host in the container. `permissions` is any combination of `r`, `w` and `m` (mknod); `rw` unless given. */
export function deviceNode(
  hostPath: string,
  options: { containerPath?: string | undefined; permissions?: string | undefined } = {},
): ResponsePiece {
  const { containerPath = hostPath, permissions = 'rw' } = options;
  absolute('deviceNode', hostPath);
  absolute('deviceNode', containerPath);
  checkPermissions('deviceNode', permissions);
  return { devices: [{ hostPath, containerPath, permissions }] };
}

/** Annotations for the container runtime. */
export function annotations(entries: Readonly<Record<string, string>>): ResponsePiece {
  return { annotations: new Map(Object.entries(entries)) };
}

/** Vendor (a domain), class, device name: the qualified name of the Container Device Interface. */
const CDI_NAME =
  /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

/** A device of the Container Device Interface by its qualified name, as in `vendor.com/class=device`. (CDI 0.6 and later) */
export function cdiDevice(name: string): ResponsePiece {
  if (!CDI_NAME.test(name)) {
    throw invalid(`cdiDevice: ${JSON.stringify(name)} is not a qualified name like vendor.com/class=device`);
  }
  return { cdiDevices: [{ name }] };
}

/** Puts pieces together. The last one wins where two set the same variable or annotation. */
export function containerResponse(
  pieces: ResponsePiece | readonly ResponsePiece[] | undefined,
): deviceplugin.ContainerAllocateResponse {
  const whole: deviceplugin.ContainerAllocateResponse = {
    envs: new Map(),
    mounts: [],
    devices: [],
    annotations: new Map(),
    cdiDevices: [],
  };
  for (const piece of pieces === undefined ? [] : isList(pieces) ? pieces : [pieces]) {
    for (const [name, value] of piece.envs ?? []) whole.envs.set(name, value);
    for (const [name, value] of piece.annotations ?? []) whole.annotations.set(name, value);
    whole.mounts.push(...(piece.mounts ?? []));
    whole.devices.push(...(piece.devices ?? []));
    whole.cdiDevices.push(...(piece.cdiDevices ?? []));
  }
  return whole;
}

/** @throws DevmgrError PLUGIN_INVALID unless `permissions` is made of `r`, `w` and `m`, each at most once. */
export function checkPermissions(place: string, permissions: string): void {
  if (!/^[rwm]{1,3}$/.test(permissions) || new Set(permissions).size !== permissions.length) {
    throw invalid(`${place}: permissions ${JSON.stringify(permissions)} are not a combination of r, w and m`);
  }
}

function isList(pieces: ResponsePiece | readonly ResponsePiece[]): pieces is readonly ResponsePiece[] {
  return Array.isArray(pieces);
}

function absolute(place: string, path: string): void {
  if (!path.startsWith('/')) throw invalid(`${place}: ${JSON.stringify(path)} is not an absolute path`);
}

function invalid(message: string): DevmgrError {
  return new DevmgrError('PLUGIN_INVALID', message);
}
