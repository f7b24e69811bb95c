import { performance } from 'node:perf_hooks';
import { RpcError } from '@devmgr/wire';
import type { Bench } from './bench/bench.ts';
import { NotReady, PluginEnded } from './bench/bench-errors.ts';
import { STAGES, groupOf, type Check, type Outcome } from './check.ts';
import { describePlugin } from './report/plugin-description.ts';
import type { CheckResult, Report } from './report/report.ts';
import { summarize } from './report/report.ts';

export interface SuiteOptions {
  readonly bench: Bench;
  /** What to run, in the order of the report. */
  readonly checks: readonly Check[];
  readonly onStart?: ((check: Check, done: number, total: number) => void) | undefined;
  readonly onResult?: ((result: CheckResult) => void) | undefined;
}

/**
 * Puts every check to the plugin, one after the other, stage by stage, and reports in the order they were given. Rejects
 * only when the run was aborted or the plugin cannot be started at all (DevmgrError). The bench stays open.
 */
export async function runChecks(options: SuiteOptions): Promise<Report> {
  const { bench, checks } = options;
  const startedMs = performance.now();
  const results = new Map<Check, CheckResult>();
  for (const stage of STAGES) {
    for (const check of checks.filter((one) => (one.stage ?? 'observe') === stage)) {
      bench.signal.throwIfAborted();
      options.onStart?.(check, results.size, checks.length);
      if (stage === 'fresh' || stage === 'destructive') bench.spoil();
      const result = toResult(check, await judge(check, bench));
      results.set(check, result);
      options.onResult?.(result);
    }
  }
  const ordered = checks.flatMap((check) => results.get(check) ?? []);
  return {
    plugin: describePlugin(bench),
    checks: ordered,
    summary: summarize(ordered, (performance.now() - startedMs) / 1000),
  };
}

/** An outcome, with what only the engine knows: that the plugin died over it. */
type Judgement = Outcome & { readonly crashed?: boolean };

async function judge(check: Check, bench: Bench): Promise<Judgement> {
  try {
    return await check.run(bench);
  } catch (error) {
    bench.signal.throwIfAborted();
    return judgeFailure(check, error, bench);
  }
}

async function judgeFailure(check: Check, error: unknown, bench: Bench): Promise<Judgement> {
  if (error instanceof NotReady) return { verdict: 'moot', message: `not tested: ${error.message}` };
  if (error instanceof PluginEnded) return crashed(error);
  if (error instanceof RpcError) {
    try {
      await bench.settleAfter(error);
    } catch (later) {
      if (later instanceof PluginEnded) return crashed(later);
      throw later;
    }
    return { verdict: 'bad', message: 'a call that should have succeeded failed', seen: error.message };
  }
  if (error instanceof Error && error.name === 'DevmgrError') throw error;
  throw new Error(`${check.id}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

function crashed({ how, log }: PluginEnded): Judgement {
  return {
    verdict: 'bad',
    crashed: true,
    message: `the plugin ended by itself (${how})`,
    seen: ['the last lines of its log:', ...log.map((line) => `  ${line}`)].join('\n'),
    remedy: 'A plugin must outlive whatever a manager does. Start from the last lines of its log.',
  };
}

/** A crash fails whatever the check is worth, unless the check did what no manager does. */
function toResult(check: Check, outcome: Judgement): CheckResult {
  const { id, title, why, level, severity } = check;
  const base = { id, group: groupOf(check), level, severity, title, why, message: outcome.message };
  switch (outcome.verdict) {
    case 'good':
      return { ...base, status: 'pass', seen: '', remedy: '' };
    case 'moot':
      return { ...base, status: 'skip', seen: '', remedy: '' };
    case 'bad': {
      const isError = severity === 'error' || (outcome.crashed === true && check.stage !== 'destructive');
      const remedy = outcome.remedy ?? check.remedy;
      return { ...base, status: isError ? 'fail' : 'warn', seen: outcome.seen ?? '', remedy };
    }
  }
}
