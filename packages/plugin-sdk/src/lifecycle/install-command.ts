import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { HookError } from './hook-call.ts';
import type { HookCall } from './lifecycle-spec.ts';

/** A process, told from later ones with the same pid. */
export interface ProcessMark {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. (proc(5)) */
  readonly startTime: string;
}

/** How long a process that was told to end may take before it is killed. */
const END_GRACE_MS = 5_000;
/** Waits for a line before it becomes the command, so that it does nothing before its pid is on disk. */
const GATE = 'read -r go && exec "$@" </dev/null';

/**
 * Runs an installer in a process group of its own. `started` is told who it is and is waited for before the installer
 * does anything: a plugin that is killed meanwhile leaves no installer behind, one that is killed later leaves one that
 * can be found and ended.
 */
export async function runInstaller(
  command: readonly string[],
  call: HookCall,
  started: (mark: ProcessMark) => Promise<void>,
): Promise<void> {
  const child = spawn('/bin/sh', ['-c', GATE, 'install', ...command], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('close', (code, signal) => {
      resolve(code === 0 ? '' : code === null ? `ended by ${String(signal)}` : `exit code ${String(code)}`);
    });
  });
  child.stdin.on('error', () => undefined); // Told by the exit.
  let lastLine = '';
  const follow = (stream: Readable, onLine: (line: string) => void): void => {
    createInterface({ input: stream }).on('line', onLine);
  };
  follow(child.stdout, (line) => {
    const match = /^progress\s+(\d+(?:\.\d+)?)%?\s*(.*)$/.exec(line);
    if (match !== null) call.progress(Number(match[1]), match[2]);
  });
  follow(child.stderr, (line) => {
    if (line.trim() !== '') lastLine = line.trim().slice(0, 500);
  });
  const mark = child.pid === undefined ? undefined : markOf(child.pid);
  const end = (): void => {
    if (mark !== undefined) void endGroup(mark);
  };
  call.signal.addEventListener('abort', end);
  try {
    if (mark !== undefined) await started(mark);
    if (call.signal.aborted) end();
    else child.stdin.end('go\n');
  } catch (error) {
    child.stdin.end(); // The gate ends without a line.
    await ended;
    throw error;
  }
  const problem = await ended;
  call.signal.removeEventListener('abort', end);
  if (problem !== '') {
    throw new HookError('InstallFailed', `${command[0] ?? ''}: ${problem}${lastLine === '' ? '' : `: ${lastLine}`}`);
  }
}

/** Ends the process group that a process leads, if it is still that very process; resolves when it is gone. */
export async function endGroup(mark: ProcessMark): Promise<void> {
  const deadlineMs = performance.now() + END_GRACE_MS;
  signalGroup(mark, 'SIGTERM');
  while (isRunning(mark) && performance.now() < deadlineMs) await delay(20);
  signalGroup(mark, 'SIGKILL');
  while (isRunning(mark) && performance.now() < deadlineMs + END_GRACE_MS) await delay(20);
}

function signalGroup(mark: ProcessMark, signal: NodeJS.Signals): void {
  if (!isRunning(mark)) return;
  try {
    process.kill(-mark.pid, signal);
  } catch {
    // Gone by now.
  }
}

function isRunning({ pid, startTime }: ProcessMark): boolean {
  const found = readStat(pid);
  return found !== undefined && found.startTime === startTime && found.state !== 'Z';
}

function markOf(pid: number): ProcessMark | undefined {
  const found = readStat(pid);
  return found === undefined ? undefined : { pid, startTime: found.startTime };
}

function readStat(pid: number): { readonly state: string; readonly startTime: string } | undefined {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, 'latin1');
    // The name of the command, in parentheses, may itself hold spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startTime: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}
