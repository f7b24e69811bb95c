import type { CheckResult } from '../report/report.ts';

/** A check as a test of whatever runner: one call, that rejects when it fails. */
export interface SuiteTest {
  readonly id: string;
  /** For the runner: `listing/keeps-stream: The plugin keeps the stream open.` */
  readonly name: string;
  /**
   * Makes the check; after those that were asked for before. Resolves to a result that is `pass`, `skip` (with why in
   * `message`) or, unless the suite is strict, `warn`.
   *
   * @throws CheckFailed with what was seen, why it matters and what to do.
   */
  run(): Promise<CheckResult>;
}

/** Checks of one plugin or manager, to be handed to a test runner one by one. */
export interface TestSuite {
  /** In the order in which they are to run. */
  readonly tests: readonly SuiteTest[];
  /** No test takes longer, in milliseconds; the limit to give to the runner. */
  readonly limitMs: number;
  /** Ends all that was started; idempotent. Call it after the last test, whatever came of them. */
  close(): Promise<void>;
}

/** A check that failed, or warned in a strict suite. Its message is all there is to say. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
  readonly result: CheckResult;

  constructor(result: CheckResult) {
    const { id, message, seen, title, why, remedy } = result;
    const lines = [`${id}: ${message}`];
    if (seen !== '')
      lines.push(...seen.split('\n').map((line, index) => `${index === 0 ? 'seen:   ' : '        '}${line}`));
    super([...lines, `why:    ${title} ${why}`, `remedy: ${remedy}`].join('\n'));
    this.result = result;
  }
}

/** Times `timeoutMs`: a check waits for several things one after the other. */
const WAITS = 10;

/** A suite of these checks. Runners may start tests side by side; here they wait for each other. */
export function testSuite<C extends { readonly id: string; readonly title: string }>(options: {
  readonly checks: readonly C[];
  readonly timeoutMs: number;
  readonly strict: boolean;
  readonly run: (check: C) => Promise<CheckResult>;
  readonly close: () => Promise<void>;
}): TestSuite {
  let last: Promise<unknown> = Promise.resolve();
  let closed: Promise<void> | undefined;
  const tests = options.checks.map((check) => ({
    id: check.id,
    name: `${check.id}: ${check.title}`,
    run: async (): Promise<CheckResult> => {
      const turn = last.then(() => options.run(check));
      last = turn.catch(() => undefined);
      const result = await turn;
      if (result.status === 'fail' || (options.strict && result.status === 'warn')) throw new CheckFailed(result);
      return result;
    },
  }));
  return {
    tests,
    limitMs: options.timeoutMs * WAITS,
    close: () => (closed ??= options.close()),
  };
}
