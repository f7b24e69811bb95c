import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bench, CHECKS, commandLauncher, groupOf, runChecks, type Check, type Report } from '@devmgr/conformance';
import { DEFECTIVE_PLUGIN, type Defect } from './defects.ts';

/** Long for a loaded machine, and short enough to wait for what never comes. */
const TIMEOUT_MS = 20_000;
/** The device that goes and comes when the hardware changes. */
const LOOSE_DEVICE = 'gadget-3';

/** Puts checks to one of the plugins of `plugin/`, with hardware that changes when a check wants it to. */
export function runOn(plugin: string, checks: readonly Check[]): Promise<Report> {
  return runOnCommand([process.execPath, DEFECTIVE_PLUGIN, plugin], checks);
}

/** The same with another command. */
export async function runOnCommand(command: readonly string[], checks: readonly Check[]): Promise<Report> {
  // Short: the name of one socket needs all of the room that is left of a path.
  const rootDir = mkdtempSync('/tmp/dm');
  const bench = new Bench({
    rootDir,
    launcher: commandLauncher(command),
    timeoutMs: TIMEOUT_MS,
    hardware: {
      change: (direction) => writeFile(join(rootDir, 'missing-gadgets'), direction === 'remove' ? LOOSE_DEVICE : ''),
    },
    signal: new AbortController().signal,
  });
  try {
    return await runChecks({ bench, checks });
  } finally {
    await bench.close();
    rmSync(rootDir, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * The checks that are put to a defect: those of level quick, and those that have to find it. What cannot cope with one
 * restart of a manager fails nearly all drills of level full, which says nothing about them.
 */
export function checksFor({ fails, only }: Defect): readonly Check[] {
  return CHECKS.filter((check) => {
    if (only?.includes(check.id) === true || fails.includes(check.id)) return true;
    return (only === undefined || only.includes(groupOf(check))) && check.level === 'quick';
  });
}

/** Runs them, and answers which were not passed: `id: message: seen`, by id. */
export async function mutate(defect: Defect, checks: readonly Check[]): Promise<ReadonlyMap<string, string>> {
  return complaints(await runOn(defect.name, defect.untilEnd === true ? withItsEnd(checks) : checks));
}

/** Checks that were not passed, by id. */
export function complaints({ checks }: Report): ReadonlyMap<string, string> {
  const failed = checks.filter(({ status }) => status === 'fail' || status === 'warn');
  return new Map(failed.map(({ id, message, seen }) => [id, `${message}: ${seen}`]));
}

/** A moment in which no check is at work, and the plugin ends by itself. */
function withItsEnd(checks: readonly Check[]): readonly Check[] {
  const moment: Check = {
    id: 'manners/end-between-checks',
    level: 'quick',
    severity: 'error',
    stage: 'drill',
    title: 'The plugin ends between two checks.',
    why: 'This is no check.',
    remedy: 'None.',
    run: async ({ plugin }) => {
      await plugin?.ended;
      return { verdict: 'good', message: 'it has ended' };
    },
  };
  return [...checks, moment];
}
