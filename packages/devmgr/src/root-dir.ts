import { isAbsolute, join, resolve } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { KUBELET_ROOT_DIR } from '@devmgr/plugin-sdk/running';

/** Bytes a unix socket path may have on Linux: `sun_path` holds 108, one of them the closing zero. */
export const MAX_SOCKET_PATH_BYTES = 107;

export { KUBELET_ROOT_DIR };

/** The longest socket devmgr itself opens below the root directory; plugins put theirs beside it. */
const LONGEST_SOCKET = 'device-plugins/kubelet.sock';

export interface RootDirInput {
  /** `--root-dir`, as typed. */
  readonly flag: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Effective user id; undefined where the system has none. */
  readonly uid: number | undefined;
  readonly homeDir: string;
}

/**
 * The directory that holds sockets and state: `--root-dir`, else DEVMGR_ROOT_DIR, else `/var/lib/kubelet` for root and
 * `$XDG_RUNTIME_DIR/devmgr` or `~/.devmgr` for everyone else. Absolute; need not exist.
 * Throws PATH_TOO_LONG when sockets below it could not be opened, naming where the directory came from.
 */
export function resolveRootDir(input: RootDirInput): string {
  const { path, origin } = chooseRootDir(input);
  const socketPath = join(path, LONGEST_SOCKET);
  const sizeBytes = Buffer.byteLength(socketPath);
  if (sizeBytes > MAX_SOCKET_PATH_BYTES) {
    throw new DevmgrError(
      'PATH_TOO_LONG',
      `the root directory ${path} (from ${origin}) is too long: ${socketPath} has ${String(sizeBytes)} bytes, and a socket path may have ${String(MAX_SOCKET_PATH_BYTES)}`,
    );
  }
  return path;
}

function chooseRootDir({ flag, env, uid, homeDir }: RootDirInput): { path: string; origin: string } {
  if (flag === '')
    throw new DevmgrError('USAGE', '--root-dir needs a directory', { remedy: 'Give one, or leave the flag out.' });
  if (flag !== undefined) return { path: resolve(flag), origin: '--root-dir' };
  const fromEnv = env['DEVMGR_ROOT_DIR'];
  if (fromEnv) return { path: resolve(fromEnv), origin: 'DEVMGR_ROOT_DIR' };
  if (uid === 0) return { path: KUBELET_ROOT_DIR, origin: 'the default for root' };
  const runtimeDir = env['XDG_RUNTIME_DIR'];
  // The XDG specification: a relative path there is invalid and to be ignored.
  if (runtimeDir && isAbsolute(runtimeDir)) return { path: join(runtimeDir, 'devmgr'), origin: 'XDG_RUNTIME_DIR' };
  return { path: join(homeDir, '.devmgr'), origin: 'the home directory' };
}

/** The manager's API socket in a root directory. */
export function apiSocketPath(rootDir: string): string {
  return join(rootDir, 'devmgr', 'api.sock');
}

/** The socket device plugins register on in a root directory. */
export function kubeletSocketPath(rootDir: string): string {
  return join(rootDir, LONGEST_SOCKET);
}
