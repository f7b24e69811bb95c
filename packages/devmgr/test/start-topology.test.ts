import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createApiClient } from '@devmgr/manager/client';
import { afterAll, expect, test } from 'vitest';
import {
  CommandLine,
  devmgr,
  removeDirectories,
  stopCommands,
  temporaryDirectory,
  until,
} from './support/command-line.ts';

afterAll(async () => {
  await stopCommands();
  removeDirectories();
});

test.each([
  [['--topology-option', 'prefer-closest-numa-nodes'], 'must be NAME=VALUE'],
  [['--topology-policy', 'strict'], 'Allowed choices are none, best-effort, restricted, single-numa-node'],
  [['--topology-scope', 'node'], 'Allowed choices are container, pod'],
  [
    ['--topology-policy', 'restricted', '--topology-option', 'a=1'],
    'topologyOptions: unknown Topology Manager Policy option: "a"',
  ],
  [['--topology-policy', 'restricted', '--numa-from', '/nonexistent'], 'numaFrom: /nonexistent has no NUMA nodes'],
])('start %j is refused', async (args, message) => {
  const ended = await devmgr(['start', ...args], { env: { DEVMGR_ROOT_DIR: temporaryDirectory() } });
  expect([ended.code, ended.stdout]).toEqual([2, '']);
  expect(ended.stderr).toContain(message);
});

test('start takes policy, scope, options and the tree of another machine', async () => {
  const rootDir = temporaryDirectory();
  for (const [node, distances] of ['10 20', '20 10'].entries()) {
    const directory = join(rootDir, 'tree/sys/devices/system/node', `node${String(node)}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'distance'), `${distances}\n`);
  }
  writeFileSync(join(rootDir, 'gpus.yaml'), 'resource: example.com/gpu\ncount: 4\nnumaNodes: 2\n');
  const env = { DEVMGR_ROOT_DIR: rootDir };
  const manager = new CommandLine(
    [
      ['start', '--topology-policy', 'single-numa-node', '--topology-scope', 'pod'],
      ['--topology-option', 'prefer-closest-numa-nodes=true', '--topology-option', 'max-allowable-numa-nodes=8'],
      ['--numa-from', join(rootDir, 'tree')],
    ].flat(),
    { env },
  );
  await manager.shows((text) => text.includes('plugins register on'));
  new CommandLine(['simulate', '-f', join(rootDir, 'gpus.yaml')], { env });
  const api = createApiClient(join(rootDir, 'devmgr/api.sock'));
  await until(async () => (await api.resources()).some(({ healthy }) => healthy === 4));

  const fits = await devmgr(['run', '--limits', 'example.com/gpu=2', '--', 'true'], { env });
  expect(fits.code, fits.stderr).toBe(0);
  const wide = await devmgr(['run', '--limits', 'example.com/gpu=3', '--', 'true'], { env });
  expect(wide.code).not.toBe(0);
  expect(wide.stderr).toContain('Resources cannot be allocated with Topology locality');
});
