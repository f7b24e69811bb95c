/** The examples of docs/conformance-api.md, run by the runners they are for. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckFailed, openManagerSuite, openPluginSuite } from '@devmgr/conformance';
import { afterAll, expect, test, vi } from 'vitest';
import { makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const EXAMPLES = join(REPOSITORY, 'examples/conformance');
const MINIMAL = join(REPOSITORY, 'examples/plugins/minimal.js');
const VITEST = join(REPOSITORY, 'node_modules/vitest/vitest.mjs');
/** Plugins that register, each with a defect of its own. */
const dir = mkdtempSync(join(tmpdir(), 'dma-'));

afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** Runs a program as a user would, out of this runner's sight. */
async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const own = Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_TEST|NODE_OPTIONS|TEST$)/.test(name));
  const child = spawn(process.execPath, args, { env: { ...Object.fromEntries(own), NO_COLOR: '1', ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, output };
}

/** A plugin that registers under a name that is none, and ends over it. */
function badName(): string {
  const path = join(dir, 'bad.js');
  const sdk = new URL('../../packages/wire/dist/index.js', import.meta.url).href;
  writeFileSync(
    path,
    `import { createClient, deviceplugin } from ${JSON.stringify(sdk)};
const client = createClient(deviceplugin.RegistrationService, '/var/lib/kubelet/device-plugins/kubelet.sock');
const request = { version: 'v1beta1', endpoint: 'bad.sock', resourceName: 'gpu', options: undefined };
await client.register(request, { timeoutMs: 5000 }).catch((error) => console.log(error.message));
`,
  );
  return path;
}

test('node:test runs a plugin through the checks', async () => {
  const { code, output } = await run(['--test', '--test-reporter=tap', join(EXAMPLES, 'node-test.js')]);
  expect(output).toMatch(/# fail 0/);
  expect(Number(/# pass (\d+)/.exec(output)?.[1])).toBeGreaterThan(40);
  expect(output).toContain('registration/registers: ');
  expect(code).toBe(0);
}, 120_000);

test('vitest does, too', async () => {
  const { code, output } = await run([VITEST, 'run', '--root', EXAMPLES]);
  expect(output).toMatch(/Tests +\d+ passed/);
  expect(code).toBe(0);
}, 120_000);

test('what fails says what was seen, why, and what to do', async () => {
  const plugin = `${process.execPath} ${badName()}`;
  const { code, output } = await run(['--test', '--test-reporter=tap', join(EXAMPLES, 'node-test.js')], {
    PLUGIN: plugin,
  });
  expect(code).toBe(1);
  expect(output).toContain('registration/resource-name: ');
  for (const word of ['seen:', 'why:', 'remedy:']) expect(output).toContain(word);
}, 120_000);

test('a manager can be put to its checks', async () => {
  const rootDir = makeRootDir();
  const { manager } = await startManager(rootDir);
  try {
    const { code, output } = await run(['--test', '--test-reporter=tap', join(EXAMPLES, 'manager.js')], {
      MANAGER_DIR: rootDir,
    });
    expect(output).toMatch(/# fail 0/);
    expect(output).toContain('manager/rolling-upgrade: ');
    expect(code).toBe(0);
  } finally {
    await manager.end();
    removeRootDir(rootDir);
  }
}, 120_000);

test('tests wait for each other, and close leaves nothing behind', async () => {
  const temporary = mkdtempSync('/tmp/a'); // short enough to be used
  vi.stubEnv('TMPDIR', temporary);
  const suite = openPluginSuite({
    plugin: [process.execPath, MINIMAL],
    only: ['registration/registers', 'restart/registers-again'],
  });
  try {
    expect(suite.tests.map(({ id }) => id)).toEqual(['registration/registers', 'restart/registers-again']);
    const results = await Promise.all(suite.tests.map((one) => one.run()));
    expect(results.map(({ status }) => status)).toEqual(['pass', 'pass']);
    expect(readdirSync(temporary)).toHaveLength(1);
  } finally {
    await suite.close();
    vi.unstubAllEnvs();
  }
  expect(readdirSync(temporary)).toEqual([]);
  rmdirSync(temporary);
}, 60_000);

test('a failure is a CheckFailed that carries its result', async () => {
  const plugin = [process.execPath, badName()];
  const suite = openPluginSuite({ plugin, only: ['registration/resource-name'], timeoutMs: 5_000 });
  try {
    const failure = await suite.tests[0]?.run().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CheckFailed);
    expect(failure).toMatchObject({ result: { id: 'registration/resource-name', status: 'fail' } });
  } finally {
    await suite.close();
  }
}, 60_000);

test('names that do not exist are refused at once', async () => {
  expect(() => openPluginSuite({ plugin: ['true'], only: ['nonsense'] })).toThrow(/no check or group "nonsense"/);
  await expect(openManagerSuite({ dir: join(dir, 'none') })).rejects.toThrow(/no manager answers on/);
});
