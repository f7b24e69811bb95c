import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { DevmgrError } from '@devmgr/core';
import { readProcess } from '@devmgr/manager/client';

/** How a command ended. */
export interface CommandEnd {
  /** Its own code, or 128 plus the signal's number, as shells count. */
  readonly exitCode: number;
  readonly signal: NodeJS.Signals | null;
}

/** Waits on descriptor 3 for a line; at its end without one (the starter is gone) it leaves without running anything. */
const GATE = 'read -r go <&3 || exit 126; exec 3<&-; exec "$@"';

/** What a shell can hold as a variable; a POSIX shell drops others from the environment it passes on. */
const SHELL_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * A command that exists as a process, with its final pid and start time, before it runs: so that a lease can name the
 * process that holds it before the process can touch a device. It stays in this process's group and has its terminal.
 *
 * Invariants: the command runs only after `open`; when this process dies before that, it never runs.
 */
export class GatedCommand {
  readonly pid: number;
  /** Clock ticks since boot; undefined where /proc does not tell. */
  readonly startTime: number | undefined;
  readonly ended: Promise<CommandEnd>;
  readonly #child: ChildProcess;
  readonly #gate: Writable;

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child;
    this.pid = pid;
    this.startTime = readProcess(pid)?.startTime;
    this.#gate = child.stdio[3] as Writable;
    // The process may be gone by the time the gate is opened; its end is told by `ended`.
    this.#gate.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        resolve({ exitCode: signal === null ? (code ?? 1) : 128 + constants.signals[signal], signal });
      });
    });
  }

  /** Starts the process behind its gate. Rejects with INTERNAL when not even a shell can be started. */
  static async start(command: readonly string[], env: NodeJS.ProcessEnv): Promise<GatedCommand> {
    const odd = Object.entries(env).flatMap(([name, value]) =>
      SHELL_NAME.test(name) || value === undefined ? [] : [`${name}=${value}`],
    );
    const words = odd.length === 0 ? command : ['env', ...odd, ...command];
    const child = spawn('/bin/sh', ['-c', GATE, 'devmgr-run', ...words], {
      env,
      stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(
          new DevmgrError('INTERNAL', `the command could not be started: ${error.message}`, {
            cause: error,
            remedy: 'Look at the limits of processes and memory (ulimit -a).',
          }),
        );
      });
    });
    if (child.pid === undefined) throw new DevmgrError('INTERNAL', 'the command was started without a pid');
    return new GatedCommand(child, child.pid);
  }

  /** Lets the command run. */
  open(): void {
    this.#gate.end('go\n');
  }

  /** Ends the process before it ran. */
  abandon(): void {
    this.#gate.destroy();
    this.#child.kill('SIGKILL');
  }

  /** Passes a signal on; false when the process is gone. */
  kill(signal: NodeJS.Signals): boolean {
    return this.#child.kill(signal);
  }
}
