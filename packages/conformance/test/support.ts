import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Bench,
  commandLauncher,
  runChecks,
  selectChecks,
  type HardwareSwitch,
  type Report,
  type Selection,
} from '../src/index.ts';

/** A good plugin that uses all of the API; see its head. */
export const THOROUGH_PLUGIN = fileURLToPath(new URL('plugins/thorough.js', import.meta.url));
export const MINIMAL_PLUGIN = fileURLToPath(new URL('../../../examples/plugins/minimal.js', import.meta.url));

/** Runs a selection of the suite on a command, as `devmgr test` does. */
export async function suiteOn(
  command: readonly string[],
  selection: Partial<Selection> = {},
  options: { timeoutMs?: number; env?: NodeJS.ProcessEnv; hardware?: HardwareSwitch } = {},
): Promise<Report> {
  const rootDir = mkdtempSync(join(tmpdir(), 'dmc-'));
  const bench = new Bench({
    rootDir,
    launcher: commandLauncher(command, { env: { ...process.env, ...options.env } }),
    timeoutMs: options.timeoutMs ?? 30_000,
    hardware: options.hardware,
    signal: new AbortController().signal,
  });
  try {
    const { checks } = selectChecks({ level: 'quick', only: [], skip: [], ...selection });
    return await runChecks({ bench, checks });
  } finally {
    await bench.close();
    rmSync(rootDir, { recursive: true, force: true });
  }
}

/** Checks of a report that are not passed: `id: status: message: seen`. */
export function complaints({ checks }: Report): readonly string[] {
  return checks
    .filter(({ status }) => status === 'fail' || status === 'warn')
    .map(({ id, status, message, seen }) => `${id}: ${status}: ${message}: ${seen}`);
}
