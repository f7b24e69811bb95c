import { performance } from 'node:perf_hooks';
import { RpcError } from '@devmgr/wire';
import { NotReady } from '../bench/bench-errors.ts';
import { bad, moot, type Check, type Outcome } from '../check.ts';
import { summarize, type CheckResult, type Report } from '../report/report.ts';
import { toResult } from '../suite.ts';
import type { ManagerBench } from './manager-bench.ts';

/** One question put to a device manager. */
export type ManagerCheck = Check<ManagerBench>;

export interface ManagerSuiteOptions {
  readonly bench: ManagerBench;
  readonly checks: readonly ManagerCheck[];
  readonly onStart?: ((check: ManagerCheck) => void) | undefined;
  readonly onResult?: ((result: CheckResult) => void) | undefined;
}

/** Puts every check to the manager, one after the other. Rejects only when the run was aborted. */
export async function runManagerChecks({ bench, checks, onStart, onResult }: ManagerSuiteOptions): Promise<Report> {
  const startedMs = performance.now();
  const results: CheckResult[] = [];
  for (const check of checks) {
    bench.signal.throwIfAborted();
    onStart?.(check);
    const result = await runManagerCheck(check, bench);
    results.push(result);
    onResult?.(result);
  }
  return {
    plugin: { command: [], resources: [] },
    manager: bench.describe(),
    checks: results,
    summary: summarize(results, (performance.now() - startedMs) / 1000),
  };
}

/** Puts one check to the manager; rejects as {@link runManagerChecks}. */
export async function runManagerCheck(check: ManagerCheck, bench: ManagerBench): Promise<CheckResult> {
  return toResult(check, await judge(check, bench));
}

async function judge(check: ManagerCheck, bench: ManagerBench): Promise<Outcome> {
  try {
    return await check.run(bench);
  } catch (error) {
    bench.signal.throwIfAborted();
    if (error instanceof NotReady) return moot(`not tested: ${error.message}`);
    if (error instanceof RpcError) return bad('a call that should have succeeded failed', error.message);
    throw new Error(`${check.id}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await bench.clear();
  }
}
