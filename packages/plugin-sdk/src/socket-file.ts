import { link, rename, unlink } from 'node:fs/promises';

/**
 * Runs `close`, which unlinks the socket at `path`, and leaves the socket file where it was: what a process killed with
 * SIGKILL leaves behind. A second hard link keeps the very inode.
 */
export async function leavingSocketFile(path: string, close: () => Promise<void>): Promise<void> {
  const keep = `${path}.kept`;
  const kept = await link(path, keep).then(
    () => true,
    () => false,
  );
  await close();
  if (!kept) return;
  await rename(keep, path);
  await unlink(keep).catch(() => undefined);
}
