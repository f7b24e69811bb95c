import { isDead, readBootId, readProcess } from '../process-identity.ts';

/** The process that holds a lock, as the lock file has it: told apart from a later one of the same number. */
export interface LockHolder {
  readonly pid: number;
  /** Clock ticks since boot as `/proc/PID/stat` field 22 has it; null where there is no `/proc`. */
  readonly startTime: string | null;
  /** The kernel's boot id; null where there is none. */
  readonly bootId: string | null;
}

/** This process. */
export function ownIdentity(): LockHolder {
  const startTime = readProcess(process.pid)?.startTime;
  return {
    pid: process.pid,
    startTime: startTime === undefined ? null : String(startTime),
    bootId: readBootId() ?? null,
  };
}

/** Whether the process still runs. A process that cannot be looked at (another user's, hidden) counts as running. */
export function isRunning(holder: LockHolder): boolean {
  const bootId = readBootId();
  if (holder.bootId !== null && bootId !== undefined && holder.bootId !== bootId) return false;
  const found = readProcess(holder.pid);
  if (found !== undefined) {
    return !isDead(found) && (holder.startTime === null || holder.startTime === String(found.startTime));
  }
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
