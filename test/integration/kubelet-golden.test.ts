import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { compare } from '../oracle/differential/compare.ts';
import { RULES } from '../oracle/differential/rules.ts';
import type { Scenario } from '../oracle/differential/scenario.ts';
import { runScenario, type Answer } from '../oracle/differential/side.ts';
import { ManagerDriver } from '../oracle/driver/manager-driver.ts';

interface Recorded {
  readonly scenario: Scenario;
  /** What the real kubelet 1.37 answered at each step. */
  readonly answers: readonly Answer[];
}

const recorded: readonly Recorded[] = readFileSync(new URL('../oracle/golden/kubelet.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded);

/** Managers at work at the same time: much of a scenario is waiting for sockets and disks. */
const DRIVERS = 4;
/** Scenarios a test, so that a slow machine shows where it is. */
const CHUNK = 40;

describe('decisions of the real kubelet', () => {
  const drivers = Array.from({ length: DRIVERS }, () => new ManagerDriver());

  afterAll(async () => {
    await Promise.all(drivers.map((driver) => driver.close()));
  });

  test('there are thousands of them', () => {
    expect(recorded.flatMap(({ answers }) => answers).length).toBeGreaterThan(3_000);
  });

  for (let from = 0; from < recorded.length; from += CHUNK) {
    const chunk = recorded.slice(from, from + CHUNK);
    const name = `scenarios ${String(from + 1)} to ${String(from + chunk.length)} end as they did there`;
    test(name, { timeout: 180_000 }, async () => {
      const left = [...chunk];
      const work = async (driver: ManagerDriver): Promise<void> => {
        for (let next = left.shift(); next !== undefined; next = left.shift()) {
          const { scenario, answers } = next;
          const ours = await runScenario(scenario, { peer: driver, lists: 'count' });
          expect(compare(scenario, answers, ours).difference, `seed ${String(scenario.seed)}`).toBeUndefined();
        }
      };
      await Promise.all(drivers.map(work));
    });
  }

  test('every deliberate difference is documented, and nothing else', () => {
    const text = readFileSync(new URL('../../docs/differential.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| `([a-z-]+)`/gmu)].map(([, name]) => name);
    expect(documented.sort()).toEqual(RULES.map(({ name }) => name).sort());
  });

  test('an answer that was different would be found', async () => {
    const [driver] = drivers;
    const first = recorded.find(({ scenario }) => scenario.steps.some((step) => step.do === 'admit'));
    if (first === undefined || driver === undefined) throw new Error('no admissions on record');
    const ours = await runScenario(first.scenario, { peer: driver, lists: 'count' });
    const wrong = ours.map((answer) => ('admit' in answer ? { ...answer, admit: answer['admit'] !== true } : answer));
    expect(compare(first.scenario, first.answers, wrong).difference).toBeDefined();
  });
});
