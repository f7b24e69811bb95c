import { ProcessGroup, type GroupEnd } from '@devmgr/plugin-sdk/running';

export const RESTART_POLICIES = ['always', 'on-failure', 'never'] as const;
export type RestartPolicy = (typeof RESTART_POLICIES)[number];

export interface SuperviseOptions {
  readonly restart: RestartPolicy;
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs: number;
  readonly stdio: readonly ['ignore', 'inherit' | number, 'inherit' | number];
  readonly env: NodeJS.ProcessEnv;
  /** Aborted to stop. */
  readonly stop: AbortSignal;
  /** Aborted to stop without waiting for the grace period. */
  readonly stopNow: AbortSignal;
  /** What happens, one line each. */
  readonly report: (line: string) => void;
  /** Pauses between restarts; the defaults are those of the command. */
  readonly backOff?: BackOffTimes;
}

export interface BackOffTimes {
  readonly firstMs: number;
  readonly maxMs: number;
  /** After running this long the next pause is the first one again. */
  readonly resetAfterMs: number;
}

export const PLUGIN_BACK_OFF: BackOffTimes = { firstMs: 1_000, maxMs: 30_000, resetAfterMs: 60_000 };

/**
 * Keeps a command running as `restart` says, with a growing pause between its runs, until it is stopped or has ended for
 * good. Resolves to the exit code of the last run; 0 when it was stopped. Nothing of it runs any more then.
 */
export async function supervise(command: readonly string[], options: SuperviseOptions): Promise<number> {
  const times = options.backOff ?? PLUGIN_BACK_OFF;
  let pauseMs = times.firstMs;
  for (;;) {
    const startedAt = performance.now();
    const end = await runOnce(command, options);
    if (options.stop.aborted) return 0;
    const mayRestart = options.restart === 'always' || (options.restart === 'on-failure' && end.exitCode !== 0);
    if (!mayRestart) {
      options.report(`ended: ${end.how}`);
      return end.exitCode;
    }
    if (performance.now() - startedAt >= times.resetAfterMs) pauseMs = times.firstMs;
    options.report(`ended: ${end.how}; starting it again in ${String(pauseMs / 1000)} s`);
    if (await sleep(pauseMs, options.stop)) return 0;
    pauseMs = Math.min(pauseMs * 2, times.maxMs);
  }
}

async function runOnce(command: readonly string[], options: SuperviseOptions): Promise<GroupEnd> {
  const group = new ProcessGroup(command, { stdio: options.stdio, env: options.env });
  if (group.pid !== undefined) options.report(`started, pid ${String(group.pid)}`);
  let killTimer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    options.report('stopping');
    group.signal('SIGTERM');
    // A stopped (SIGSTOP) group has to be woken to see it.
    group.signal('SIGCONT');
    killTimer = setTimeout(() => {
      options.report(`did not stop within ${String(options.graceMs / 1000)} s: killed`);
      group.signal('SIGKILL');
    }, options.graceMs);
  };
  const stopNow = (): void => {
    group.signal('SIGKILL');
  };
  if (options.stop.aborted) stop();
  else options.stop.addEventListener('abort', stop, { once: true });
  options.stopNow.addEventListener('abort', stopNow, { once: true });
  try {
    return await group.ended;
  } finally {
    clearTimeout(killTimer);
    options.stop.removeEventListener('abort', stop);
    options.stopNow.removeEventListener('abort', stopNow);
  }
}

/** True when it was cut short. */
async function sleep(delayMs: number, stop: AbortSignal): Promise<boolean> {
  if (stop.aborted) return true;
  return new Promise((resolve) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    const timer = setTimeout(() => {
      stop.removeEventListener('abort', onAbort);
      resolve(false);
    }, delayMs);
    stop.addEventListener('abort', onAbort, { once: true });
  });
}
