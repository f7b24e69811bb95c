import { GROUPS, groupOf, type Check, type Level } from './check.ts';
import { ALLOCATION_CHECKS } from './checks/allocation.ts';
import { COMPATIBILITY_CHECKS } from './checks/compatibility.ts';
import { HARDWARE_CHECKS } from './checks/hardware.ts';
import { LISTING_CHECKS } from './checks/listing.ts';
import { MANNERS_CHECKS } from './checks/manners.ts';
import { PRE_START_CHECKS } from './checks/pre-start.ts';
import { PREFERRED_CHECKS } from './checks/preferred.ts';
import { REGISTRATION_CHECKS } from './checks/registration.ts';
import { RESTART_CHECKS } from './checks/restart.ts';

/** Every check there is, in the order of the report. */
export const CHECKS: readonly Check[] = [
  ...REGISTRATION_CHECKS,
  ...LISTING_CHECKS,
  ...ALLOCATION_CHECKS,
  ...PREFERRED_CHECKS,
  ...PRE_START_CHECKS,
  ...RESTART_CHECKS,
  ...MANNERS_CHECKS,
  ...HARDWARE_CHECKS,
  ...COMPATIBILITY_CHECKS,
];

export interface Selection {
  readonly level: Level;
  /** Ids or groups; empty for all of the level. What is named here runs whatever its level. */
  readonly only: readonly string[];
  /** Ids or groups. */
  readonly skip: readonly string[];
}

/** The checks of a selection. Names that are neither a check nor a group come back as `unknown`. */
export function selectChecks({ level, only, skip }: Selection): {
  checks: readonly Check[];
  unknown: readonly string[];
} {
  const known = new Set<string>([...GROUPS, ...CHECKS.map(({ id }) => id)]);
  const named = (names: readonly string[], check: Check): boolean =>
    names.includes(check.id) || names.includes(groupOf(check));
  const checks = CHECKS.filter((check) => {
    if (named(skip, check)) return false;
    if (only.includes(check.id)) return true;
    return (only.length === 0 || named(only, check)) && (level === 'full' || check.level === 'quick');
  });
  return { checks, unknown: [...only, ...skip].filter((name) => !known.has(name)) };
}
