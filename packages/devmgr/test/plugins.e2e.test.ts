/** The plugins that come with devmgr, used through the built command line alone. */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createApiClient } from '@devmgr/manager/client';
import { SIMULATION_PRESETS } from '@devmgr/plugin-sdk';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  CommandLine,
  devmgr,
  removeDirectories,
  stopCommands,
  temporaryDirectory,
  until,
} from './support/command-line.ts';

const rootDir = temporaryDirectory();
const env = { DEVMGR_ROOT_DIR: rootDir };
const cli = (...args: string[]): ReturnType<typeof devmgr> => devmgr(args, { env });
const api = createApiClient(join(rootDir, 'devmgr/api.sock'));

/** Healthy and all devices of a resource, `7 of 8`. */
async function shows(resource: string, quantities: string): Promise<void> {
  let seen: string | undefined;
  await until(async () => {
    const view = (await api.resources()).find(({ name }) => name === resource);
    seen = view === undefined ? 'nothing' : `${String(view.healthy)} of ${String(view.capacity)}`;
    return seen === quantities;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${resource} shows ${String(seen)}, not ${quantities}`);
  });
}

beforeAll(async () => {
  const manager = new CommandLine(['start'], { env });
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
}, 60_000);

afterAll(async () => {
  await stopCommands();
  removeDirectories();
}, 60_000);

test('hardware is simulated from a preset and commanded from another terminal', async () => {
  const gpus = new CommandLine(['simulate', '--preset', 'gpu-server-8'], { env });
  const gpu = 'example.com/gpu';
  await shows(gpu, '8 of 8');
  expect(await cli('simulate', 'set', 'gpu-3=Unhealthy', 'gpu-4=Unhealthy')).toMatchObject({
    code: 0,
    stdout: 'example.com/gpu: set done\n',
  });
  await shows(gpu, '6 of 8');
  expect((await cli('simulate', 'add', 'gpu-8', '--numa', '1')).code).toBe(0);
  await shows(gpu, '7 of 9');

  expect((await cli('simulate', 'fail', 'allocate', 'no power')).code).toBe(0);
  expect((await cli('simulate', 'flood', '50')).code).toBe(0);
  const listed = await cli('simulate', 'get');
  expect(listed.stdout).toMatch(
    /^RESOURCE +DEVICES +HEALTHY +STATE +TROUBLE\nexample\.com\/gpu +9 +7 +registered +allocate fails: no power; floods with 50 lists a second\n$/,
  );
  const refused = await cli('run', '--limits', 'example.com/gpu=1', '--', 'true');
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain('no power');
  expect((await cli('simulate', 'calm')).code).toBe(0);
  const ran = await cli('run', '--limits', 'example.com/gpu=1', '--', 'sh', '-c', 'echo $GPU_IDS');
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/^gpu-\d\n$/);

  expect((await cli('simulate', 'restart', '--id-prefix', 'card-')).code).toBe(0);
  await until(async () => (await api.devices()).some(({ id, health }) => id === 'card-0' && health === 'Healthy'));

  const mistakes: [string[], number, RegExp][] = [
    [['set', 'gpu-0'], 2, /gpu-0: expected ID=HEALTH/],
    [['flap', 'card-0', '--every', '1ms'], 1, /flap\.every: must be at least 10ms/],
    [['hang', 'everything'], 2, /'everything' is invalid .* Allowed choices are options, allocate/],
    [['calm', '-r', 'example.com/x'], 3, /example\.com\/x is not simulated\nThere is example\.com\/gpu\./],
  ];
  for (const [words, code, message] of mistakes) {
    const ended = await cli('simulate', ...words);
    expect(ended.stderr, words.join(' ')).toMatch(message);
    expect(ended.code, words.join(' ')).toBe(code);
  }

  gpus.child.kill('SIGTERM');
  expect((await gpus.ended).code).toBe(0);
  expect(readdirSync(join(rootDir, 'devmgr')).filter((name) => name.startsWith('sim-'))).toEqual([]);
  expect(await cli('simulate', 'get')).toMatchObject({ code: 0, stderr: `Nothing is simulated in ${rootDir}.\n` });
}, 240_000); // Each command is a process, and they are many.

test('a preset can be written to a file, changed, and simulated', async () => {
  const { stdout, code } = await cli('simulate', '--preset', 'mig', '--print');
  expect(code).toBe(0);
  const file = join(rootDir, 'mine.yaml');
  writeFileSync(file, stdout.replaceAll('example.com/', 'lab.example/'));
  const slices = new CommandLine(['simulate', '-f', file], { env });
  await shows('lab.example/mig-1g.10gb', '7 of 7');
  await shows('lab.example/mig-3g.40gb', '1 of 1');
  slices.child.kill('SIGTERM');
  expect((await slices.ended).code).toBe(0);
  writeFileSync(file, 'resource: lab.example/gpu\ncuont: 3\n');
  expect(await cli('simulate', '-f', file)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`${file}:2:1: unknown field "cuont"`) as string,
  });
});

test('the command line knows the presets of the SDK', async () => {
  const { stdout } = await cli('simulate', '--help');
  for (const { name } of SIMULATION_PRESETS) expect(stdout).toContain(`"${name}"`);
});

test('host devices from a file and by flags, on the buses of any tree', async () => {
  const machine = temporaryDirectory();
  const device = join(machine, 'sys/devices/pci0000:00/0000:3b:00.0');
  mkdirSync(join(device, 'drm/renderD128'), { recursive: true });
  for (const [name, text] of [
    ['vendor', '0x10de'],
    ['device', '0x2204'],
    ['class', '0x030200'],
    ['numa_node', '0'],
    ['drm/renderD128/uevent', 'DEVNAME=dri/renderD128'],
  ] as const) {
    writeFileSync(join(device, name), `${text}\n`);
  }
  mkdirSync(join(machine, 'sys/bus/pci/devices'), { recursive: true });
  symlinkSync('../../../devices/pci0000:00/0000:3b:00.0', join(machine, 'sys/bus/pci/devices/0000:3b:00.0'));
  mkdirSync(join(machine, 'dev/dri'), { recursive: true });
  symlinkSync('/dev/null', join(machine, 'dev/dri/renderD128'));
  const tree = ['--sys-dir', join(machine, 'sys'), '--dev-dir', join(machine, 'dev')];

  const file = join(machine, 'host.yaml');
  writeFileSync(
    file,
    'resources:\n- resource: lab.example/gpu\n  devices: [{ pci: "10de:*,class=0302" }]\n- resource: lab.example/null\n  devices: [/dev/null]\n  count: 3\n',
  );
  const fromFile = new CommandLine(['plugin', 'host', '-f', file, ...tree], { env });
  await shows('lab.example/gpu', '1 of 1');
  await shows('lab.example/null', '3 of 3');
  const ran = await cli('run', '--limits', 'lab.example/gpu=1', '--', 'sh', '-c', 'env | grep LAB_EXAMPLE | sort');
  expect(ran, ran.stderr).toMatchObject({
    code: 0,
    stdout: 'LAB_EXAMPLE_GPU_DEVICES=/dev/dri/renderD128\nPCIDEVICE_LAB_EXAMPLE_GPU=0000:3b:00.0\n',
  });
  fromFile.child.kill('SIGTERM');
  expect((await fromFile.ended).code).toBe(0);

  const flags = ['--resource', 'lab.example/two', '--device', '/dev/zero', '--pci', 'class=03', '--env', 'MODE=a=b'];
  const fromFlags = new CommandLine(['plugin', 'host', ...flags, ...tree], { env });
  await shows('lab.example/two', '2 of 2');
  const mode = await cli('run', '--limits', 'lab.example/two=2', '--', 'sh', '-c', 'echo $MODE');
  expect(mode, mode.stderr).toMatchObject({ code: 0, stdout: 'a=b\n' });
  fromFlags.child.kill('SIGTERM');
  expect((await fromFlags.ended).code).toBe(0);

  expect(await cli('plugin', 'host')).toMatchObject({ code: 2 });
  expect(await cli('plugin', 'host', '-f', file, '--usb', '0403:6001')).toMatchObject({ code: 2 });
  writeFileSync(file, 'resources:\n- resource: lab.example/gpu\n  devices: [{ pci: 10de }]\n');
  expect((await cli('plugin', 'host', '-f', file)).stderr).toContain(`${file}:3:20: resources[0].devices[0].pci: `);
}, 120_000);
