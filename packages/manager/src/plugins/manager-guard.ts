import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { probeUnix } from '@devmgr/wire';
import type { Logger } from '../ports.ts';
import { acquireLockFile, type LockFile, type LockOutcome } from './lock-file.ts';
import { REGISTRATION_SOCKET } from './plugin-directory.ts';
import { findSocketOwner } from './socket-owner.ts';

const PROBE_TIMEOUT_MS = 1_000;

export interface GuardOptions {
  readonly rootDir: string;
  readonly devicePluginDir: string;
  /** Made (0700) unless it is there; the lock file `lock` lies in it. */
  readonly stateDir: string;
  readonly log: Logger;
}

/** The right to be the manager of a root directory. */
export interface RootLock {
  /** Gives it up. Idempotent, never rejects. */
  release(): Promise<void>;
}

/**
 * Makes sure that no other manager works on the directory, before anything in it is touched: a lock file that names its
 * process (one left by a process that no longer runs is taken over), and a look at whether somebody serves `kubelet.sock`,
 * as a kubelet would, who knows nothing of lock files. Of several starts at once exactly one goes through.
 *
 * Throws MANAGER_ALREADY_RUNNING naming the path and the process, if that can be told, or ROOT_DIR_UNUSABLE or
 * PERMISSION_DENIED when the state directory cannot be written.
 */
export async function guardRootDir(options: GuardOptions): Promise<RootLock> {
  const path = join(options.stateDir, 'lock');
  const outcome = await acquire(options.stateDir, path);
  if (!outcome.acquired) {
    const { pid } = outcome.holder;
    throw new DevmgrError(
      'MANAGER_ALREADY_RUNNING',
      `a devmgr (pid ${String(pid)}) is already running on ${options.rootDir}: it holds ${path}`,
      { remedy: `Use another --root-dir, or stop process ${String(pid)} first.` },
    );
  }
  try {
    await refuseLivingServer(join(options.devicePluginDir, REGISTRATION_SOCKET));
  } catch (error) {
    await outcome.lock.release();
    throw error;
  }
  options.log.debug({ path }, 'This process is the manager of the root directory');
  return held(outcome.lock);
}

async function acquire(stateDir: string, path: string): Promise<LockOutcome> {
  try {
    await mkdir(dirname(stateDir), { recursive: true, mode: 0o755 });
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    return await acquireLockFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new DevmgrError(
      code === 'EACCES' || code === 'EPERM' ? 'PERMISSION_DENIED' : 'ROOT_DIR_UNUSABLE',
      `cannot lock ${path}: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

async function refuseLivingServer(socketPath: string): Promise<void> {
  const found = await probeUnix(socketPath, PROBE_TIMEOUT_MS);
  // A mute one is somebody too: only a process can hold a socket open, and a kubelet that hangs is still a kubelet.
  if (found !== 'grpc' && found !== 'mute') return;
  const owner = await findSocketOwner(socketPath);
  const who = owner === undefined ? 'a kubelet or another devmgr' : `${owner.command} (pid ${String(owner.pid)})`;
  const manner = found === 'mute' ? 'holds, without answering,' : 'serves';
  throw new DevmgrError('MANAGER_ALREADY_RUNNING', `${who} ${manner} ${socketPath}`, {
    remedy: `Use another --root-dir, or stop ${owner === undefined ? 'the other manager' : `process ${String(owner.pid)}`} first.`,
  });
}

function held(lock: LockFile): RootLock {
  return { release: () => lock.release() };
}
