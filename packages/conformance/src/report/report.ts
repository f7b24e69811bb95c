import type { Group, Level, Severity } from '../check.ts';

export type Status = 'pass' | 'fail' | 'warn' | 'skip';

/** One check and what came of it. */
export interface CheckResult {
  readonly id: string;
  readonly group: Group;
  readonly level: Level;
  readonly severity: Severity;
  readonly status: Status;
  readonly title: string;
  readonly why: string;
  readonly message: string;
  /** The evidence, lines; empty unless it failed or warned. */
  readonly seen: string;
  /** What to do about it; empty unless it failed or warned. */
  readonly remedy: string;
}

/** What was tested, as far as it showed. */
export interface PluginDescription {
  /** Words of the command; empty when the plugin was attached to. */
  readonly command: readonly string[];
  readonly resources: readonly ResourceDescription[];
}

export interface ResourceDescription {
  readonly name: string;
  readonly devices: number;
  readonly healthy: number;
  readonly endpoint: string;
  /** How it came: by calling Register, or found in plugins_registry. */
  readonly registration: 'register' | 'registry';
  readonly preferredAllocation: boolean;
  readonly preStartRequired: boolean;
  /** The `:authority` it sent; null when it sent none or was dialled. */
  readonly authority: string | null;
}

/** A manager that was tested, by where it was met. */
export interface ManagerDescription {
  readonly socket: string;
  /** Its plugins_registry directory; null when it has none. */
  readonly registry: string | null;
  /** Socket of its PodResources API; null when nobody answers there. */
  readonly podResources: string | null;
}

export interface Summary {
  readonly pass: number;
  readonly fail: number;
  readonly warn: number;
  readonly skip: number;
  readonly seconds: number;
}

export interface Report {
  readonly plugin: PluginDescription;
  /** What was tested instead of a plugin. */
  readonly manager?: ManagerDescription;
  readonly checks: readonly CheckResult[];
  readonly summary: Summary;
}

export function summarize(checks: readonly CheckResult[], seconds: number): Summary {
  const count = (status: Status): number => checks.filter((check) => check.status === status).length;
  return {
    pass: count('pass'),
    fail: count('fail'),
    warn: count('warn'),
    skip: count('skip'),
    seconds: Math.round(seconds * 10) / 10,
  };
}

/** Whether the plugin passed: no failure, with `strict` no warning either. */
export function hasPassed({ summary }: Report, strict: boolean): boolean {
  return summary.fail === 0 && (!strict || summary.warn === 0);
}
