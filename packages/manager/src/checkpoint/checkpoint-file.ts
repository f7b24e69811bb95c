import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CHECKPOINT_NOT_FOUND, DevmgrError } from '@devmgr/core';
import { ensureDirectory, syncDirectory, writeDurably } from './durable-file.ts';
import { systemErrorName, systemErrorText } from './system-error.ts';

const KEY = /^(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const MAX_KEY_LENGTH = 250;

/** A directory with one file per key, as the kubelet's checkpoint manager keeps it. */
export class CheckpointDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Rejects with NOT_FOUND `checkpoint is not found`, or with the system's error. */
  async read(key: string): Promise<Uint8Array> {
    try {
      return await readFile(this.fileOf(key));
    } catch (error) {
      if (systemErrorName(error) !== 'ENOENT') throw error;
      throw new DevmgrError('NOT_FOUND', CHECKPOINT_NOT_FOUND, { cause: error });
    }
  }

  /** Replaces the file of a key durably, mode 0600. Rejects with the system's error; the old file is then untouched. */
  async write(key: string, content: Uint8Array): Promise<void> {
    const file = this.fileOf(key);
    await ensureDirectory(this.path, 0o755);
    await writeDurably(file, content);
  }

  /** Removes a key; one that is not there is fine. */
  async remove(key: string): Promise<void> {
    await rm(this.fileOf(key), { force: true });
    await syncDirectory(this.path);
  }

  /** The keys there are: regular files whose names do not start with a dot (temporary files). */
  async list(): Promise<readonly string[]> {
    const entries = await readdir(this.path, { withFileTypes: true });
    return entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map((entry) => entry.name);
  }

  /** Path of a key's file. Throws BAD_REQUEST for a key that is no safe file name. */
  fileOf(key: string): string {
    if (key.length <= MAX_KEY_LENGTH && KEY.test(key)) return join(this.path, key);
    throw new DevmgrError('BAD_REQUEST', `invalid checkpoint key ${JSON.stringify(key)}`);
  }
}

/**
 * Whether the node's extended resources are to be zeroed at registration: when no checkpoint says that they were known
 * before, this is a new machine under an old name. (kubelet: device manager, ShouldResetExtendedResourceCapacity)
 */
export async function shouldResetExtendedResources(directory: CheckpointDirectory): Promise<boolean> {
  try {
    return (await directory.list()).length === 0;
  } catch (error) {
    if (systemErrorName(error) === 'ENOENT') return true;
    throw new DevmgrError('PERMISSION_DENIED', systemErrorText(error, directory.path), { cause: error });
  }
}
