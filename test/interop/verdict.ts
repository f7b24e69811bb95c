import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CHECKS, type Report } from '@devmgr/conformance';
import type { BuiltPeer } from './peers.ts';
import type { Subject } from './subjects.ts';

const DEVMGR = fileURLToPath(new URL('../../packages/devmgr/bin/devmgr.js', import.meta.url));
const PLACE = fileURLToPath(new URL('./place.sh', import.meta.url));
/** Where the reports of the last run lie, by the name of the subject. */
const REPORTS = fileURLToPath(new URL('./.build/verdicts', import.meta.url));

/** Ends the command with SIGTERM, which ends the plugin. */
export const LIMIT_MS = 5 * 60_000;

/** What `devmgr test --report json` prints. */
export type JsonReport = Pick<Report, 'plugin' | 'summary'> & {
  readonly checks: readonly Pick<
    Report['checks'][number],
    'id' | 'group' | 'severity' | 'status' | 'message' | 'seen' | 'remedy'
  >[];
};

/** Puts `devmgr test` to a subject, as its author would, and answers the report. Rejects when there is none. */
export async function verdictOn(subject: Subject, peer: BuiltPeer): Promise<JsonReport> {
  mkdirSync(REPORTS, { recursive: true });
  const output = join(REPORTS, `${subject.name}.json`);
  rmSync(output, { force: true });
  const place = subject.place === undefined ? [] : [PLACE, subject.place];
  const checks = [...CHECKS.filter(({ level }) => level === 'quick').map(({ id }) => id), ...subject.full];
  const args = [
    ...['test', '--timeout', '20s', '--report', 'json', '--output', output],
    ...checks.flatMap((id) => ['--only', id]),
    ...['--', ...place, ...peer.command, ...subject.args],
  ];
  const env: NodeJS.ProcessEnv = { ...process.env, ...peer.env, ...subject.env };
  await new Promise<void>((resolve, reject) => {
    execFile(process.execPath, [DEVMGR, ...args], { env, timeout: LIMIT_MS }, (error, _stdout, stderr) => {
      // 1 is a verdict too.
      if (error === null || error.code === 1) resolve();
      else reject(new Error(`${subject.name}: ${stderr}`, { cause: error }));
    });
  });
  return JSON.parse(readFileSync(output, 'utf8')) as JsonReport;
}

/** The checks of a report that found something. */
export function findings({ checks }: JsonReport): JsonReport['checks'] {
  return checks.filter(({ status }) => status === 'fail' || status === 'warn');
}
