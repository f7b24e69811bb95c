import { LIST_CHECKS } from './lists.ts';
import { REGISTRATION_CHECKS } from './registration.ts';
import { REGISTRY_CHECKS } from './registry.ts';
import type { ManagerCheck } from './run-manager-checks.ts';
import { SESSION_CHECKS } from './sessions.ts';

/** Every check of managers there is, in the order of the report. */
export const MANAGER_CHECKS: readonly ManagerCheck[] = [
  ...REGISTRATION_CHECKS,
  ...LIST_CHECKS,
  ...SESSION_CHECKS,
  ...REGISTRY_CHECKS,
];
