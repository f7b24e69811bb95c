/**
 * Starts a process that does not run its command before it is told to, so that its pid and start time can be written
 * down first; and that leaves its exit code in a file, so that a manager that was not there can read it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Socket } from 'node:net';
import { readProcess, type ProcessIdentity } from '../process-identity.ts';
import type { ProcessCommand } from './process-command.ts';

/**
 * What leads the container's session. `$0` is the exit file, `$@` the command. In order:
 * - wait for the word on descriptor 3; end of file means that the manager is gone: end without having run anything;
 * - make the exit file, empty: from here on the command counts as started;
 * - catch the signals that are sent to the whole group, so as to outlive the command (a shell runs a trap only after
 *   the foreground command has ended; what is caught, not ignored, has its default action again in the command);
 * - run the command in a subshell, with `exec` so that a program and never a builtin of that name runs; descriptor 4
 *   keeps the output, so that remarks of the shell itself ("Terminated") do not get into it;
 * - the subshell says that it is there before anything else: up to that moment it would have caught, and so lost, a
 *   signal meant for the command. Nobody may be left to hear it, so that must not end it (PIPE);
 * - one short write of a line leaves the exit code: a reader takes a file without newline as not written yet.
 */
const LEADER_SCRIPT = `IFS= read -r word <&3 && [ "$word" = go ] || exit 125
exec 4>&2 2>/dev/null
: >"$0"
trap : HUP INT QUIT TERM USR1 USR2
(trap '' PIPE; echo up >&3; trap - PIPE; unset PWD OLDPWD; exec 2>&4 3>&- 4>&-; exec "$@")
code=$?
echo "$code" >"$0"
exit "$code"`;

const SHELL = '/bin/sh';

/** Variables that a POSIX shell drops, changes or obeys itself: they reach the command through env(1). */
const SHELL_VARIABLES = new Set(
  (
    'IFS OPTIND OPTARG OPTERR PPID PWD OLDPWD PS1 PS2 PS3 PS4 ENV SHLVL LINENO RANDOM SECONDS UID EUID GROUPS DIRSTACK ' +
    'FUNCNAME HISTCMD SHELLOPTS BASHOPTS BASH BASHPID BASH_ENV POSIXLY_CORRECT MAIL MAILPATH MAILCHECK _'
  ).split(' '),
);

export interface PreparedProcess {
  readonly child: ChildProcess;
  readonly identity: ProcessIdentity;
  /** Lets the command run. Resolves once signals reach it, or when it has ended already; rejects when the process is gone. */
  release(): Promise<void>;
  /** Ends the process without running the command. */
  abandon(): void;
}

/** Rejects with the system's error when the process cannot be made. */
export async function prepareProcess(options: {
  readonly command: ProcessCommand;
  readonly variables: ReadonlyMap<string, string>;
  readonly exitFile: string;
  readonly logFile: string;
}): Promise<PreparedProcess> {
  const { command } = options;
  const plain: Record<string, string> = {};
  const special: string[] = [];
  for (const [name, value] of options.variables) {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !SHELL_VARIABLES.has(name)) plain[name] = value;
    else special.push(`${name}=${value}`);
  }
  const run = [command.program, ...command.args];
  if (special.length > 0) run.unshift(findEnvUtility(), ...special);

  const output = await open(options.logFile, 'a', 0o600);
  try {
    const child = spawn(SHELL, ['-c', LEADER_SCRIPT, options.exitFile, ...run], {
      cwd: command.workingDir,
      env: plain,
      detached: true,
      stdio: ['ignore', output.fd, output.fd, 'pipe'],
    });
    return await identify(child);
  } finally {
    await output.close();
  }
}

async function identify(child: ChildProcess): Promise<PreparedProcess> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  const gate = child.stdio[3];
  const stat = child.pid === undefined ? undefined : readProcess(child.pid);
  if (!(gate instanceof Socket) || stat === undefined) {
    if (gate instanceof Socket) gate.destroy();
    throw new Error('the new process cannot be seen in /proc');
  }
  // The other end may close at any time; what matters is told by the child's exit.
  gate.on('error', () => undefined);
  return {
    child,
    identity: { pid: stat.pid, startTime: stat.startTime },
    release: () => release(gate),
    abandon: () => {
      gate.destroy();
    },
  };
}

async function release(gate: Socket): Promise<void> {
  const heard = new Promise<void>((resolve) => {
    gate.once('data', () => {
      resolve();
    });
    gate.once('close', () => {
      resolve();
    });
  });
  try {
    await new Promise<void>((resolve, reject) => {
      gate.write('go\n', (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
    await heard;
  } finally {
    gate.destroy();
  }
}

function findEnvUtility(): string {
  for (const directory of ['/usr/bin', '/bin', ...(process.env['PATH'] ?? '').split(':')]) {
    const path = join(directory === '' ? '/' : directory, 'env');
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not there: the next one.
    }
  }
  throw new Error('env(1) was not found, and the container has variables that a shell cannot pass on');
}
