import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startFakeManager } from '@devmgr/plugin-sdk/testing';
import { afterAll, describe, expect, test } from 'vitest';
import { CommandLine, devmgr, isAlive, removeDirectories, temporaryDirectory, until } from './support/command-line.ts';

afterAll(removeDirectories);

const namespaces = process.geteuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
const possible = spawnSync('unshare', [...namespaces, 'true']).status === 0;
if (!possible) console.warn('skipped: this system has no private mount namespaces, so "devmgr test" cannot be tried');

const PLUGIN = fileURLToPath(new URL('../../../examples/plugins/minimal.js', import.meta.url));

describe('used wrongly, it says so and ends with 2', () => {
  test.each<[what: string, args: string[], message: string]>([
    ['no plugin', [], 'no plugin was named'],
    ['a check that there is not', ['--only', 'listing/nonsense', '--', 'true'], '"listing/nonsense"'],
    ['nothing left to run', ['--only', 'listing', '--skip', 'listing', '--', 'true'], 'no check is left'],
    ['a command that is not there', ['--', 'devmgr-no-such-plugin'], 'devmgr-no-such-plugin: command not found'],
    ['a directory that is not there', ['--attach', '/nonexistent/plugins'], '/nonexistent/plugins is not a directory'],
    ['a time that is none', ['--timeout', 'soon', '--', 'true'], '--timeout: "soon" is not a length of time'],
  ])('%s', async (_what, args, message) => {
    const ended = await devmgr(['test', ...args]);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain(message);
  });
});

test('the list has all checks, or those that were named', async () => {
  const all = await devmgr(['test', '--list']);
  expect(all.code).toBe(0);
  expect(all.stdout).toMatch(/^ID +LEVEL +SEVERITY +WHAT\n/);
  expect(all.stdout.trimEnd().split('\n').length).toBeGreaterThan(60);
  const some = await devmgr(['test', '--list', '--only', 'pre-start']);
  expect(
    some.stdout
      .trimEnd()
      .split('\n')
      .slice(1)
      .every((line) => line.startsWith('pre-start/')),
  ).toBe(true);
});

test('where the system forbids private views, it says what else can be done', async () => {
  // An `unshare` that refuses as a hardened kernel does.
  const directory = temporaryDirectory();
  const refusal = '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n';
  writeFileSync(join(directory, 'unshare'), refusal, { mode: 0o755 });
  const env = { PATH: `${directory}:${process.env['PATH'] ?? ''}` };
  const ended = await devmgr(['test', '--', 'sh', '-c', 'true'], { env });
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).toContain('unshare failed: Operation not permitted');
  expect(ended.stderr).toContain('use --attach');
});

describe.skipIf(!possible)('on a plugin of its own', () => {
  test('a good plugin passes, and the report goes where it is wanted', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'report.json');
    const badge = join(directory, 'badge.svg');
    const args = ['--only', 'registration/registers', '--report', 'json', '--output', file, '--badge', badge];
    const ended = await devmgr(['test', ...args, '--', process.execPath, PLUGIN]);
    expect(ended).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      plugin: { command: [process.execPath, PLUGIN], resources: [{ name: 'example.com/widget' }] },
      checks: [{ id: 'registration/registers', status: 'pass' }],
      summary: { pass: 1, fail: 0, warn: 0, skip: 0 },
    });
    expect(readFileSync(badge, 'utf8')).toContain('1 check passed');
  });

  test('what is no plugin fails, with its last words and how to try it again', async () => {
    const summary = join(temporaryDirectory(), 'summary.md');
    const ended = await devmgr(
      ['test', '--only', 'registration', '--report', 'github', '--', 'sh', '-c', "echo 'no such device' >&2; exit 3"],
      { env: { GITHUB_STEP_SUMMARY: summary } },
    );
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain('registration/registers: the plugin ended by itself (exit code 3)');
    expect(ended.stdout).toContain('no such device');
    expect(ended.stdout).toContain(
      `repeat  devmgr test --only registration/registers -- sh -c 'echo '\\''no such device'\\'' >&2; exit 3'`,
    );
    expect(ended.stdout).toMatch(/^::error title=devmgr test%3A registration\/registers::/m);
    expect(readFileSync(summary, 'utf8')).toContain('### ❌ registration/registers');
  });

  test('an interruption ends it, the plugin too', async () => {
    const directory = temporaryDirectory();
    const script = `echo $$ > ${directory}/pid; ls -d /var/lib/kubelet/device-plugins; trap "" TERM; while :; do sleep 0.05; done`;
    const command = new CommandLine(['test', '--', 'sh', '-c', script]);
    const pidOf = (): number => Number(existsSync(join(directory, 'pid')) ? readFileSync(join(directory, 'pid')) : 0);
    await until(() => pidOf() > 0);
    const pid = pidOf();
    command.child.kill('SIGINT');
    expect(await command.ended).toMatchObject({ code: 130, stdout: '' });
    await until(() => !isAlive(pid));
  });
});

describe('on a plugin that runs elsewhere', () => {
  test('it waits for it in its directory', async () => {
    const pluginDir = join(temporaryDirectory(), 'device-plugins');
    mkdirSync(pluginDir);
    const plugin = spawn(process.execPath, [PLUGIN], {
      env: { ...process.env, PLUGIN_DIR: pluginDir },
      stdio: 'ignore',
    });
    try {
      const args = ['--attach', pluginDir, '--only', 'registration', '--only', 'manners/sigterm'];
      const ended = await devmgr(['test', ...args]);
      expect(ended, ended.stdout).toMatchObject({ code: 0 });
      expect(ended.stdout).toContain('PASS  registration');
      expect(ended.stdout).toContain(
        'SKIP  manners        1 skipped (not tested: the plugin was not started by the test)',
      );
      expect(plugin.exitCode).toBeNull();
      expect(existsSync(join(pluginDir, 'kubelet.sock'))).toBe(false);
    } finally {
      plugin.kill();
    }
  });

  test('it keeps away from a directory that a manager serves', async () => {
    const pluginDir = join(temporaryDirectory(), 'device-plugins');
    const manager = await startFakeManager({ pluginDir });
    try {
      writeFileSync(join(pluginDir, 'mark'), '');
      const ended = await devmgr(['test', '--attach', pluginDir]);
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toContain(`a manager serves ${join(pluginDir, 'kubelet.sock')}`);
      expect(existsSync(manager.socketPath)).toBe(true);
    } finally {
      await manager.close();
    }
  });
});
