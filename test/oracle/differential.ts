import { existsSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compare } from './differential/compare.ts';
import { generateScenario } from './differential/generate.ts';
import { PeerProcess } from './differential/peer-process.ts';
import { RULES, type Difference } from './differential/rules.ts';
import { runScenario } from './differential/side.ts';
import { ManagerDriver } from './driver/manager-driver.ts';

/**
 * Random scenarios on the real kubelet's device manager and on devmgr, every answer compared.
 *
 *   npm run test:differential -- --seeds 5000 [--from 1] [--jobs 2] [--keep-going]
 *   npm run test:differential -- --seed 4711          one scenario, both sides shown
 *   npm run test:differential -- --seeds 300 --golden test/oracle/golden/kubelet.jsonl
 *   npm run test:differential -- --seeds 300 --report FILE    the sums as JSON too: {passed, failed, skipped} seeds
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: process.env['FROM'] ?? '1' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: String(Math.min(4, availableParallelism() + 1)) },
    policies: { type: 'string', default: 'none,none,best-effort,restricted,single-numa-node' },
    golden: { type: 'string' },
    report: { type: 'string' },
    spawn: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
});
const KUBELET = fileURLToPath(new URL('../../../kubelet-oracle', import.meta.url));
const DEVMGR = fileURLToPath(new URL('../../../../devmgr-driver', import.meta.url));
if (!existsSync(KUBELET)) {
  console.log('differential: SKIPPED, the kubelet peer is not built (no Go?); run `npm run build:oracle`');
  writeReport({ passed: 0, failed: 0, skipped: Number(values.seeds ?? 1) });
  process.exit(0);
}

const single = values.seed === undefined ? undefined : Number(values.seed);
const first = single ?? Number(values.from);
const count = single === undefined ? Number(values.seeds ?? process.env['SEEDS'] ?? 5_000) : 1;
const policies = values.policies.split(',');
const applied = new Map<string, number>();
const differences: Difference[] = [];
const golden = new Map<number, string>();
let next = first;
let done = 0;
let steps = 0;
/** How often what was seen on both sides, so that a run that looks at nothing shows. */
const seen = new Map<string, number>();
const startedAt = performance.now();

await Promise.all(Array.from({ length: Math.min(Number(values.jobs), count) }, work));
report();
if (values.golden !== undefined) {
  const lines = [...golden].sort(([a], [b]) => a - b).map(([, line]) => `${line}\n`);
  writeFileSync(values.golden, lines.join(''));
}
writeReport({ passed: done - differences.length, failed: differences.length, skipped: 0 });
process.exit(differences.length === 0 ? 0 : 1);

function writeReport(sums: { passed: number; failed: number; skipped: number }): void {
  if (values.report !== undefined) writeFileSync(values.report, `${JSON.stringify(sums)}\n`);
}

async function work(): Promise<void> {
  let kubelet = new PeerProcess(KUBELET);
  const kubeletReader = new PeerProcess(KUBELET);
  const devmgr = values.spawn ? new PeerProcess(DEVMGR) : new ManagerDriver();
  const devmgrReader = new ManagerDriver();
  try {
    while (next < first + count && (differences.length === 0 || values['keep-going'])) {
      const seed = next;
      next += 1;
      if (kubelet.ended) kubelet = new PeerProcess(KUBELET); // it crashed; see the rule of that name
      const scenario = generateScenario(seed, { policies });
      // Starting two more managers for what is on disk is half the work; some seeds are enough.
      const readBack = seed % 4 === 0 || single !== undefined;
      const [theirs, ours] = await Promise.all([
        runScenario(scenario, { peer: kubelet, lists: 'checkpoint', ...(readBack ? { reader: devmgrReader } : {}) }),
        runScenario(scenario, { peer: devmgr, lists: 'count', ...(readBack ? { reader: kubeletReader } : {}) }),
      ]).catch((error: unknown) => {
        throw new Error(`seed ${String(seed)}: ${error instanceof Error ? (error.stack ?? '') : String(error)}`);
      });
      const result = compare(scenario, theirs, ours);
      for (const [rule, times] of result.applied) applied.set(rule, (applied.get(rule) ?? 0) + times);
      if (single !== undefined) {
        for (const [index, step] of scenario.steps.entries())
          console.log(
            `${JSON.stringify(step)}\n  kubelet ${JSON.stringify(theirs[index])}\n  devmgr  ${JSON.stringify(ours[index])}`,
          );
      }
      if (values.golden !== undefined) golden.set(seed, JSON.stringify({ scenario, answers: theirs }));
      if (result.difference !== undefined) {
        differences.push(result.difference);
        tell(result.difference);
      }
      for (const [index, step] of scenario.steps.entries()) {
        const answer = theirs[index] ?? {};
        const outcome =
          step.do === 'admit' ? (answer['admit'] === true ? ' admitted' : ` ${String(answer['reason'])}`) : '';
        const what = 'skipped' in answer ? 'skipped' : `${step.do}${outcome}${'error' in answer ? ' failed' : ''}`;
        seen.set(what, (seen.get(what) ?? 0) + 1);
      }
      done += 1;
      steps += scenario.steps.length;
      if (done % 500 === 0) console.log(`differential: ${String(done)} of ${String(count)} seeds`);
    }
  } finally {
    await Promise.all([kubelet, kubeletReader, devmgr, devmgrReader].map((peer) => peer.close()));
  }
}

function tell({ scenario, index, step, kubelet, devmgr }: Difference): void {
  console.log(
    [
      `seed ${String(scenario.seed)} (${scenario.mode}), step ${String(index)}: ${JSON.stringify(step)}`,
      `  kubelet ${JSON.stringify(kubelet)}`,
      `  devmgr  ${JSON.stringify(devmgr)}`,
      `  again:  npm run test:differential -- --seed ${String(scenario.seed)} --policies ${values.policies}`,
    ].join('\n'),
  );
}

function report(): void {
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `differential: ${String(done)} seeds from ${String(first)} (${String(steps)} steps) in ${seconds.toFixed(0)} s, ${(done / seconds).toFixed(0)} a second; ${String(differences.length)} differ`,
  );
  console.log(
    `  saw ${[...seen]
      .sort()
      .map(([what, times]) => `${what} ${String(times)}`)
      .join(', ')}`,
  );
  for (const { name } of RULES) console.log(`  rule ${name}: ${String(applied.get(name) ?? 0)} times`);
}
