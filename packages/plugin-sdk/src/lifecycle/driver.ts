import { BackOff } from '../back-off.ts';
import { readBootId } from '../boot-id.ts';
import { messageOf } from '../plugin-log.ts';
import type { PluginLog } from '../plugin-log.ts';
import { WakeUp } from '../wake-up.ts';
import { HookError, runHook } from './hook-call.ts';
import { endGroup, runInstaller } from './install-command.ts';
import type { LifeState } from './life-state.ts';
import type { DriverInstall, DriverStatus, DriverVerdict, LifecycleLimits, PluginLifecycle } from './lifecycle-spec.ts';

interface DriverOptions {
  readonly resource: string;
  readonly hooks: Pick<PluginLifecycle, 'ready' | 'install'>;
  readonly limits: LifecycleLimits;
  readonly state: LifeState;
  readonly signal: AbortSignal;
  readonly log: PluginLog;
  readonly onChange: () => void;
}

/**
 * Sees to it that the driver is there before anything else happens.
 *
 * Invariants: an installation is marked as done only when it is durable that it succeeded; one that was interrupted is
 * run again, after what is left of it was ended; what is marked as done is not installed again.
 */
export class Driver {
  readonly #options: DriverOptions;
  readonly #wakeUp = new WakeUp();
  readonly #backOff: BackOff;
  #status: DriverStatus = { phase: 'Preparing', reason: '', message: '', version: '', progress: undefined };
  #attempt = 0;
  #failures = 0;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#backOff = new BackOff(options.limits.retryFirstMs, options.limits.retryMaxMs);
  }

  get status(): DriverStatus {
    return this.#status;
  }

  /** Whether the plugin has a driver at all. */
  get isWanted(): boolean {
    const { ready, install } = this.#options.hooks;
    return ready !== undefined || install !== undefined;
  }

  /** Resolves when the driver is there, or the signal aborts. Never rejects. */
  async prepare(): Promise<void> {
    if (!this.isWanted) return;
    const { signal, limits, log, resource } = this.#options;
    const wake = (): void => {
      this.#wakeUp.hint();
    };
    signal.addEventListener('abort', wake);
    while (!signal.aborted) {
      this.#wakeUp.clear();
      try {
        this.#attempt += 1;
        await this.#endLeftover();
        const version = await this.#look();
        this.#set({ phase: 'Ready', reason: '', message: '', version, progress: undefined });
        log.info({ resource, version }, 'the driver is ready');
        break;
      } catch (error) {
        if (isAborted(signal)) break;
        const failure = error instanceof HookError ? error : new HookError('DriverNotReady', messageOf(error));
        this.#failures += 1;
        const news = this.#status.message !== failure.message;
        const tired = failure.reason.startsWith('Install') && this.#failures >= limits.quarantineAfter;
        const phase = tired ? 'Failed' : 'Preparing';
        this.#set({ phase, reason: failure.reason, message: failure.message, version: '', progress: undefined });
        if (news) log.warn({ resource, reason: failure.reason, cause: failure.message }, 'the driver is not ready');
        await this.#wakeUp.sleep(tired ? limits.quarantineRetryMs : this.#backOff.next());
      }
    }
    signal.removeEventListener('abort', wake);
  }

  /** Looks at once, and installs again what is marked as installed but not there. */
  recover(): void {
    this.#options.state.installed = undefined;
    this.#failures = 0;
    this.#backOff.reset();
    this.#wakeUp.hint();
  }

  /** The driver's version, once it is there. Rejects when it is not. */
  async #look(): Promise<string> {
    const { install } = this.#options.hooks;
    const found = await this.#ask().catch((error: unknown) => asHookError(error));
    if (typeof found === 'string') return found;
    // That it did not answer does not say that it is not there.
    if (install === undefined || found.reason === 'ReadyTimedOut') throw found;
    const { ready } = this.#options.hooks;
    if (this.#isInstalled(install)) {
      if (ready === undefined) return install.key;
      throw new HookError(found.reason, `${found.message}, although ${install.key} is installed`);
    }
    await this.#install(install);
    return ready === undefined ? install.key : this.#ask();
  }

  /** What `ready` says; without it there is no driver to find. */
  async #ask(): Promise<string> {
    const { hooks, limits, signal } = this.#options;
    if (hooks.ready === undefined) throw new HookError('DriverNotReady', 'not installed yet');
    const run = { hook: 'Ready', timeoutMs: limits.readyTimeoutMs, attempt: this.#attempt, signal } as const;
    const running = runHook<DriverVerdict>(run, (call) => hooks.ready?.(call));
    const verdict = await running.outcome.catch(async (error: unknown) => {
      await running.settled; // Never two at once.
      const { reason, message } = asHookError(error);
      throw new HookError(reason === 'ReadyFailed' ? 'DriverNotReady' : reason, message);
    });
    if (verdict === false) throw new HookError('DriverNotReady', 'the driver is not there');
    return typeof verdict === 'string' ? verdict : '';
  }

  #isInstalled({ key, perBoot }: DriverInstall): boolean {
    const { installed } = this.#options.state;
    return installed?.key === key && (perBoot !== true || installed.bootId === readBootId());
  }

  async #install(install: DriverInstall): Promise<void> {
    const { limits, signal, state, log, resource } = this.#options;
    log.info({ resource, driver: install.key, attempt: this.#attempt }, 'installing the driver');
    const onProgress = (percent: number | undefined, message: string): void => {
      this.#set({
        phase: 'Preparing',
        reason: 'InstallingDriver',
        message: message || install.key,
        version: '',
        progress: percent,
      });
    };
    onProgress(undefined, '');
    const run = {
      hook: 'Install',
      timeoutMs: limits.installTimeoutMs,
      attempt: this.#attempt,
      signal,
      onProgress,
    } as const;
    const running = runHook(run, (call) =>
      install.command === undefined
        ? install.run?.(call)
        : runInstaller(install.command, call, async (mark) => {
            state.installer = mark;
            await state.save();
          }),
    );
    try {
      await running.outcome;
    } finally {
      await running.settled;
      state.installer = undefined;
    }
    state.installed = { key: install.key, bootId: readBootId() };
    await state.save();
    log.info({ resource, driver: install.key }, 'the driver is installed');
  }

  async #endLeftover(): Promise<void> {
    const { state, log, resource } = this.#options;
    const { installer } = state;
    if (installer === undefined) return;
    log.warn({ resource, pid: installer.pid }, 'ending an installer that an earlier plugin left behind');
    await endGroup(installer);
    state.installer = undefined;
  }

  #set(status: DriverStatus): void {
    this.#status = status;
    this.#options.onChange();
  }
}

function asHookError(error: unknown): HookError {
  return error instanceof HookError ? error : new HookError('DriverNotReady', messageOf(error));
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
