import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { CommandLine, devmgr, isAlive, removeDirectories, temporaryDirectory, until } from './support/command-line.ts';

const engines: TestEngine[] = [];

afterAll(() => {
  for (const engine of engines) engine.clear();
  removeDirectories();
});

const namespaces = process.geteuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
const possible = spawnSync('unshare', [...namespaces, 'true']).status === 0;
if (!possible)
  console.warn('skipped: this system has no private mount namespaces, so the engine of the tests cannot run');

const PLUGIN = fileURLToPath(new URL('../../../examples/plugins/minimal.js', import.meta.url));
const ENGINE = fileURLToPath(new URL('support/engine.js', import.meta.url));

/** An engine that has these images, with what it did. */
class TestEngine {
  readonly state = temporaryDirectory();
  readonly command = `${process.execPath} ${ENGINE} --state ${this.state}`;

  constructor(images: Record<string, readonly string[]>) {
    engines.push(this);
    for (const name of ['images', 'containers']) mkdirSync(join(this.state, name));
    for (const [name, words] of Object.entries(images)) {
      writeFileSync(join(this.state, 'images', name), JSON.stringify(words));
    }
  }

  get containers(): readonly string[] {
    return readdirSync(join(this.state, 'containers'));
  }

  /** Ends what a test that failed left running. */
  clear(): void {
    for (const name of this.containers) spawnSync('/bin/sh', ['-c', `${this.command} rm --force ${name}`]);
  }

  calls(command: string): readonly (readonly string[])[] {
    const lines = readFileSync(join(this.state, 'calls'), 'utf8').trimEnd().split('\n');
    return lines.map((line) => JSON.parse(line) as string[]).filter(([first]) => first === command);
  }
}

/** A plugin that writes its pid to a file and minds nothing but SIGKILL. */
function stubborn(pidFile: string): readonly string[] {
  return ['sh', '-c', `trap "" TERM; echo $$ > ${pidFile}; while :; do sleep 0.05; done`];
}

function pidIn(file: string): number {
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
}

describe('used wrongly, it says so and ends with 2', () => {
  const engine = new TestEngine({});
  test.each<[what: string, args: string[], message: string]>([
    ['an engine without an image', ['--engine', 'podman', '--', 'true'], '--engine and --engine-option are about a'],
    ['an image beside a plugin that runs', ['--image', 'x', '--attach', '/tmp'], '--image starts a plugin'],
    ['an image beside a manager', ['--image', 'x', '--manager', '/tmp'], '--image is about plugins'],
    [
      'an engine that is not there',
      ['--image', 'x', '--engine', 'devmgr-no-such-engine'],
      'no container engine answers (devmgr-no-such-engine: command not found)',
    ],
    ['an engine that does not answer', ['--image', 'x', '--engine', 'false'], '(false: exit code 1)'],
    ['an image that is not there', ['--image', 'x:1', '--engine', engine.command], 'x:1: image not known\nBuild it'],
  ])('%s', async (_what, args, message) => {
    const ended = await devmgr(['test', ...args]);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain(message);
  });
});

describe.skipIf(!possible)('on an image', () => {
  test('a good plugin passes: it registers, comes back, ends when it is asked to; every container has its own name', async () => {
    const engine = new TestEngine({ 'widget:1': [process.execPath] });
    const only = ['registration/registers', 'restart/registers-again', 'manners/idle-processor', 'manners/sigterm'];
    const ended = await devmgr([
      'test',
      ...only.flatMap((id) => ['--only', id]),
      ...['--report', 'json', '--engine', engine.command, '--engine-option', '--label a b', '--image', 'widget:1'],
      ...['--', PLUGIN],
    ]);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const report = JSON.parse(ended.stdout) as { checks: { id: string; status: string }[] };
    expect(report.checks.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(
      only.map((id) => `${id} pass`).sort(),
    );
    const runs = engine.calls('run');
    const names = runs.map((words) => words[words.indexOf('--name') + 1]);
    expect(new Set(names).size).toBe(names.length);
    for (const words of runs) {
      expect(words).toEqual(expect.arrayContaining(['--rm', '--network=none', '--pull=never']));
      expect(words.slice(-4)).toEqual(['--label', 'a b', 'widget:1', PLUGIN]);
    }
    expect(engine.containers).toEqual([]);
  }, 90_000);

  test('without --engine it is the first of podman and docker that answers', async () => {
    const engine = new TestEngine({ widget: [process.execPath, PLUGIN] });
    const bin = temporaryDirectory();
    writeFileSync(join(bin, 'podman'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    writeFileSync(join(bin, 'docker'), `#!/bin/sh\nexec ${engine.command} "$@"\n`, { mode: 0o755 });
    const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
    const ended = await devmgr(['test', '--only', 'registration/registers', '--image', 'widget'], { env });
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(engine.containers).toEqual([]);
  });

  test('what ends by itself fails, with its last words and how to try it again', async () => {
    const engine = new TestEngine({ broken: ['sh', '-c', 'echo "no such device: $0" >&2; exit 3'] });
    const args = ['--only', 'registration/registers', '--engine', engine.command, '--image', 'broken', '--', '/dev/x'];
    const ended = await devmgr(['test', ...args]);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain('the plugin ended by itself (exit code 3)');
    expect(ended.stdout).toContain('no such device: /dev/x');
    expect(ended.stdout).toContain(
      `repeat  devmgr test --only registration/registers --image broken --engine '${engine.command}' -- /dev/x`,
    );
    expect(engine.containers).toEqual([]);
  });

  test('what the engine refuses to run is told from what the plugin does', async () => {
    const engine = new TestEngine({ widget: [process.execPath, PLUGIN] });
    const args = ['--only', 'registration/registers', '--engine', engine.command, '--engine-option', '--nonsense'];
    const ended = await devmgr(['test', ...args, '--image', 'widget']);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain(`(exit code 125, of ${process.execPath} itself)`);
    expect(ended.stdout).toContain('unknown flag: --nonsense');
  });

  test.each<[signal: NodeJS.Signals, code: number | null]>([
    ['SIGINT', 130],
    ['SIGKILL', null],
  ])('%s ends it, and nothing is left of the container', async (signal, code) => {
    const pidFile = join(temporaryDirectory(), 'pid');
    const engine = new TestEngine({ stubborn: stubborn(pidFile) });
    const args = ['--root-dir', temporaryDirectory(), '--engine', engine.command, '--image', 'stubborn'];
    const command = new CommandLine(['test', ...args]);
    await until(() => pidIn(pidFile) > 0);
    const pid = pidIn(pidFile);
    command.child.kill(signal);
    expect(await command.ended).toMatchObject({ code, stdout: '' });
    await until(() => !isAlive(pid) && engine.containers.length === 0);
  });

  test('an interruption while the container is being made leaves none behind', async () => {
    const pidFile = join(temporaryDirectory(), 'pid');
    const engine = new TestEngine({ stubborn: stubborn(pidFile) });
    const args = ['--root-dir', temporaryDirectory(), '--engine', engine.command, '--image', 'stubborn'];
    const command = new CommandLine(['test', ...args]);
    await until(() => engine.containers.length > 0);
    command.child.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 143, stdout: '' });
    expect(engine.containers).toEqual([]);
    const pid = pidIn(pidFile);
    await until(() => pid === 0 || !isAlive(pid));
  });
});
