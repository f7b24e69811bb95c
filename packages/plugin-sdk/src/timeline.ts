import type { TimelineStep } from './simulation-schema.ts';

/** Plays the steps of a timeline, each at its time after `start`, repeated ones again and again. */
export class Timeline {
  readonly #steps: readonly TimelineStep[];
  readonly #play: (step: TimelineStep) => void;
  readonly #timers = new Set<NodeJS.Timeout>();
  #started = false;
  #stopped = false;

  constructor(steps: readonly TimelineStep[], play: (step: TimelineStep) => void) {
    this.#steps = steps;
    this.#play = play;
  }

  /** Begins; a second call changes nothing. */
  start(): void {
    if (this.#started || this.#stopped) return;
    this.#started = true;
    for (const step of this.#steps) this.#playIn(step.at, step);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #playIn(delayMs: number, step: TimelineStep): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (step.every !== undefined) this.#playIn(step.every, step);
      this.#play(step);
    }, delayMs);
    this.#timers.add(timer);
  }
}
