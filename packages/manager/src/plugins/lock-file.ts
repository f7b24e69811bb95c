import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { isRunning, ownIdentity, type LockHolder } from './lock-holder.ts';

export type LockOutcome =
  | { readonly acquired: true; readonly lock: LockFile }
  /** Somebody living has it. */
  | { readonly acquired: false; readonly holder: LockHolder };

/** A lock that is held. */
export interface LockFile {
  readonly path: string;
  /** Deletes the file if it is still ours. Idempotent, never rejects. */
  release(): Promise<void>;
}

/**
 * Takes the lock file at `path`, over from a process that no longer runs if need be. Of any number of processes (or
 * callers in one process) that try at the same time exactly one has it. Rejects with the system's error when the directory
 * cannot be written.
 *
 * How: the file comes into being complete, by a hard link. A stale one is never deleted, since the one deleted could be
 * somebody's new one; it is replaced by whoever holds the lock of its replacement, `<path>.<hash of the stale content>`,
 * taken by the same rule. While that is held and the content is still the stale one nobody else can replace it.
 */
export async function acquireLockFile(path: string): Promise<LockOutcome> {
  const content = `${JSON.stringify({ ...ownIdentity(), token: randomUUID() })}\n`;
  const temporary = `${path}.${String(process.pid)}.${randomUUID()}`;
  try {
    await writeFile(temporary, content, { mode: 0o600 });
    const holder = await take(path, temporary, content);
    if (holder !== undefined) return { acquired: false, holder };
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
  return { acquired: true, lock: { path, release: () => release(path, content) } };
}

/** Resolves to undefined when `path` is ours. */
async function take(path: string, temporary: string, content: string): Promise<LockHolder | undefined> {
  for (;;) {
    if (await createExclusively(temporary, path)) return undefined;
    const found = await readOrUndefined(path);
    if (found === undefined) continue; // released at this moment
    const holder = parseHolder(found);
    if (holder !== undefined && isRunning(holder)) return holder;

    const successor = `${path}.${createHash('sha256').update(found).digest('hex').slice(0, 16)}`;
    const rival = await take(successor, temporary, content);
    if (rival !== undefined) return rival;
    if ((await readOrUndefined(path)) === found) {
      await rename(successor, path);
      return undefined;
    }
    await release(successor, content);
  }
}

async function createExclusively(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    if (!['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      throw error;
    }
  }
  // A file system without hard links.
  try {
    await copyFile(temporary, path, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function release(path: string, content: string): Promise<void> {
  try {
    if ((await readOrUndefined(path)) === content) await unlink(path);
  } catch {
    // It is stale as soon as this process has ended, and will be taken over.
  }
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined for a file that names no process: it was damaged, nobody is behind it. */
function parseHolder(content: string): LockHolder | undefined {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, startTime, bootId } = value as Record<string, unknown>;
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return {
    pid,
    startTime: typeof startTime === 'string' ? startTime : null,
    bootId: typeof bootId === 'string' ? bootId : null,
  };
}
