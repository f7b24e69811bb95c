import type { VersionCounter } from './ports.ts';

/** A {@link VersionCounter} that can be moved on. */
export interface GrowingVersionCounter extends VersionCounter {
  /** Makes later versions greater than `version`; what is missing or not one of ours is ignored. */
  raiseTo(version: string | undefined): void;
}

/**
 * `resourceVersion`s: decimal numbers that only grow, one sequence for all objects of a manager, beginning after
 * `startAt`. After a restart raise the counter to the versions of what was restored, so that no version is given out
 * twice.
 */
export function createVersionCounter(startAt = 0): GrowingVersionCounter {
  let value = startAt;
  return {
    next() {
      value += 1;
      return String(value);
    },
    current: () => String(value),
    raiseTo(version) {
      if (version === undefined || !/^\d{1,15}$/.test(version)) return;
      value = Math.max(value, Number(version));
    },
  };
}
