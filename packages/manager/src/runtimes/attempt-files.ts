/**
 * The files of containers that run as plain processes, below one directory:
 *
 *     <podUid>/<container>/<attempt>.json   the process that was prepared: see {@link AttemptRecord}
 *     <podUid>/<container>/<attempt>.exit   empty once the command was let go, then its exit code and a newline
 *     <podUid>/<container>/<attempt>.log    output, raw, as the process wrote it; older output in .log.1, .log.2, …
 *
 * Records are renamed into place and not fsynced: they matter only while the processes they name can be alive, and
 * those do not survive what a page cache does not survive.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerKey } from '../container-runtime.ts';

/** The process of one attempt: it leads its own session and process group. */
export interface AttemptRecord {
  readonly pid: number;
  /** /proc/PID/stat, field 22. */
  readonly startTime: number;
  readonly bootId: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** What is known of how an attempt went. */
export type AttemptOutcome =
  | { readonly state: 'never-started' }
  | { readonly state: 'started' }
  | { readonly state: 'ended'; readonly exitCode: number; readonly finishedAt: number };

export function podDirectory(stateDir: string, podUid: string): string {
  return join(stateDir, safeName(podUid));
}

export function containerDirectory(stateDir: string, key: Pick<ContainerKey, 'podUid' | 'container'>): string {
  return join(podDirectory(stateDir, key.podUid), safeName(key.container));
}

export function attemptPath(stateDir: string, key: ContainerKey, suffix: 'json' | 'exit' | 'log'): string {
  return join(containerDirectory(stateDir, key), `${String(key.attempt)}.${suffix}`);
}

/** Directory names come from manifests and records: never let one lead out of the state directory. */
function safeName(name: string): string {
  if (!/^[A-Za-z0-9][-A-Za-z0-9_.]*$/.test(name)) throw new Error(`${JSON.stringify(name)} cannot name a directory`);
  return name;
}

export async function writeAttemptRecord(stateDir: string, key: ContainerKey, record: AttemptRecord): Promise<void> {
  const path = attemptPath(stateDir, key, 'json');
  await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Undefined when there is none, or when it cannot be understood. */
export async function readAttemptRecord(stateDir: string, key: ContainerKey): Promise<AttemptRecord | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(attemptPath(stateDir, key, 'json'), 'utf8'));
    return isAttemptRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isAttemptRecord(value: unknown): value is AttemptRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, startTime, bootId, startedAt } = value as Record<string, unknown>;
  return (
    typeof pid === 'number' &&
    pid > 1 &&
    typeof startTime === 'number' &&
    typeof bootId === 'string' &&
    typeof startedAt === 'number'
  );
}

export async function readAttemptOutcome(stateDir: string, key: ContainerKey): Promise<AttemptOutcome> {
  const path = attemptPath(stateDir, key, 'exit');
  try {
    const [, code] = /^(\d{1,3})\n$/.exec(await readFile(path, 'latin1')) ?? [];
    if (code === undefined) return { state: 'started' };
    return { state: 'ended', exitCode: Number(code), finishedAt: Math.round((await stat(path)).mtimeMs) };
  } catch {
    return { state: 'never-started' };
  }
}

/** Attempts of a container that left anything behind, ascending. */
export async function listAttempts(directory: string): Promise<number[]> {
  const attempts = new Set<number>();
  for (const name of await readdir(directory).catch(() => [])) {
    const [, attempt] = /^(\d+)\.(?:json|exit|log)/.exec(name) ?? [];
    if (attempt !== undefined) attempts.add(Number(attempt));
  }
  return [...attempts].sort((a, b) => a - b);
}

export async function listDirectories(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Makes room for an attempt: what an attempt of the same number left, and all but the one before it, goes away. */
export async function prepareAttempt(stateDir: string, key: ContainerKey): Promise<void> {
  const directory = containerDirectory(stateDir, key);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const keep = new RegExp(`^${String(key.attempt - 1)}\\.`);
  for (const name of await readdir(directory)) if (!keep.test(name)) await rm(join(directory, name), { force: true });
}
