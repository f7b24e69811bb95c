import { createHash, randomBytes } from 'node:crypto';
import { constants, copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemErrorName, systemErrorText } from './system-error.ts';

/** Temporary files start with a dot, as the kubelet's do: nothing that lists checkpoints shows them. */
const TEMPORARY_PREFIX = '.devmgr-';

/**
 * Replaces a file so that at every instant, a power cut included, its name stands for the whole old or the whole new
 * content: temporary file in the same directory, fsync, rename, fsync of the directory. Rejects with the system's error;
 * the temporary file is gone then and the old content untouched. The file has mode 0600.
 */
export async function writeDurably(path: string, content: Uint8Array): Promise<void> {
  await withTemporary(path, async (temporary) => {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } catch (error) {
      throw new Error(systemErrorText(error, temporary), { cause: error });
    } finally {
      await file.close();
    }
  });
}

/** Makes `path` a durable second name for, or copy of, a file that is only ever replaced by renaming. */
export async function keepDurably(existing: string, path: string): Promise<void> {
  await withTemporary(path, async (temporary) => {
    try {
      await link(existing, temporary);
    } catch (error) {
      // Another file system, or one without links.
      if (systemErrorName(error) === 'ENOENT') throw error;
      await copyFile(existing, temporary, constants.COPYFILE_EXCL);
      await syncPath(temporary);
    }
  });
}

/** Tells contents apart. */
export function contentHash(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Creates a directory with its parents; existing ones are left as they are. */
export async function ensureDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
}

/** Makes created, renamed and removed names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  await syncPath(path);
}

/** Removes temporary files that a killed process left behind. */
export async function sweepTemporaryFiles(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(TEMPORARY_PREFIX)) await rm(join(directory, name), { force: true });
  }
}

async function withTemporary(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, TEMPORARY_PREFIX + randomBytes(6).toString('hex'));
  try {
    await make(temporary);
    await rename(temporary, path);
    await syncDirectory(directory);
  } finally {
    // Still there after a failure, and after renaming one name of a file over another name of the same file, which does nothing.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
