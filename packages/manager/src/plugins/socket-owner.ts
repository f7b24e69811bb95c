import { readFile, readdir, readlink } from 'node:fs/promises';

/** A process as people know it. */
export interface SocketOwner {
  readonly pid: number;
  /** The command's name, at most 15 bytes. */
  readonly command: string;
}

/**
 * The process that listens on the unix socket bound at exactly `path`, as far as `/proc` lets this user see. Undefined when
 * it cannot be told: no `/proc`, another user's process, or a socket that was renamed after it was bound. Never rejects.
 */
export async function findSocketOwner(path: string): Promise<SocketOwner | undefined> {
  try {
    const inodes = new Set<string>();
    for (const line of (await readFile('/proc/net/unix', 'utf8')).split('\n')) {
      // Num RefCount Protocol Flags Type St Inode Path
      const match = /^\S+: \S+ \S+ \S+ \S+ \S+ +(\d+) (.+)$/u.exec(line);
      if (match?.[1] !== undefined && match[2] === path) inodes.add(`socket:[${match[1]}]`);
    }
    if (inodes.size === 0) return undefined;
    for (const name of await readdir('/proc')) {
      if (/^\d+$/u.test(name) && (await holdsOneOf(name, inodes))) {
        return { pid: Number(name), command: (await readFile(`/proc/${name}/comm`, 'utf8')).trim() };
      }
    }
  } catch {
    // The answer is for an error message; that it cannot be given must not become another error.
  }
  return undefined;
}

async function holdsOneOf(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const directory = `/proc/${pid}/fd`;
  let descriptors: string[];
  try {
    descriptors = await readdir(directory);
  } catch {
    return false;
  }
  for (const descriptor of descriptors) {
    const target = await readlink(`${directory}/${descriptor}`).catch(() => '');
    if (inodes.has(target)) return true;
  }
  return false;
}
