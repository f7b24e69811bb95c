import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The built command line, as it is installed. */
export const BIN = fileURLToPath(new URL('../../bin/devmgr.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command of devmgr whose output can be looked at and waited for. */
export class CommandLine {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], options: { env?: NodeJS.ProcessEnv; stdin?: string; detached?: boolean } = {}) {
    this.child = spawn(process.execPath, [BIN, ...args], {
      env: { ...process.env, NO_COLOR: '1', ...options.env },
      stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: options.detached ?? false,
    });
    this.child.stdin?.end(options.stdin);
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    running.add(this);
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        running.delete(this);
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the command was not started');
    return this.child.pid;
  }

  /** Resolves once the output so far (stdout, then stderr) satisfies `condition`; rejects when the command ends before. */
  async shows(condition: (text: string) => boolean, timeoutMs = 20_000): Promise<void> {
    let over = false;
    void this.ended.then(() => (over = true));
    await until(() => {
      if (condition(this.stdout + this.stderr)) return true;
      if (over) throw new Error(`the command ended without showing it:\n${this.stdout}${this.stderr}`);
      return false;
    }, timeoutMs).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.stdout}${this.stderr}`);
    });
  }
}

const running = new Set<CommandLine>();

/** Ends what a test that failed left running; call it last. */
export async function stopCommands(which: (command: CommandLine) => boolean = () => true): Promise<void> {
  const left = [...running].filter(which);
  for (const command of left) command.child.kill('SIGTERM');
  await Promise.all(left.map((command) => command.ended));
}

/** Runs a command of devmgr to its end. */
export async function devmgr(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; stdin?: string } = {},
): Promise<Ended> {
  return new CommandLine(args, options).ended;
}

/** Polls until `condition` holds. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${String(timeoutMs)} ms in vain`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** True while a process exists that is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A short directory that `removeDirectories` removes. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'dm-'));
  directories.push(directory);
  return directory;
}

const directories: string[] = [];

export function removeDirectories(): void {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}
