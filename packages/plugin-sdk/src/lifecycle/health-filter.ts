import type { HealthReport, HealthVerdict, LifecycleLimits } from './lifecycle-spec.ts';

type FilterLimits = Pick<
  LifecycleLimits,
  'failAfter' | 'recoverAfter' | 'flapsAllowed' | 'flapWindowMs' | 'holdDownMs'
>;

/**
 * Turns verdicts on a device into a state that does not flutter. Pure: time is passed in, in milliseconds of any clock.
 *
 * The first verdict counts at once; then it takes `failAfter` bad ones in a row to become failing and `recoverAfter` good
 * ones to be well again. A device that became failing too often within the window stays failing for `holdDownMs`.
 */
export class HealthFilter {
  readonly #limits: FilterLimits;
  #current: HealthReport | undefined;
  #badRun = 0;
  #goodRun = 0;
  /** When it became failing, newest last, those within the window. */
  #flaps: number[] = [];
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  constructor(limits: FilterLimits) {
    this.#limits = limits;
  }

  /** Undefined before the first verdict. */
  get current(): HealthReport | undefined {
    return this.#current;
  }

  /** Takes a verdict; a `definite` one needs no others to confirm it. */
  observe(verdict: HealthReport, nowMs: number, definite = false): void {
    const { failAfter, recoverAfter } = this.#limits;
    const first = this.#current === undefined;
    const bad = verdict.state === 'failing';
    this.#badRun = bad ? this.#badRun + 1 : 0;
    this.#goodRun = bad ? 0 : this.#goodRun + 1;
    if (this.#current?.state === 'failing') {
      const steady = definite || this.#goodRun >= recoverAfter;
      if (bad || (steady && nowMs >= this.#heldUntilMs)) this.#current = verdict;
      if (nowMs < this.#heldUntilMs) this.#current = this.#heldDown();
      return;
    }
    if (!bad) {
      this.#current = verdict;
    } else if (first || definite || this.#badRun >= failAfter) {
      this.#current = verdict;
      this.#becameFailing(nowMs);
      if (nowMs < this.#heldUntilMs) this.#current = this.#heldDown();
    }
  }

  /** Forgets that it flapped: the next good verdict counts at once. */
  recover(): void {
    this.#flaps = [];
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
    this.#goodRun = this.#limits.recoverAfter;
  }

  #becameFailing(nowMs: number): void {
    const { flapsAllowed, flapWindowMs, holdDownMs } = this.#limits;
    this.#flaps = [...this.#flaps.filter((atMs) => nowMs - atMs < flapWindowMs), nowMs];
    if (this.#flaps.length > flapsAllowed) this.#heldUntilMs = nowMs + holdDownMs;
  }

  #heldDown(): HealthReport {
    const { flapWindowMs, holdDownMs } = this.#limits;
    const seconds = (ms: number): string => `${String(Math.ceil(ms / 1_000))} s`;
    const message = `failed ${String(this.#flaps.length)} times within ${seconds(flapWindowMs)}, held back for ${seconds(holdDownMs)}`;
    return { state: 'failing', reason: 'Flapping', message };
  }
}

/** What a hook's verdict means. */
export function healthReport(verdict: HealthVerdict): HealthReport {
  if (verdict === undefined || verdict === true) return { state: 'healthy' };
  if (verdict === false) return { state: 'failing', reason: 'HealthFailed', message: 'the health check says so' };
  return verdict;
}
