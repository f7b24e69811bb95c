import { chmod, lstat, mkdir, mkdtemp, rename, rm, rmdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { DevmgrError } from '@devmgr/core';

/** Longest path a unix socket can have on Linux; longer ones are cut without an error. (unix(7), sun_path) */
const MAX_SOCKET_PATH_BYTES = 107;
const CONNECT_TIMEOUT_MS = 1_000;

/**
 * Makes `server` listen at `path`, for its owner alone. The socket is bound inside a fresh directory that only the owner
 * can enter, gets mode 0600 and is then renamed into place: at no moment can others connect, and a dead socket is
 * replaced without a gap. MANAGER_ALREADY_RUNNING when something living answers there; PATH_TOO_LONG; LISTEN_FAILED.
 */
export async function listenPrivately(server: Server, path: string): Promise<{ unlink: () => Promise<void> }> {
  const dir = dirname(path);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await refuseOccupied(path);
    const inode = await bind(server, path, dir);
    return { unlink: () => unlinkOwn(path, inode) };
  } catch (error) {
    if (error instanceof DevmgrError) throw error;
    throw new DevmgrError('LISTEN_FAILED', `cannot listen on ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function bind(server: Server, path: string, dir: string): Promise<bigint> {
  const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(join(dir, '.XXXXXX/s')));
  if (longest > MAX_SOCKET_PATH_BYTES) {
    throw new DevmgrError(
      'PATH_TOO_LONG',
      `the socket ${path} cannot be made: ${String(longest)} bytes where ${String(MAX_SOCKET_PATH_BYTES)} fit`,
    );
  }
  // Not join(dir, '.'): that is `dir` itself, and the new directory would lie beside it.
  const privateDir = await mkdtemp(`${dir}/.`);
  const temporary = join(privateDir, 's');
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(temporary, () => {
        server.off('error', reject);
        resolve();
      });
    });
    await chmod(temporary, 0o600);
    const { ino } = await lstat(temporary, { bigint: true });
    await rename(temporary, path);
    return ino;
  } catch (error) {
    server.close();
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await rmdir(privateDir).catch(() => undefined);
  }
}

/** Only a dead socket, or nothing, may be where ours goes. */
async function refuseOccupied(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isSocket()) throw new DevmgrError('LISTEN_FAILED', `${path} is in the way: it is not a socket`);
  if (await answers(path)) {
    throw new DevmgrError('MANAGER_ALREADY_RUNNING', `another manager listens on ${path}`);
  }
}

/** Whether something accepts connections, or might: only a refusal proves that nobody does. */
async function answers(path: string): Promise<boolean> {
  return await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    const settle = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      settle(true);
    });
    socket.once('connect', () => {
      settle(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      settle(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

/** Removes the socket unless another one has taken its place. */
async function unlinkOwn(path: string, inode: bigint): Promise<void> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  if (found?.ino === inode && found.isSocket()) await rm(path, { force: true });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
