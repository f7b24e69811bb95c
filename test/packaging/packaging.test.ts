/**
 * The packages as they would be published, in a folder that knows nothing of this repository: they install, everything
 * they promise can be imported, and `npx devmgr test` gives a verdict.
 */
import { execFile, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>;
}

const packages = readdirSync(join(ROOT, 'packages')).map(
  (folder) => JSON.parse(readFileSync(join(ROOT, 'packages', folder, 'package.json'), 'utf8')) as Manifest,
);
let home: string;
let project: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'pkg-'));
  project = join(home, 'project');
  const tarballs = join(home, 'tarballs');
  await run(process.execPath, [join(ROOT, 'scripts', 'tarballs.js'), tarballs]);
  const files = readdirSync(tarballs).map((name) => join(tarballs, name));
  expect(files).toHaveLength(packages.length);
  mkdirSync(project);
  cpSync(join(ROOT, 'examples', 'plugins', 'minimal.js'), join(project, 'plugin.js'));
  writeFileSync(join(project, 'package.json'), '{"name":"my-plugin","private":true,"type":"module"}');
  // Scripts of packages are of no use to anybody here: what needs them would not work for a user who forbids them.
  await run('npm', ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', ...files], {
    cwd: project,
  });
});
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
});

test('what they depend on is installed, each of them once', async () => {
  const { stdout } = await run('npm', ['ls', '--all', '--json'], { cwd: project });
  expect(JSON.parse(stdout)).not.toHaveProperty('problems');
  for (const { name } of packages) {
    const { stdout: found } = await run('find', ['.', '-path', `*/node_modules/${name}/package.json`], {
      cwd: project,
    });
    expect(found.trim().split('\n'), name).toEqual([`./node_modules/${name}/package.json`]);
  }
});

test.each(packages.flatMap(({ name, exports }) => Object.keys(exports).map((path) => [name, path] as const)))(
  '%s exports %s, with types',
  async (name, path) => {
    const specifier = join(name, path);
    const script = `import(${JSON.stringify(specifier)}).then((all) => console.log(Object.keys(all).length))`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: project });
    expect(Number(stdout)).toBeGreaterThan(0);
    const types = packages.find((one) => one.name === name)?.exports[path]?.types ?? '';
    expect(existsSync(join(project, 'node_modules', name, types)), types).toBe(true);
  },
);

test('each has the licence, and its tests and sources stay at home', () => {
  for (const { name } of packages) {
    const contents = readdirSync(join(project, 'node_modules', name));
    expect(contents.filter((entry) => !['bin', 'node_modules'].includes(entry)).sort()).toEqual([
      'LICENSE',
      'README.md',
      'dist',
      'package.json',
    ]);
  }
});

test('npx devmgr says its version', async () => {
  const { stdout } = await run('npx', ['--no', '--', 'devmgr', '--version'], { cwd: project });
  expect(stdout).toContain(packages.find(({ name }) => name === 'devmgr')?.version);
});

test('the action installs them from a directory', async () => {
  const action = readFileSync(join(ROOT, 'action.yml'), 'utf8');
  const script = / {6}id: get\n[^]*? {6}run: \|\n([^]*?)\n {4}- /.exec(action)?.[1] ?? 'exit 99';
  const output = join(home, 'output');
  const env = { ...process.env, VERSION: join(home, 'tarballs'), RUNNER_TEMP: home, GITHUB_OUTPUT: output };
  await run('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', script], { env, cwd: home });
  const devmgr = /^devmgr=(.*)$/m.exec(readFileSync(output, 'utf8'))?.[1] ?? '';
  expect(devmgr.startsWith(home)).toBe(true);
  await run(devmgr, ['test', '--list']);
});

test('npx devmgr test gives a verdict', async ({ skip }) => {
  const namespaces = process.geteuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
  if (spawnSync('unshare', [...namespaces, 'true']).status !== 0) skip('this system has no private mount namespaces');
  const { stdout } = await run('npx', ['--no', '--', 'devmgr', 'test', '--', 'node', 'plugin.js'], { cwd: project });
  expect(stdout).toContain('example.com/widget  4 devices');
  expect(stdout).toMatch(/^PASS {2}\d+ passed, 0 failed/m);
});
