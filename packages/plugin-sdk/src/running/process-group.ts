import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';

export interface GroupEnd {
  readonly exitCode: number;
  /** For people: `exit code 1`, `signal SIGKILL`, or why it could not be started. */
  readonly how: string;
}

/**
 * The watchdog waits on descriptor 3, whose other end only the supervisor holds. Its end means the supervisor is gone, however it went:
 * then the whole group is killed, watchdog included. Signals meant for the plugin do not stop it.
 */
const WATCHED = `(trap '' TERM INT HUP QUIT USR1 USR2; exec </dev/null >/dev/null 2>&1; read -r end <&3; kill -KILL 0) & exec 3<&-; exec "$@"`;

/**
 * A command in a process group of its own, which does not outlive this process even when that is killed with SIGKILL.
 *
 * Why not PR_SET_PDEATHSIG: it reaches the command alone and not what the command started, and it is dropped when a
 * set-user-ID program is executed (prctl(2)); a pid namespace would change what the plugin sees of the machine.
 *
 * Invariant: while the watchdog lives the group's number cannot be given to another group, so it is safe to signal the
 * group until `ended` has killed what is left of it.
 */
export class ProcessGroup {
  /** Process group number and, once set up, the pid of the command itself. */
  readonly pid: number | undefined;
  /** Resolves once the command has ended and everything it left in its group was killed. Never rejects. */
  readonly ended: Promise<GroupEnd>;
  /** Standard output and error, those that are pipes. Read them, or the command stops at a full one. */
  readonly outputs: readonly Readable[];
  readonly #child: ChildProcess;
  #over = false;

  constructor(
    command: readonly string[],
    options: { stdio: readonly ['ignore', StdioItem, StdioItem]; env: NodeJS.ProcessEnv },
  ) {
    const stdio: StdioOptions = [...options.stdio, 'pipe'];
    this.#child = spawn('/bin/sh', ['-c', WATCHED, 'devmgr-plugin', ...command], {
      detached: true,
      stdio,
      env: options.env,
    });
    this.pid = this.#child.pid;
    this.outputs = [this.#child.stdout, this.#child.stderr].filter((stream) => stream !== null);
    const lifeline = this.#child.stdio[3] as Writable | null;
    lifeline?.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      const end = (exitCode: number, how: string): void => {
        this.signal('SIGKILL');
        this.#over = true;
        lifeline?.destroy();
        resolve({ exitCode, how });
      };
      this.#child.once('error', (error) => {
        end(126, error.message);
      });
      this.#child.once('exit', (code, signal) => {
        if (signal === null) end(code ?? 1, `exit code ${String(code ?? 1)}`);
        else end(128 + constants.signals[signal], `signal ${signal}`);
      });
    });
  }

  /** Sends a signal to the whole group; nothing happens when it is gone. */
  signal(signal: NodeJS.Signals): void {
    if (this.#over || this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // ESRCH: nobody is left.
    }
  }
}

/** Where output goes: through, to a file by its descriptor, or to the reader of {@link ProcessGroup.outputs}. */
export type StdioItem = 'inherit' | 'pipe' | number;
