import type { ContainerKey } from '../container-runtime.ts';
import type { Clock } from '../ports.ts';
import { isAlive, type ProcessIdentity } from '../process-identity.ts';
import { WakeUp } from '../wake-up.ts';
import { attemptPath, readAttemptOutcome } from './attempt-files.ts';
import type { LeaderEnd } from './process-container.ts';
import { watchPath } from './path-watch.ts';

const LONGEST_POLL_MS = 1000;
const SHORTEST_POLL_MS = 10;

/**
 * Watches the leader of a container that another manager started: the kernel does not tell us of its end, but its exit
 * file is written, and then it is gone. It is looked at once a second, and more often when its end is near.
 */
export class AdoptedLeader {
  /** Resolves when it is gone. Never when `closed` aborts before. */
  readonly end: Promise<LeaderEnd>;
  readonly #wakeUp: WakeUp;
  #pollMs = LONGEST_POLL_MS;

  constructor(options: {
    readonly stateDir: string;
    readonly key: ContainerKey;
    readonly leader: ProcessIdentity;
    readonly clock: Clock;
    readonly closed: AbortSignal;
  }) {
    this.#wakeUp = new WakeUp(options.clock);
    this.end = this.#watch(options);
  }

  /** Its end is near: it was sent a signal, or its exit file changed. */
  lookClosely(): void {
    this.#pollMs = SHORTEST_POLL_MS;
    this.#wakeUp.wake();
  }

  async #watch(options: {
    readonly stateDir: string;
    readonly key: ContainerKey;
    readonly leader: ProcessIdentity;
    readonly clock: Clock;
    readonly closed: AbortSignal;
  }): Promise<LeaderEnd> {
    const { stateDir, key, leader, clock, closed } = options;
    const watcher = watchPath(attemptPath(stateDir, key, 'exit'), () => {
      this.lookClosely();
    });
    try {
      while (isAlive(leader)) {
        await this.#wakeUp.wait(this.#pollMs, closed);
        if (closed.aborted) return await new Promise<never>(() => undefined);
        this.#pollMs = Math.min(this.#pollMs * 2, LONGEST_POLL_MS);
      }
    } finally {
      watcher?.close();
    }
    const outcome = await readAttemptOutcome(stateDir, key);
    return outcome.state === 'ended' ? outcome : { exitCode: undefined, finishedAt: clock.now() };
  }
}
