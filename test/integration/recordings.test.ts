import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { DevmgrProcess, makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const BIN = join(REPOSITORY, 'packages/devmgr/bin/devmgr.js');
const MINIMAL = join(REPOSITORY, 'examples/plugins/minimal.js');

const dir = mkdtempSync(join(tmpdir(), 'dmr-'));
const recording = join(dir, 'good.jsonl');
const running: DevmgrProcess[] = [];

/** Runs a command of devmgr to its end. */
async function devmgr(...args: readonly string[]): Promise<{ code: number | string; output: string }> {
  const child = new DevmgrProcess(args, { rootDir: dir });
  running.push(child);
  const code = await child.exited;
  return { code, output: child.output };
}

/** A plugin of the SDK as a script: one that differs from minimal.js, or ends by itself. */
function script(name: string, text: string): string {
  const path = join(dir, name);
  const sdk = new URL('../../packages/plugin-sdk/dist/index.js', import.meta.url).href;
  writeFileSync(path, text.replace('@devmgr/plugin-sdk', sdk));
  return path;
}

beforeAll(async () => {
  const { code, output } = await devmgr('test', '--record', recording, '--', process.execPath, MINIMAL);
  expect(output).toContain('PASS');
  expect(code).toBe(0);
}, 150_000);

afterEach(async () => {
  for (const child of running.splice(0)) await child.end('SIGKILL');
});

afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

test('a recording holds every call with who made it, its messages and its end', () => {
  const lines = readFileSync(recording, 'utf8').trimEnd().split('\n');
  const all = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const calls = all.filter(({ kind }) => kind === 'call');
  expect(calls.map(({ method }) => method)).toContain('/v1beta1.DevicePlugin/Allocate');
  expect(calls[0]).toMatchObject({ from: 'plugin', method: '/v1beta1.Registration/Register', authority: 'localhost' });
  for (const { call } of calls) {
    expect(all.filter((line) => line['kind'] === 'end' && line['call'] === call)).toHaveLength(1);
    expect(all.filter((line) => line['kind'] === 'message' && line['call'] === call).length).toBeGreaterThan(0);
  }
  const times = all.slice(1).map(({ at }) => Number(at));
  expect(times).toEqual([...times].sort((a, b) => a - b));
});

test('replayed as the plugin, it gets the verdict that the plugin got', async () => {
  const replay = [process.execPath, BIN, 'replay', recording, '--root-dir', '/var/lib/kubelet'];
  const { code, output } = await devmgr('test', '--report', 'json', '--', ...replay);
  const report = JSON.parse(output) as { checks: { id: string; status: string; message: string; seen: string }[] };
  expect(report.checks.filter(({ status }) => status === 'fail' || status === 'warn')).toEqual([]);
  expect(report.checks.filter(({ status }) => status === 'pass').length).toBeGreaterThan(40);
  expect(code).toBe(0);
}, 150_000);

test("replayed as the plugin beside devmgr's manager, it offers its devices, and says what was never recorded", async () => {
  const rootDir = makeRootDir();
  const { manager, api } = await startManager(rootDir);
  running.push(manager);
  try {
    const replay = new DevmgrProcess(['replay', recording], { rootDir });
    running.push(replay);
    await until('the devices', async () => {
      return (await api.resources()).some(({ name }) => name === 'example.com/widget');
    });
    const limits = (count: number): string[] => [
      'run',
      '--root-dir',
      rootDir,
      '--limits',
      `example.com/widget=${String(count)}`,
    ];
    const one = await devmgr(...limits(1), '--', 'env');
    expect(one.output).toMatch(/^WIDGETS=w[0-3]$/m);
    const two = await devmgr(...limits(2), '--', 'env');
    expect(two.output).toMatch(
      /the recording has no answer to Allocate of \[w\d w\d\]; it has Allocate of \[w0\], \[w1\]/,
    );
    expect(two.code).toBe(4);
    expect(await replay.end()).toBe(0);
  } finally {
    await manager.end();
    removeRootDir(rootDir);
  }
}, 150_000);

test("replayed as the manager, the same plugin does not differ, and another one's differences are named", async () => {
  const same = await devmgr('replay', recording, '--manager', '--', process.execPath, MINIMAL);
  expect(same.output).toMatch(/^no difference in \d\d registrations, lists and answers$/m);
  expect(same.code).toBe(0);
  const other = script(
    'changed.js',
    readFileSync(MINIMAL, 'utf8').replace('WIDGETS', 'GADGETS').replace("'w1'", "'w9'"),
  );
  const changed = await devmgr('replay', recording, '--manager', '-o', 'json', '--', process.execPath, other);
  const { differences } = JSON.parse(changed.output) as { differences: unknown[] };
  expect(differences).toContainEqual({
    what: 'example.com/widget: devices listed',
    recorded: 'w0 w1 w2 w3',
    now: 'w0 w2 w3 w9',
  });
  expect(differences).toContainEqual({
    what: 'example.com/widget: Allocate of [w0]: containerResponses[0].envs.WIDGETS',
    recorded: '"w0"',
    now: 'nothing',
  });
  expect(changed.code).toBe(1);
}, 150_000);

test('a plugin that ends after a restart of the manager does so in the replay, and a mended one differs', async () => {
  const plugin = readFileSync(MINIMAL, 'utf8');
  // Ends soon after it has registered for the second time.
  const end =
    'if (/^registered/.test(message) && (count += 1) === 2) globalThis.setTimeout(() => process.exit(7), 300);';
  const log = `log: { ...consoleLog(), info: (_fields, message) => { ${end} } },`;
  const broken = script('broken.js', `let count = 0;\n${plugin.replace('log: consoleLog(),', log)}`);
  const file = join(dir, 'crash.jsonl');
  await devmgr('test', '--record', file, '--only', 'restart/stays-alive', '--', process.execPath, broken);
  expect(readFileSync(file, 'utf8')).toContain('"kind":"plugin","event":"crash","how":"exit code 7"');
  const replay = [process.execPath, BIN, 'replay', file, '--root-dir', '/var/lib/kubelet'];
  const again = await devmgr('test', '--only', 'restart/stays-alive', '--', ...replay);
  expect(again.output).toMatch(/FAIL {2}restart\/stays-alive: the plugin ended by itself/);
  expect(again.output).toContain('ended as the recorded plugin did: exit code 7');
  const mended = await devmgr('replay', file, '--manager', '--timeout', '3s', '--', process.execPath, MINIMAL);
  expect(mended.output).toContain('the plugin\n  recorded  ended by itself (exit code 7)\n  now       lives on');
  expect(mended.code).toBe(1);
}, 150_000);

test('what makes no sense is refused before anything starts', async () => {
  const noFile = await devmgr('replay', join(dir, 'nothing.jsonl'));
  expect(noFile).toMatchObject({
    code: 3,
    output: expect.stringMatching(/nothing\.jsonl.*\nCheck the path\./) as string,
  });
  const noPlugin = await devmgr('replay', recording, '--manager');
  expect(noPlugin).toMatchObject({ code: 2, output: expect.stringContaining('no plugin was named') as string });
  const both = await devmgr('replay', recording, '--', 'true');
  expect(both).toMatchObject({ code: 2, output: expect.stringContaining('Add --manager') as string });
  const slow = await devmgr('replay', recording, '--speed', '0');
  expect(slow).toMatchObject({ code: 2, output: expect.stringContaining('from 0.01 to 1000') as string });
});
