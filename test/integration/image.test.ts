import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { containerLauncher, testPlugin } from '@devmgr/conformance';
import { afterAll, expect, test } from 'vitest';
import { buildGoPlugin, hasGo } from '../conformance/go-plugin.ts';

const IMAGE = 'localhost/gopher:1';
/** Where the limits of the caller are low, podman must be told to ask for no more. */
const RUN_OPTIONS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000'];

const directory = mkdtempSync(join(tmpdir(), 'dmi-'));
const engine = realEngine();
if (engine === undefined) console.warn('skipped: no podman runs containers here (as root, with Go for the plugin)');

afterAll(() => {
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** A podman with a store of its own that has the image, if one works here. */
function realEngine(): readonly string[] | undefined {
  if (process.geteuid?.() !== 0 || spawnSync('podman', ['version']).status !== 0 || !hasGo()) return undefined;
  const runtime = spawnSync('runc', ['--version']).status === 0 ? ['--runtime', 'runc'] : [];
  const store = ['--root', join(directory, 'r'), '--runroot', join(directory, 'rr'), '--storage-driver', 'vfs'];
  const words = ['podman', ...store, ...runtime, '--cgroup-manager', 'cgroupfs', '--events-backend', 'file'];
  buildGoPlugin(directory);
  execFileSync('tar', ['-C', directory, '-cf', join(directory, 'image.tar'), 'gopher']);
  const entrypoint = ['--change', 'ENTRYPOINT ["/gopher"]'];
  if (call(words, 'import', ...entrypoint, join(directory, 'image.tar'), IMAGE).status !== 0) return undefined;
  const trial = call(words, 'run', '-d', '--name', 'trial', '--network=none', ...RUN_OPTIONS, IMAGE);
  call(words, 'rm', '--force', '--time', '0', 'trial');
  return trial.status === 0 ? words : undefined;
}

function call([program = '', ...options]: readonly string[], ...args: string[]) {
  return spawnSync(program, [...options, ...args], { encoding: 'utf8', timeout: 60_000 });
}

test.skipIf(engine === undefined)(
  'a good plugin in an image passes with a real podman, its process is looked at, and no container is left',
  async () => {
    const words = engine ?? [];
    const report = await testPlugin({
      plugin: containerLauncher({ engine: words, image: IMAGE, runOptions: RUN_OPTIONS }),
      level: 'full',
      only: ['registration', 'allocation', 'restart/registers-again', 'restart/directory-replaced', 'manners/sigterm'],
      timeoutMs: 60_000,
    });
    expect(report.checks.filter(({ status }) => status === 'fail' || status === 'warn')).toEqual([]);
    const passed = report.checks.filter(({ status }) => status === 'pass').map(({ id }) => id);
    expect(passed).toEqual(expect.arrayContaining(['restart/directory-replaced', 'manners/sigterm']));
    expect(call(words, 'ps', '--all', '--quiet')).toMatchObject({ status: 0, stdout: '' });

    const launcher = containerLauncher({ engine: words, image: IMAGE, runOptions: RUN_OPTIONS });
    const container = launcher.launch(mkdtempSync(join(directory, 'k-')));
    try {
      await expect.poll(() => container.usage(), { timeout: 30_000 }).toMatchObject({ processes: 1 });
      expect((await container.usage())?.descriptors).toBeGreaterThan(3);
      expect(container.seenAs('/gopher')).toMatch(/^\/proc\/\d+\/root\/gopher$/);
    } finally {
      await container.kill();
    }
    expect(call(words, 'ps', '--all', '--quiet')).toMatchObject({ status: 0, stdout: '' });
  },
  180_000,
);
