import type { Bench } from './bench/bench.ts';

/** In the order of the report. */
export const GROUPS = [
  'registration',
  'listing',
  'allocation',
  'preferred',
  'pre-start',
  'restart',
  'manners',
  'hardware',
  'compatibility',
] as const;
export type Group = (typeof GROUPS)[number];

/** `quick`: all of them together take seconds. `full`: those that need minutes or a hardened plugin. */
export const LEVELS = ['quick', 'full'] as const;
export type Level = (typeof LEVELS)[number];

/**
 * When a check runs, in this order. `observe`: looks, and calls what is offered; any number may follow one another on one
 * instance. `drill`: restarts the manager; leaves the plugin registered. `end`: ends the instance. `fresh`: wants a new instance.
 * `destructive`: does what no manager should; on a new instance too.
 */
export const STAGES = ['observe', 'drill', 'end', 'fresh', 'destructive'] as const;
export type Stage = (typeof STAGES)[number];

/** `error`: breaks what the API asks for, or breaks on a kubelet. `warning`: works, and costs or surprises somebody. */
export type Severity = 'error' | 'warning';

/** One question put to a plugin. It stands alone: run by itself it makes what it needs. */
export interface Check {
  /** `group/what-is-right`, kebab-case. */
  readonly id: `${Group}/${string}`;
  readonly level: Level;
  readonly severity: Severity;
  /** Default: `observe`. */
  readonly stage?: Stage;
  /** What a good plugin does, one sentence. */
  readonly title: string;
  /** What comes of it otherwise, and where that is laid down. */
  readonly why: string;
  /** What the author of a plugin that fails does about it. */
  readonly remedy: string;
  /**
   * Rejections need not be caught: a plugin that ended fails the check, one that could not be made ready skips it, a
   * failed call fails it with the call's text.
   */
  run(bench: Bench): Promise<Outcome>;
}

export type Outcome =
  | { readonly verdict: 'good'; readonly message: string }
  | { readonly verdict: 'bad'; readonly message: string; readonly seen?: string; readonly remedy?: string }
  | { readonly verdict: 'moot'; readonly message: string };

/** The plugin does what the title says. */
export function good(message: string): Outcome {
  return { verdict: 'good', message };
}

/** It does not. `seen` is the evidence: ids, texts, numbers; a line each. `remedy` when a better one than the check's is known. */
export function bad(message: string, seen?: string | readonly string[], remedy?: string): Outcome {
  return {
    verdict: 'bad',
    message,
    ...(seen === undefined ? {} : { seen: typeof seen === 'string' ? seen : seen.join('\n') }),
    ...(remedy === undefined ? {} : { remedy }),
  };
}

/** The question does not arise: an optional method that is not offered, nothing of the kind answered. */
export function moot(message: string): Outcome {
  return { verdict: 'moot', message };
}

/** The group a check belongs to. */
export function groupOf({ id }: Pick<Check, 'id'>): Group {
  return id.slice(0, id.indexOf('/')) as Group;
}
