interface Repetition {
  readonly ticking: NodeJS.Timeout;
  readonly ending: NodeJS.Timeout | undefined;
  readonly end: () => void;
}

/** Things done again and again, each under a name, until stopped or for a while. */
export class Repeater {
  readonly #running = new Map<string, Repetition>();

  get names(): readonly string[] {
    return [...this.#running.keys()];
  }

  /** Begins; what ran under the name is stopped first. `end` is called once, when it stops for whatever reason. */
  start(
    name: string,
    time: { readonly everyMs: number; readonly forMs?: number | undefined },
    tick: () => void,
    end: () => void = () => undefined,
  ): void {
    this.stop(name);
    const ticking = setInterval(tick, time.everyMs);
    const stop = (): void => {
      this.stop(name);
    };
    const ending = time.forMs === undefined ? undefined : setTimeout(stop, time.forMs);
    this.#running.set(name, { ticking, ending, end });
  }

  stop(name: string): void {
    const repetition = this.#running.get(name);
    if (repetition === undefined) return;
    this.#running.delete(name);
    clearInterval(repetition.ticking);
    clearTimeout(repetition.ending);
    repetition.end();
  }

  stopAll(): void {
    for (const name of this.names) this.stop(name);
  }
}
