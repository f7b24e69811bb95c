import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The plugin that has one defect, or none, by its argument. */
export const DEFECTIVE_PLUGIN = fileURLToPath(new URL('plugin/plugin.js', import.meta.url));

/** One defect of that plugin and what has to be found. */
export interface Defect {
  readonly name: string;
  /** Ids of all checks that have to find it; no other may. */
  readonly fails: readonly string[];
  /** Why it is found by more than one. */
  readonly because?: string;
  /** Ids or groups to run; default: all. Of the level `full`, only checks that have to find it, or that are named here, run. */
  readonly only?: readonly string[];
  /** The plugin ends by itself: wait for it between the checks. */
  readonly untilEnd?: boolean;
}

/** What the defective plugin can be. */
export function listPlugins(): { readonly good: readonly string[]; readonly defects: readonly Defect[] } {
  const { stdout, stderr, status } = spawnSync(process.execPath, [DEFECTIVE_PLUGIN, '--list'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as ReturnType<typeof listPlugins>;
}
