/** What docs/test-in-ci.md offers, run as the CI systems run it: the steps of action.yml, and the script of GitLab's job. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { BIN, removeDirectories, temporaryDirectory } from './support/command-line.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const PLUGIN = join(ROOT, 'examples', 'plugins', 'minimal.js');
const DEADLINE_MS = 120_000;

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly shell?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly 'working-directory'?: string;
}

interface Action {
  readonly inputs: Readonly<Record<string, { readonly required?: boolean; readonly default?: string }>>;
  readonly outputs: Readonly<Record<string, { readonly value: string }>>;
  readonly runs: { readonly using: string; readonly steps: readonly Step[] };
}

const action = parse(readFileSync(join(ROOT, 'action.yml'), 'utf8')) as Action;
const guide = readFileSync(join(ROOT, 'docs', 'test-in-ci.md'), 'utf8');

const namespaces = process.geteuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
const possible = spawnSync('unshare', [...namespaces, 'true']).status === 0;
if (!possible) console.warn('skipped: this system has no private mount namespaces, so "devmgr test" cannot be tried');

afterAll(removeDirectories);
vi.setConfig({ testTimeout: 2 * DEADLINE_MS });

/** What a runner does with a composite action: expressions, a shell for each step, outputs by file. */
function runAction(inputs: Readonly<Record<string, string>>): {
  status: number;
  log: string;
  outputs: Record<string, string>;
  summary: string;
  directory: string;
} {
  const directory = temporaryDirectory();
  const summary = join(directory, 'summary.md');
  // The runner's machine is thrown away; this one is not to be changed.
  const sudo = join(directory, 'bin', 'sudo');
  mkdirSync(dirname(sudo));
  writeFileSync(sudo, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const known: Record<string, string> = { 'github.action_path': ROOT };
  for (const [name, { default: value }] of Object.entries(action.inputs)) {
    known[`inputs.${name}`] = inputs[name] ?? value ?? '';
  }
  const evaluate = (text: string): string =>
    text.replaceAll(/\$\{\{ *([\w.-]+) *\}\}/g, (_all, expression: string) => known[expression] ?? '');
  let log = '';
  let status = 0;
  for (const [index, step] of action.runs.steps.entries()) {
    if (step.run === undefined || status !== 0) continue;
    const output = join(directory, `output-${String(index)}`);
    writeFileSync(output, '');
    const script = join(directory, `step-${String(index)}.sh`);
    writeFileSync(script, step.run);
    const env = Object.entries(step.env ?? {}).map(([name, value]) => [name, evaluate(value)]);
    const ended = spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', script], {
      cwd: join(directory, evaluate(step['working-directory'] ?? '.')),
      env: {
        ...process.env,
        PATH: `${dirname(sudo)}:${process.env['PATH'] ?? ''}`,
        GITHUB_OUTPUT: output,
        GITHUB_STEP_SUMMARY: summary,
        RUNNER_TEMP: directory,
        ...(Object.fromEntries(env) as Record<string, string>),
      },
      encoding: 'utf8',
      timeout: DEADLINE_MS,
    });
    log += ended.stdout + ended.stderr;
    status = ended.status ?? 1;
    for (const line of readFileSync(output, 'utf8').split('\n')) {
      const at = line.indexOf('=');
      if (at > 0) known[`steps.${step.id ?? ''}.outputs.${line.slice(0, at)}`] = line.slice(at + 1);
    }
  }
  const outputs = Object.fromEntries(
    Object.entries(action.outputs).map(([name, { value }]) => [name, evaluate(value)]),
  );
  return {
    status,
    log,
    outputs,
    summary: existsSync(summary) ? readFileSync(summary, 'utf8') : '',
    directory,
  };
}

