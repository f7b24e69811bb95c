/** One point in which a plugin is not what it was when it was recorded. */
export interface Difference {
  /** What was looked at: `example.com/widget: Allocate of [w0]`. */
  readonly what: string;
  readonly recorded: string;
  readonly now: string;
}

/** Where two JSON values differ, the first places of many: `containerResponses[0].envs.WIDGETS`. */
export function diffValues(what: string, recorded: unknown, now: unknown): readonly Difference[] {
  const found: Difference[] = [];
  compare('', recorded, now, found);
  return found.slice(0, MOST).map(({ what: at, ...rest }) => ({ what: at === '' ? what : `${what}: ${at}`, ...rest }));
}

const MOST = 5;

function compare(at: string, recorded: unknown, now: unknown, found: Difference[]): void {
  if (isObject(recorded) && isObject(now) && Array.isArray(recorded) === Array.isArray(now)) {
    for (const key of new Set([...Object.keys(recorded), ...Object.keys(now)])) {
      const place = Array.isArray(recorded) ? `${at}[${key}]` : at === '' ? key : `${at}.${key}`;
      compare(place, recorded[key], now[key], found);
    }
  } else if (!Object.is(recorded, now)) {
    found.push({ what: at, recorded: show(recorded), now: show(now) });
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}

/** A decoded message as JSON; maps become objects, and numbers of NUMA nodes are bigints. */
export function plain(message: unknown): unknown {
  return JSON.parse(
    JSON.stringify(message, (_, value: unknown): unknown => {
      if (value instanceof Map) return Object.fromEntries(value as ReadonlyMap<string, unknown>);
      return typeof value === 'bigint' ? Number(value) : value;
    }),
  );
}

/** What a call came to: its answer, or the text of its failure. */
export type Outcome = { readonly answer: unknown } | { readonly error: string };

/** Where two outcomes of a call differ; an answer in place of a failure is one difference. */
export function diffOutcomes(what: string, recorded: Outcome, now: Outcome): readonly Difference[] {
  if ('answer' in recorded && 'answer' in now) return diffValues(what, recorded.answer, now.answer);
  const texts = [recorded, now].map((one) => ('error' in one ? one.error : `answered ${show(one.answer)}`));
  const [then = '', today = ''] = texts;
  return then === today ? [] : [{ what, recorded: then, now: today }];
}
