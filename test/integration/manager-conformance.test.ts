import { join } from 'node:path';
import { startFakeManager } from '@devmgr/plugin-sdk/testing';
import { afterEach, expect, test } from 'vitest';
import { DevmgrProcess, makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

interface Report {
  readonly manager: object;
  readonly checks: readonly { readonly id: string; readonly status: string; readonly message: string }[];
  readonly summary: { readonly pass: number };
}

const rootDir = makeRootDir();
const started: DevmgrProcess[] = [];

afterEach(async () => {
  for (const one of started.splice(0)) await one.end();
  removeRootDir(rootDir);
});

/** Runs `devmgr test --manager` and answers its exit code, and what it printed. */
async function suite(dir: string, ...args: readonly string[]): Promise<{ code: number | string; output: string }> {
  const child = new DevmgrProcess(['test', '--manager', dir, ...args], { rootDir });
  started.push(child);
  return { code: await child.exited, output: child.output };
}

test('devmgr passes every check of managers', async () => {
  started.push((await startManager(rootDir)).manager);
  const { code, output } = await suite(rootDir, '--level', 'full', '--report', 'json');
  const report = JSON.parse(output.slice(output.indexOf('{'))) as Report;
  expect(report.checks.filter(({ status }) => status !== 'pass')).toEqual([]);
  expect(report.summary.pass).toBeGreaterThan(30);
  expect(report.manager).toEqual({
    socket: join(rootDir, 'device-plugins', 'kubelet.sock'),
    registry: join(rootDir, 'plugins_registry'),
    podResources: join(rootDir, 'pod-resources', 'kubelet.sock'),
  });
  expect(code).toBe(0);
}, 180_000);

test('a manager that takes anything fails, and what cannot be seen is skipped aloud', async () => {
  const manager = await startFakeManager({ pluginDir: join(rootDir, 'plugins') });
  try {
    const chosen = ['registers', 'refuses-versions', 'plugin-ends', 'registry-finds'];
    const only = chosen.flatMap((name) => ['--only', `manager/${name}`]);
    const { code, output } = await suite(join(rootDir, 'plugins'), ...only);
    expect(output).toContain('skipped: what needs its view, since nobody answers on pod-resources/kubelet.sock');
    expect(output).toContain('FAIL  manager        1 passed, 1 failed, 2 skipped');
    expect(output).toContain('version "v1alpha1": accepted');
    expect(output).toContain(
      `repeat  devmgr test --only manager/refuses-versions --manager ${join(rootDir, 'plugins')}`,
    );
    expect(code).toBe(1);
  } finally {
    await manager.close();
  }
}, 60_000);

test('where no manager answers, or plugins are spoken of, nothing is tried', async () => {
  expect(await suite(join(rootDir, 'nowhere'))).toMatchObject({
    code: 5,
    output: expect.stringMatching(
      /no manager answers on .*nowhere\/kubelet\.sock \(missing\)\nName the directory/,
    ) as string,
  });
  for (const words of [
    ['--attach', '/tmp'],
    ['--record', '/tmp/x'],
    ['--', 'true'],
  ]) {
    expect((await suite(rootDir, ...words)).code).toBe(2);
  }
});
