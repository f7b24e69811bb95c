import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { MANAGER_CHECKS, ManagerBench, findManager, runManagerChecks, type CheckResult } from '../src/index.ts';
import { startFaultyManager, type Fault } from './faulty-manager.ts';

let rootDir = '';

afterEach(() => {
  rmSync(rootDir, { recursive: true, force: true });
});

/** Each fault is put to its own checks and these; with MANAGER_FAULTS=all to every quick one, which takes minutes. */
const UNRELATED = ['registers', 'accepts-names', 'comes-back', 'changes'];
const ALL = process.env['MANAGER_FAULTS'] === 'all';

/** What the quick checks, or those of these names, make of a manager with a fault. */
async function judge(fault: Fault, names?: readonly string[]): Promise<readonly CheckResult[]> {
  rootDir = mkdtempSync(join(tmpdir(), 'dmf-'));
  for (const name of ['device-plugins', 'pod-resources']) mkdirSync(join(rootDir, name));
  const manager = await startFaultyManager(rootDir, fault);
  try {
    const { signal } = new AbortController();
    const bench = new ManagerBench({ ...(await findManager(rootDir)), timeoutMs: 5_000, signal });
    const checks = MANAGER_CHECKS.filter(
      ({ id, level }) => level === 'quick' && (names === undefined || names.includes(id.slice('manager/'.length))),
    );
    return (await runManagerChecks({ bench, checks })).checks;
  } finally {
    await manager.close();
  }
}

test('a manager without a fault passes; only plugins_registry, which it has not, is skipped', async () => {
  const results = await judge('none');
  expect(results.filter(({ status }) => status === 'fail' || status === 'warn')).toEqual([]);
  expect(results.filter(({ status }) => status === 'skip').map(({ id }) => id)).toEqual(
    results.map(({ id }) => id).filter((id) => id.startsWith('manager/registry-')),
  );
}, 120_000);

test.each<[fault: Fault, caught: readonly string[]]>([
  ['any-version', ['refuses-versions']],
  ['any-name', ['refuses-names']],
  ['strict-name', ['accepts-names']],
  ['asks-twice', ['registers', 'stream-fails']],
  ['hides-option-failure', ['options-fail']],
  ['impatient', ['options-slow']],
  ['one-at-a-time', ['one-hangs']],
  ['waits-for-list', ['silent-stream']],
  ['small-lists', ['large-list']],
  ['redials', ['stream-fails']],
  ['refuses-same-socket', ['same-socket-again']],
  ['any-health', ['health-is-exact']],
  ['merges-lists', ['odd-lists', 'changes']],
  ['keeps-dead', ['same-socket-death', 'plugin-ends', 'stream-cut']],
  ['old-lists-count', ['old-plugin-lists']],
])(
  'a manager with the fault %s is caught by its checks and no others',
  async (fault, caught) => {
    const failed = (await judge(fault, ALL ? undefined : [...caught, ...UNRELATED])).filter(
      ({ status }) => status === 'fail' || status === 'warn',
    );
    expect(failed.map(({ id }) => id.slice('manager/'.length)).sort()).toEqual([...caught].sort());
  },
  180_000,
);
