import { watch, type FSWatcher } from 'node:fs';

/** Tells of changes below or of a path. A hint only: where the system cannot watch, nothing is told and polling has to do. */
export function watchPath(path: string, changed: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, changed);
    watcher.on('error', () => undefined);
    return watcher;
  } catch {
    return undefined;
  }
}
