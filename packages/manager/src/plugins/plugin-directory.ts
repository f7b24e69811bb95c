import { mkdir, readdir, stat, unlink } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { probeUnix } from '@devmgr/wire';
import type { Logger } from '../ports.ts';

/** The kubelet's names in the device plugin directory. */
export const REGISTRATION_SOCKET = 'kubelet.sock';
const CHECKPOINT_FILE = 'kubelet_internal_checkpoint';

/** How long a remembered socket may take to show that somebody serves it. All are asked at once. */
const PROBE_TIMEOUT_MS = 1_000;

/** A plugin of an earlier run, with the absolute path of its socket. */
export interface RememberedPlugin {
  readonly resource: string;
  readonly endpoint: string;
}

/** Path of the registration socket in `devicePluginDir`. Throws CONFIG_INVALID with the kubelet's text unless that is an absolute path. */
export function registrationSocketPath(devicePluginDir: string): string {
  const socketPath = devicePluginDir === '' ? '' : join(devicePluginDir, REGISTRATION_SOCKET);
  if (!isAbsolute(socketPath)) {
    throw new DevmgrError('CONFIG_INVALID', `bad socketPath, must be an absolute path: ${socketPath}`);
  }
  return socketPath;
}

/** Makes the directory unless it is there: 0755 less umask, parents too. ROOT_DIR_UNUSABLE when that fails. */
export async function makePluginDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw new DevmgrError(
      'ROOT_DIR_UNUSABLE',
      `cannot create the device plugin directory ${directory}: ${text(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** Those of `remembered` that lie in `directory` and are served by someone now. */
export async function findLivingPlugins(
  directory: string,
  remembered: readonly RememberedPlugin[],
): Promise<readonly RememberedPlugin[]> {
  const inside = remembered.filter(({ endpoint }) => endpoint.startsWith(join(directory, '/')));
  const probes = new Map<string, Promise<boolean>>();
  for (const { endpoint } of inside) {
    if (!probes.has(endpoint)) {
      probes.set(
        endpoint,
        probeUnix(endpoint, PROBE_TIMEOUT_MS).then((found) => found === 'grpc'),
      );
    }
  }
  const living = await Promise.all(inside.map(({ endpoint }) => probes.get(endpoint) ?? Promise.resolve(false)));
  return inside.filter((_, index) => living[index] === true);
}

/**
 * Deletes the sockets in the directory, which is how plugins notice that a manager started: those left by an earlier
 * manager and those of plugins, except the paths in `keep`. Sub-directories, other files and links that lead nowhere stay.
 * An entry that cannot be looked at is skipped; sockets that cannot be deleted are all named in the ROOT_DIR_UNUSABLE that
 * is thrown then. (kubelet: device plugin server, cleanupPluginDirectory)
 */
export async function cleanPluginDirectory(directory: string, keep: ReadonlySet<string>, log: Logger): Promise<void> {
  const failures: unknown[] = [];
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    if (name === CHECKPOINT_FILE || keep.has(path)) continue;
    let isSocket: boolean;
    try {
      isSocket = (await stat(path)).isSocket();
    } catch (error) {
      log.warn({ path, err: text(error) }, 'Failed to stat a file in the device plugin directory');
      continue;
    }
    if (!isSocket) continue;
    try {
      await unlink(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') failures.push(error);
    }
  }
  if (failures.length > 0) {
    throw new DevmgrError(
      'ROOT_DIR_UNUSABLE',
      `cannot clean the device plugin directory ${directory}: ${failures.map(text).join('; ')}`,
      {
        cause: failures[0],
        remedy: 'Delete the sockets named in the message, or choose another directory with --root-dir.',
      },
    );
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
