/** One thing that must be in order: undefined when it is, else why not, in one line. Must not throw. */
export interface HealthCheck {
  readonly name: string;
  readonly problem: () => string | undefined;
}

/** Answer of one of the health paths. */
export interface HealthReport {
  readonly ok: boolean;
  readonly text: string;
}

export type HealthPath = 'healthz' | 'livez' | 'readyz';

/** What the health paths answer. */
export interface Health {
  report(path: HealthPath, verbose: boolean): HealthReport;
}

export interface HealthOptions {
  /** Count for all three paths. */
  readonly checks: readonly HealthCheck[];
  /** Count for `/readyz` only. */
  readonly readyChecks?: readonly HealthCheck[];
}

/** That an answer comes at all is the first check, as in Kubernetes' components. */
const PING: HealthCheck = { name: 'ping', problem: () => undefined };

/**
 * `/healthz`, `/livez` and `/readyz` in the form of Kubernetes' components: `ok`, or with `verbose` or upon a failure one
 * line a check, `[+]name ok` or `[-]name failed: why`, and a closing line.
 */
export function createHealth({ checks, readyChecks = [] }: HealthOptions): Health {
  return {
    report(path, verbose) {
      const lines: string[] = [];
      let ok = true;
      for (const check of [PING, ...checks, ...(path === 'readyz' ? readyChecks : [])]) {
        const problem = check.problem();
        if (problem === undefined) {
          lines.push(`[+]${check.name} ok`);
        } else {
          ok = false;
          lines.push(`[-]${check.name} failed: ${problem.replaceAll(/[\r\n]+/g, ' ')}`);
        }
      }
      if (ok && !verbose) return { ok, text: 'ok' };
      lines.push(`${path} check ${ok ? 'passed' : 'failed'}`);
      return { ok, text: `${lines.join('\n')}\n` };
    },
  };
}
