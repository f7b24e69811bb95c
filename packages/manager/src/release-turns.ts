/** Hooks of one resource that run at the same time: a hundred devices given back at once are not a hundred processes. */
const MAX_PER_RESOURCE = 16;

interface Line {
  running: number;
  /** Each takes over a turn, oldest first. */
  readonly waiting: Set<() => void>;
}

/** Turns to run hooks, a line a resource. */
export class ReleaseTurns {
  readonly #lines = new Map<string, Line>();

  /**
   * Resolves, in order of arrival, to a function that gives the turn back (harmless when called again). When `signal`
   * aborts it resolves at once, without a turn.
   */
  async take(resource: string, signal: AbortSignal): Promise<() => void> {
    const line = this.#lines.get(resource) ?? { running: 0, waiting: new Set() };
    this.#lines.set(resource, line);
    if (line.running < MAX_PER_RESOURCE) line.running += 1;
    else if (!(await waitIn(line, signal))) return () => undefined;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const [next] = line.waiting;
      if (next !== undefined) next();
      else if (--line.running === 0) this.#lines.delete(resource);
    };
  }
}

/** True once a turn was handed over, false when `signal` aborts first. */
function waitIn(line: Line, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (turn: boolean): void => {
      line.waiting.delete(takeOver);
      signal.removeEventListener('abort', giveUp);
      resolve(turn);
    };
    const takeOver = (): void => {
      end(true);
    };
    const giveUp = (): void => {
      end(false);
    };
    line.waiting.add(takeOver);
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
  });
}
