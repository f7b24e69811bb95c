import { spawn, type ChildProcess } from 'node:child_process';
import { DevmgrError } from '@devmgr/core';
import type { Clock, HookRun, HookRunner, Logger } from '../ports.ts';
import { isDead, listProcesses, wasStartedWith } from '../process-identity.ts';
import { isAborted, sleep } from '../wake-up.ts';
import { HookOutput } from './hook-output.ts';

/** Between SIGTERM and SIGKILL. */
const TERM_GRACE_MS = 2_000;
/** How long a manager that stops waits for a hook to be gone, SIGKILL included. */
const STOP_PATIENCE_MS = 7_000;
/** How long what a command has written may take to arrive after its end. */
const DRAIN_MS = 1_000;
/** How long hooks of a manager that was killed may take to go away. */
const LEFTOVER_WAIT_MS = 10_000;
/** Marks the processes of our hooks, so that those a killed manager leaves behind can be found. */
const MARK = 'DEVMGR_HOOK_OWNER';

export interface HookCommandsOptions {
  /** Names this manager among all on the machine, over restarts: its state directory. */
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Runs the commands that the configuration names, without a shell, each in a session and process group of its own; what
 * it prints goes to the log. At its deadline, or when its signal aborts, the whole group gets SIGTERM and two seconds
 * later SIGKILL; what is left of the group when the command itself has ended is killed.
 */
export class HookCommands implements HookRunner {
  readonly #options: HookCommandsOptions;

  constructor(options: HookCommandsOptions) {
    this.#options = options;
  }

  /** Ends what a manager before this one left running: it was killed, and its hooks were not. */
  async endLeftovers(): Promise<void> {
    const { owner, clock, log } = this.#options;
    const until = clock.monotonicMs() + LEFTOVER_WAIT_MS;
    for (;;) {
      const left = listProcesses().filter((one) => !isDead(one) && wasStartedWith(one.pid, `${MARK}=${owner}`));
      if (left.length === 0) return;
      const pids = left.map(({ pid }) => pid);
      if (clock.monotonicMs() > until) {
        log.warn({ pids }, 'Hooks of the manager before this one do not go away');
        return;
      }
      log.info({ pids }, 'Ending hooks of the manager before this one');
      for (const pid of pids) kill(pid, 'SIGKILL');
      await sleep(clock, 20);
    }
  }

  async run(run: HookRun): Promise<void> {
    run.signal.throwIfAborted();
    const { clock } = this.#options;
    const { hook, resource, deviceIds, container, attempt } = run;
    const log = this.#options.log.child({ hook, resource, podUid: run.pod.uid, container, attempt });
    log.info({ command: run.command[0], deviceIds }, 'Running a hook');
    const child = this.#spawn(run);
    const output = new HookOutput(child, log);
    const ended = new Promise<string | undefined>((resolve) => {
      child.once('error', (error: NodeJS.ErrnoException) => resolve(startFailure(run, error)));
      child.once('exit', (code, signal) => {
        if (child.pid !== undefined) kill(-child.pid, 'SIGKILL');
        if (code === 0) resolve(undefined);
        else resolve(signal === null ? `ended with exit code ${String(code)}` : `was ended by ${signal}`);
      });
    });
    const limit = new AbortController();
    const cancelLimit = clock.setTimeout(() => limit.abort(), run.timeoutMs);
    const stop = AbortSignal.any([limit.signal, run.signal]);
    const over = new AbortController();
    const stopped = this.#stopWhen(stop, child, over.signal);
    // What cannot even be killed keeps its devices, but not a manager that stops.
    const givenUp = aborted(AbortSignal.any([run.signal, over.signal])).then(() =>
      sleep(clock, STOP_PATIENCE_MS, over.signal),
    );
    let why = await Promise.race([ended, givenUp.then(() => 'does not end')]);
    over.abort();
    cancelLimit();
    await stopped;
    await Promise.race([output.closed, sleep(clock, DRAIN_MS)]);
    output.destroy();
    run.signal.throwIfAborted();
    if (limit.signal.aborted) why = `did not end within ${String(run.timeoutMs / 1000)} s and was killed`;
    if (why !== undefined) throw failure(run, output.lastError === '' ? why : `${why}: ${output.lastError}`);
  }

  #spawn(run: HookRun): ChildProcess {
    const [program = '', ...args] = run.command;
    try {
      return spawn(program, args, {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        cwd: '/',
        env: { ...process.env, ...hookEnvironment(run), [MARK]: this.#options.owner },
      });
    } catch (error) {
      throw failure(run, startFailure(run, error as NodeJS.ErrnoException));
    }
  }

  async #stopWhen(stop: AbortSignal, child: ChildProcess, over: AbortSignal): Promise<void> {
    await aborted(AbortSignal.any([stop, over]));
    if (over.aborted || child.pid === undefined) return;
    kill(-child.pid, 'SIGTERM');
    await sleep(this.#options.clock, TERM_GRACE_MS, over);
    if (!isAborted(over)) kill(-child.pid, 'SIGKILL');
  }
}

/** What a hook finds in its environment; docs/device-lifecycle.md lists it. */
export function hookEnvironment(run: HookRun): Readonly<Record<string, string>> {
  return {
    DEVMGR_HOOK: run.hook,
    DEVMGR_RESOURCE: run.resource,
    DEVMGR_DEVICE_IDS: run.deviceIds.join(','),
    DEVMGR_POD_NAMESPACE: run.pod.namespace,
    DEVMGR_POD_NAME: run.pod.name,
    DEVMGR_POD_UID: run.pod.uid,
    DEVMGR_CONTAINER_NAME: run.container,
    DEVMGR_ATTEMPT: String(run.attempt),
  };
}

function failure({ hook, resource }: HookRun, why: string): DevmgrError {
  return new DevmgrError('HOOK_FAILED', `the ${hook} command of ${resource} ${why}`);
}

function startFailure({ hook, resource, command }: HookRun, error: NodeJS.ErrnoException): string {
  const remedy = `correct resources.${resource}.${hook} in the configuration, or the file, and start the manager again`;
  const program = command[0] ?? '';
  if (error.code === 'ENOENT') return `cannot be run: there is no program ${program}: ${remedy}`;
  if (error.code === 'EACCES') return `cannot be run: ${program} is not executable: ${remedy}`;
  return `cannot be run: ${error.message}`;
}

/** Nobody there is fine: it has ended. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone.
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
