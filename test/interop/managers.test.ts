/** The suite for managers, put to the real kubelet's: what it fails is what is known, no more and no less. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MANAGER_CHECKS, ManagerBench, findManager, runManagerChecks } from '@devmgr/conformance';
import { beforeAll, expect, test } from 'vitest';
import { makeRootDir, removeRootDir } from '../support/devmgr-process.ts';
import { hasKubelet, startKubeletManager } from './kubelet-manager.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

beforeAll(() => {
  if (hasKubelet()) return;
  const { stdout } = spawnSync(process.execPath, ['scripts/build-oracle.js'], { cwd: REPOSITORY, encoding: 'utf8' });
  console.log(stdout.trim());
});

/** The ids in the table of the page. */
function knownWeaknesses(): readonly string[] {
  const page = readFileSync(`${REPOSITORY}docs/test-a-manager.md`, 'utf8');
  const [, section = ''] = page.split('## What the kubelet fails');
  return [...section.matchAll(/^\| `(manager\/[a-z-]+)`/gm)].map(([, id = '']) => id).sort();
}

test("the real kubelet's manager fails what docs/test-a-manager.md says, and nothing else", async ({ skip }) => {
  if (!hasKubelet()) return skip('the kubelet is not built: it needs Go (npm run build:oracle)');
  const rootDir = makeRootDir();
  const kubelet = await startKubeletManager(rootDir);
  try {
    const { signal } = new AbortController();
    const bench = new ManagerBench({ ...(await findManager(rootDir)), timeoutMs: 30_000, signal });
    const { checks } = await runManagerChecks({ bench, checks: MANAGER_CHECKS });
    for (const { id, status, message, seen } of checks)
      if (status !== 'pass') console.log(`${id}: ${status}: ${message} ${seen}`);
    expect(checks.filter(({ status }) => status === 'skip')).toEqual([]);
    const failed = checks.filter(({ status }) => status !== 'pass').map(({ id }) => id);
    expect(failed.sort()).toEqual(knownWeaknesses());
  } finally {
    await kubelet.close();
    removeRootDir(rootDir);
  }
}, 300_000);
