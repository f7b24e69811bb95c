import { constants } from 'node:os';

const INTERRUPTIONS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The user's wish to stop, remembered until somebody can act on it. Signals have their usual effect again after `stop`. */
export class Interruption {
  readonly #controller = new AbortController();
  readonly #listener = (signal: NodeJS.Signals): void => {
    if (this.#by !== undefined) {
      this.onAgain?.();
      return;
    }
    this.#by = signal;
    this.#controller.abort();
  };
  /** Called for every signal after the first. */
  onAgain: (() => void) | undefined;
  #by: NodeJS.Signals | undefined;

  constructor() {
    for (const signal of INTERRUPTIONS) process.on(signal, this.#listener);
  }

  /** Aborts with the first of them. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Resolves with the first of them. */
  readonly requested: Promise<void> = new Promise((resolve) => {
    this.#controller.signal.addEventListener('abort', () => {
      resolve();
    });
  });

  /** The first signal that came. */
  get by(): NodeJS.Signals | undefined {
    return this.#by;
  }

  /** As shells count: 128 plus the number of the signal. */
  get exitCode(): number {
    return this.#by === undefined ? 0 : 128 + constants.signals[this.#by];
  }

  stop(): void {
    for (const signal of INTERRUPTIONS) process.off(signal, this.#listener);
  }
}

/** Runs `work` until it ends or the user interrupts it; being interrupted is a normal end of a watch. */
export async function untilInterrupted(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const interruption = new Interruption();
  try {
    await work(interruption.signal);
  } catch (error) {
    if (interruption.by === undefined) throw error;
  } finally {
    interruption.stop();
  }
}

/** An end with a code and nothing more to say. Not a failure of devmgr: the code is the command's own, or was explained already. */
export class ExitWith extends Error {
  override readonly name = 'ExitWith';
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${String(exitCode)}`);
    this.exitCode = exitCode;
  }
}