describe('action.yml', () => {
  test('is a composite action whose expressions name what there is', () => {
    expect(action.runs.using).toBe('composite');
    expect(action.runs.steps[0]?.uses).toMatch(/^actions\/setup-node@v\d+$/);
    for (const step of action.runs.steps) {
      // A composite step without a shell is refused by the runner.
      if (step.run !== undefined) expect(step.shell).toBe('bash');
      // Inputs go in by the environment: an expression in a script would be a way to inject commands.
      expect(step.run ?? '').not.toContain('${{');
    }
    const ids = action.runs.steps.flatMap(({ id }) => id ?? []);
    for (const [, expression = ''] of JSON.stringify(action).matchAll(/\$\{\{ *([\w.-]+) *\}\}/g)) {
      const [kind, name = ''] = expression.split('.');
      if (kind === 'inputs') expect(Object.keys(action.inputs)).toContain(name);
      else if (kind === 'steps') expect(ids).toContain(name);
      else expect(expression).toBe('github.action_path');
    }
  });

  test('has the inputs and defaults that the guide says', () => {
    for (const [name, { default: value = '' }] of Object.entries(action.inputs)) {
      const row = guide.split('\n').find((line) => line.startsWith(`| \`${name}\` `));
      expect(row, name).toBeDefined();
      expect(row?.split('|')[2]?.trim(), name).toBe(name === 'plugin' || value === '' ? '' : `\`${value}\``);
    }
  });

  describe.skipIf(!possible)('run as a runner runs it', () => {
    test('a good plugin passes', () => {
      const { status, log, outputs, summary } = runAction({
        plugin: `'${process.execPath}' "${PLUGIN}"`,
        options: '--only registration --only allocation/every-id',
      });
      expect(status, log).toBe(0);
      expect(outputs['verdict']).toBe('pass');
      expect(JSON.parse(readFileSync(outputs['report'] ?? '', 'utf8'))).toMatchObject({
        plugin: { command: [process.execPath, PLUGIN], resources: [{ name: 'example.com/widget' }] },
        summary: { fail: 0 },
      });
      expect(log).toContain('PASS  registration');
      expect(log).not.toContain('::error');
      expect(summary).toMatch(/^## ✅ devmgr test: \d+ passed, 0 failed/);
    });

    test('a bad one fails with annotations, a summary and a report', () => {
      const { status, log, outputs, summary } = runAction({
        plugin: `sh -c 'echo no hardware; exit 3'`,
        options: '--only registration',
        report: 'report.xml',
      });
      expect(status).toBe(1);
      expect(outputs['verdict']).toBe('fail');
      expect(log).toMatch(/^::error title=devmgr test%3A registration\/registers::.*no hardware/m);
      expect(summary).toContain('### ❌ registration/registers');
      expect(readFileSync(outputs['report'] ?? '', 'utf8')).toContain('<failure type="error"');
    });

    test('with strict, a warning fails it', () => {
      const leaves = join(temporaryDirectory(), 'leaves.sh');
      const lock = '/var/lib/kubelet/device-plugins/x.lock';
      writeFileSync(leaves, `#!/bin/sh\ntouch ${lock}\nexec "${process.execPath}" "${PLUGIN}"\n`);
      chmodSync(leaves, 0o755);
      const inputs = { plugin: leaves, options: '--only manners/no-other-files' };
      expect(runAction(inputs).outputs['verdict']).toBe('pass');
      const strict = runAction({ ...inputs, strict: 'true' });
      expect(strict.status, strict.log).toBe(1);
      expect(strict.log).toMatch(/^::warning title=devmgr test%3A manners\/no-other-files::/m);
    });
  });

  test('a plugin that is not there is no verdict', () => {
    const { status, log, outputs } = runAction({ plugin: './no-such-plugin', options: '--only registration' });
    expect(status).toBe(2);
    expect(log).toContain('./no-such-plugin: command not found');
    expect(outputs).toEqual({ verdict: '', report: '' });
  });
});

describe.skipIf(!possible)('the job for GitLab', () => {
  const block = /```yaml\n(device-plugin:\n[^]*?)```/.exec(guide)?.[1] ?? '';
  const job = (parse(block) as Record<string, { script: string[]; artifacts: { reports: { junit: string } } }>)[
    'device-plugin'
  ];

  test.each([
    ['a good plugin', `exec "${process.execPath}" "${PLUGIN}"`, 0, /failures="0"/],
    ['a bad one', 'exit 3', 1, /<failure/],
  ])('%s', (_what, plugin, code, report) => {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'my-plugin'), `#!/bin/sh\n[ "$*" = "--its --flags" ] || exit 9\n${plugin}\n`);
    chmodSync(join(directory, 'my-plugin'), 0o755);
    const bin = join(ROOT, 'node_modules', '.bin');
    const ended = spawnSync('bash', ['-eo', 'pipefail', '-c', job?.script.join('\n') ?? 'exit 99'], {
      cwd: directory,
      env: { ...process.env, PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
      encoding: 'utf8',
      timeout: DEADLINE_MS,
    });
    expect(ended.status, ended.stdout + ended.stderr).toBe(code);
    expect(readFileSync(join(directory, job?.artifacts.reports.junit ?? ''), 'utf8')).toMatch(report);
  });
});

test.skipIf(!possible)('where there are no namespaces, it can be given the kubelet’s directory itself', () => {
  // A container's own file system, as far as it matters; in it, the command that makes namespaces fails.
  const bin = join(temporaryDirectory(), 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'unshare'), '#!/bin/sh\necho unshare: Operation not permitted >&2\nexit 1\n', {
    mode: 0o755,
  });
  const inContainer = (command: string): ReturnType<typeof spawnSync> =>
    spawnSync(
      'unshare',
      [...namespaces, 'sh', '-euc', `mount -n -t tmpfs container /var/lib; PATH=${bin}:$PATH; ${command}`],
      { encoding: 'utf8', timeout: DEADLINE_MS },
    );
  const devmgr = `"${process.execPath}" "${BIN}" test --only registration --only restart/registers-again`;
  const plugin = `-- "${process.execPath}" "${PLUGIN}"`;

  const refused = inContainer(`${devmgr} ${plugin}`);
  expect(refused.status, String(refused.stderr)).not.toBe(0);
  expect(refused.stderr).toContain('Operation not permitted');

  const used = inContainer(`${devmgr} --root-dir /var/lib/kubelet ${plugin}; ls /var/lib/kubelet/device-plugins`);
  expect(used.status, String(used.stdout) + String(used.stderr)).toBe(0);
  expect(used.stdout).toContain('PASS  restart');
  expect(used.stdout).not.toContain('kubelet.sock');
});
