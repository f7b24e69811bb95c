/** The examples with a driver, initialisation and reset, as processes. (They use the built package.) */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeManager } from '@devmgr/plugin-sdk/testing';
import { cleanup, closing, temporaryDir } from './helpers.ts';

const examples = fileURLToPath(new URL('../../../examples/plugins/', import.meta.url));

interface Example {
  readonly manager: FakeManager;
  readonly dir: string;
  /** Ends it with a signal; answers how it ended. */
  readonly end: (signal: NodeJS.Signals) => Promise<unknown>;
  /** Starts it again. */
  readonly start: () => void;
}

async function startExample(file: string, variable: string): Promise<Example> {
  const root = await temporaryDir();
  const pluginDir = join(root, 'device-plugins');
  const dir = join(root, 'work');
  const manager = closing(await startFakeManager({ pluginDir, takeReports: true }));
  let child: ReturnType<typeof spawn> | undefined;
  const start = (): void => {
    const env = { ...process.env, PLUGIN_DIR: pluginDir, [variable]: dir };
    child = spawn(process.execPath, [examples + file], { env, stdio: 'ignore' });
  };
  const end = async (signal: NodeJS.Signals): Promise<unknown> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return undefined;
    const ended = once(child, 'exit');
    child.kill(signal);
    return ended;
  };
  start();
  cleanup(() => end('SIGKILL'));
  return { manager, dir, end, start };
}

async function healthy(manager: FakeManager, resource: string, count: number): Promise<void> {
  await until(`${String(count)} healthy devices of ${resource}`, async () => {
    const { devices } = await manager.session(resource, 25_000);
    return devices.length === count && devices.every(({ health }) => health === 'Healthy');
  });
}

test('scratch directories: the driver is installed, devices are initialised, and wiped after use', async () => {
  const resource = 'example.com/scratch';
  const { manager, dir, end } = await startExample('scratch.js', 'SCRATCH_DIR');
  await until(
    'the progress of the installer',
    () => manager.reports.some(({ message }) => message === 'building'),
    25_000,
  );
  await healthy(manager, resource, 3);
  await until('the version', () => manager.reports.at(-1)?.driverVersion === '1.0');
  const session = await manager.session(resource);
  const home = join(dir, 'disks', 's1');
  expect((await session.allocate(['s1'])).mounts).toMatchObject([{ hostPath: home, containerPath: '/scratch/s1' }]);
  await writeFile(join(home, 'secret'), 'of the pod before');
  await session.released(['s1'], { pod: 'default/job' });
  expect(await readdir(home)).toEqual(['.label']);
  expect(await end('SIGTERM')).toEqual([0, null]);
});

test('loop disks: attached for real, found again after a crash, wiped after use, gone at the end', async ({ skip }) => {
  const probe = spawnSync('losetup', ['--find'], { encoding: 'utf8' });
  if (process.getuid?.() !== 0 || probe.status !== 0) skip('needs root and a kernel with loop devices');
  const resource = 'example.com/loop-disk';
  const { manager, dir, end, start } = await startExample('loop-disks.js', 'LOOP_DIR');
  const attached = (): string[] =>
    ['l0', 'l1'].flatMap((id) =>
      spawnSync('losetup', ['-n', '-O', 'NAME', '-j', join(dir, `${id}.img`)], { encoding: 'utf8' })
        .stdout.split('\n')
        .filter(Boolean),
    );
  cleanup(() => {
    for (const node of attached()) spawnSync('losetup', ['-d', node]);
  });
  await healthy(manager, resource, 2);
  const nodes = attached();
  expect(nodes).toHaveLength(2);
  await end('SIGKILL');
  start();
  await until('the next process', () => manager.registrations.length === 2, 25_000);
  await healthy(manager, resource, 2);
  expect(attached(), 'found again, not attached twice').toEqual(nodes);
  const session = await manager.session(resource);
  const node = (await session.allocate(['l0'])).devices[0]?.hostPath ?? '';
  expect(nodes).toContain(node);
  const disk = await open(node, 'r+');
  await disk.write('secret');
  await disk.sync();
  await disk.close();
  await session.released(['l0']);
  const content = await readFile(node);
  expect(content.length).toBe(4 * 1024 * 1024);
  expect(content.every((byte) => byte === 0)).toBe(true);
  expect(await end('SIGTERM')).toEqual([0, null]);
  expect(attached(), 'they outlive the plugin').toEqual(nodes);
  const env = { ...process.env, LOOP_DIR: dir };
  expect(spawnSync(process.execPath, [`${examples}loop-disks.js`, 'clean'], { env }).status).toBe(0);
  expect(attached()).toEqual([]);
});
