import { isDeepStrictEqual } from 'node:util';
import { RULES, type Difference } from './rules.ts';
import type { Scenario } from './scenario.ts';
import type { Answer } from './side.ts';

export interface Comparison {
  /** The first difference that no rule covers. */
  readonly difference: Difference | undefined;
  /** How often each rule was needed. */
  readonly applied: ReadonlyMap<string, number>;
}

/** Holds the answers of both sides together, step by step; stops at the first difference that is not meant. */
export function compare(scenario: Scenario, kubelet: readonly Answer[], devmgr: readonly Answer[]): Comparison {
  const applied = new Map<string, number>();
  for (const [index, step] of scenario.steps.entries()) {
    let theirs: Answer = kubelet[index] ?? {};
    const ours: Answer = devmgr[index] ?? {};
    for (const rule of RULES) {
      if (isDeepStrictEqual(theirs, ours)) break;
      const accepted = rule.accept({ scenario, index, step, kubelet: theirs, devmgr: ours });
      if (accepted === undefined || isDeepStrictEqual(accepted, theirs)) continue;
      theirs = accepted;
      applied.set(rule.name, (applied.get(rule.name) ?? 0) + 1);
      if (rule.ends === true && isDeepStrictEqual(theirs, ours)) return { difference: undefined, applied };
    }
    if (!isDeepStrictEqual(theirs, ours)) {
      return { difference: { scenario, index, step, kubelet: kubelet[index] ?? {}, devmgr: ours }, applied };
    }
  }
  return { difference: undefined, applied };
}
