import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What lies in the registry directory at one moment. */
export interface RegistryContents {
  /** Path of each socket to what tells it apart from a later socket at the same path. */
  readonly sockets: ReadonlyMap<string, string>;
  /** The directory itself, if it is there, and all below it. */
  readonly directories: ReadonlySet<string>;
}

/**
 * Finds all sockets below `root`. Whatever has a name that begins with a dot is ignored, and so are other files; links to
 * sockets count, links to directories are not followed. What vanishes meanwhile is left out. Never rejects for what is
 * missing or may not be read.
 */
export async function scanRegistry(root: string): Promise<RegistryContents> {
  const sockets = new Map<string, string>();
  const directories = new Set<string>();
  const walk = async (directory: string): Promise<void> => {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => undefined);
    if (entries === undefined) return;
    directories.add(directory);
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        await walk(path);
      } else if (!entry.isFile()) {
        const identity = await socketIdentity(path);
        if (identity !== undefined) sockets.set(path, identity);
      }
    }
  };
  await walk(root);
  return { sockets, directories };
}

/**
 * Tells one socket from another at the same path; undefined unless there is a socket. The inode number alone would not do,
 * since file systems give it to the next file. The time is that of the binding: traffic, mode and owner do not change it.
 */
export async function socketIdentity(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path, { bigint: true });
    if (!found.isSocket()) return undefined;
    return [found.dev, found.ino, found.mtimeNs].map(String).join(':');
  } catch {
    return undefined;
  }
}
