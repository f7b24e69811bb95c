/**
 * Which process is which: a pid alone names another process after a while, a pid together with its start time does not.
 * All of it comes from Linux' /proc (proc(5)); where there is none, no process is ever found.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** `startTime` is in clock ticks since boot (/proc/PID/stat, field 22). */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: number;
}

export interface ProcessStat extends ProcessIdentity {
  /** `Z` is a zombie: dead, its exit code not fetched yet. */
  readonly state: string;
  readonly processGroup: number;
  readonly session: number;
}

/** What the kernel says about a pid now; undefined when there is no such process. */
export function readProcess(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // Field 2 is the command name in parentheses and may itself contain spaces and parentheses: count from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, , processGroup, session] = fields;
  const startTime = fields[19];
  if (state === undefined || startTime === undefined) return undefined;
  return { pid, startTime: Number(startTime), state, processGroup: Number(processGroup), session: Number(session) };
}

/** True while that very process runs; a zombie does not. */
export function isAlive(identity: ProcessIdentity): boolean {
  const found = readProcess(identity.pid);
  return found?.startTime === identity.startTime && !isDead(found);
}

/** True for a process that only waits to be fetched by its parent. */
export function isDead(process: ProcessStat): boolean {
  return process.state === 'Z' || process.state === 'X';
}

/** Every process the caller can see, in no particular order. Takes about 10 µs a process. */
export function listProcesses(): ProcessStat[] {
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return [];
  }
  const found: ProcessStat[] = [];
  for (const name of names) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = readProcess(pid);
    if (stat !== undefined) found.push(stat);
  }
  return found;
}

/** True when the process was started with `entry` (`NAME=VALUE`) in its environment; false when that cannot be read. */
export function wasStartedWith(pid: number, entry: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${String(pid)}/environ`, 'latin1')}`.includes(`\0${entry}\0`);
  } catch {
    return false;
  }
}

/**
 * Sends a signal to exactly this process, or with `group` to the process group it leads. Identity is checked right
 * before: a stranger that got the pid is never hit. False when the process is gone or may not be signalled.
 */
export function signalProcess(
  identity: ProcessIdentity,
  signal: NodeJS.Signals,
  options: { group?: boolean } = {},
): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(options.group === true ? -identity.pid : identity.pid, signal);
  } catch {
    return false;
  }
}

/** Changes with every boot of the machine; undefined where the kernel does not tell. */
export function readBootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return undefined;
  }
}
