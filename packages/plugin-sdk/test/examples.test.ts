import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseHostDeviceFile, parseSimulation } from '@devmgr/plugin-sdk';
import { startFakeManager } from '@devmgr/plugin-sdk/testing';
import { cleanup, closing, temporaryDir } from './helpers.ts';

const examples = fileURLToPath(new URL('../../../examples/plugins/', import.meta.url));

test('the minimal plugin registers, gives devices, and ends cleanly', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const child = spawn(process.execPath, [`${examples}minimal.js`], {
    env: { ...process.env, PLUGIN_DIR: pluginDir },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  cleanup(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const ended = once(child, 'exit');
  const session = await manager.session('example.com/widget', 25_000);
  expect(session.devices.map(({ ID }) => ID)).toEqual(['w0', 'w1', 'w2', 'w3']);
  expect((await session.allocate(['w1'])).envs.get('WIDGETS')).toBe('w1');
  child.kill('SIGTERM');
  expect(await ended, stderr).toEqual([0, null]);
  expect(await readdir(pluginDir)).toEqual(['kubelet.sock']);
  expect(stderr).toContain('registered');
});

test('a plugin that never meets a manager ends cleanly too', async () => {
  const pluginDir = await temporaryDir();
  const child = spawn(process.execPath, [`${examples}minimal.js`], {
    env: { ...process.env, PLUGIN_DIR: pluginDir },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  cleanup(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await once(child.stderr, 'data'); // It says what it waits for.
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
  expect(await readdir(pluginDir)).toEqual([]);
});

test('the example files can be read', async () => {
  const gpus = parseSimulation(await readFile(`${examples}gpus.yaml`, 'utf8'), 'gpus.yaml');
  expect(gpus.resources.map(({ resource }) => resource)).toEqual(['example.com/gpu', 'example.com/fpga']);
  const host = parseHostDeviceFile(await readFile(`${examples}host-devices.yaml`, 'utf8'), 'host-devices.yaml');
  expect(host.map(({ resource }) => resource)).toEqual(['example.com/random', 'example.com/serial', 'example.com/gpu']);
});
