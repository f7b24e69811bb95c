import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { commandSimulation, listSimulations, serveSimulationControl, simulatedPlugin } from '@devmgr/plugin-sdk';
import { cleanup, closing, temporaryDir } from './helpers.ts';

async function simulation(controlDir: string, ...resources: readonly string[]) {
  const pluginDir = await temporaryDir();
  const plugins = resources.map((resource) => closing(simulatedPlugin({ resource, count: 2 }, { pluginDir })));
  const control = closing(await serveSimulationControl(controlDir, plugins));
  return { plugins, control };
}

test('steps reach the resource that is meant, in whichever process it is', async () => {
  const dir = await temporaryDir();
  const { plugins } = await simulation(dir, 'example.com/gpu', 'example.com/fpga');
  await simulation(dir, 'example.com/nic');
  const answered = await commandSimulation(dir, 'example.com/fpga', {
    health: { 'fpga-1': 'Unhealthy' },
    slow: { allocate: '2s' },
  });
  expect(answered).toMatchObject({ resource: 'example.com/fpga', troubles: ['allocate takes 2000 ms'] });
  expect(plugins[1]?.devices[1]).toMatchObject({ id: 'fpga-1', health: 'Unhealthy' });
  expect((await listSimulations(dir)).map(({ resource, devices }) => `${resource} ${devices.length}`)).toEqual([
    'example.com/fpga 2',
    'example.com/gpu 2',
    'example.com/nic 2',
  ]);
  await expect(commandSimulation(dir, undefined, { calm: true })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('example.com/gpu, example.com/fpga') as string,
  });
  await expect(commandSimulation(dir, 'example.com/x', { calm: true })).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('what cannot be played is refused, and nothing changes', async () => {
  const dir = await temporaryDir();
  const { plugins } = await simulation(dir, 'example.com/gpu');
  const cases: [Record<string, unknown>, string][] = [
    [{ remove: ['gpu-9'] }, 'example.com/gpu: there is no device "gpu-9"'],
    [{ slow: { allocate: 'soon' } }, 'slow.allocate: "soon" is not a duration like 250ms, 3s or 1.5m'],
    [{ health: { 'gpu-0': 'Unhealthy' }, jump: true }, 'the step: Unrecognized key: "jump"'],
    [{}, 'the step: says nothing to do'],
  ];
  for (const [step, message] of cases) {
    await expect(commandSimulation(dir, undefined, step)).rejects.toMatchObject({ code: 'PLUGIN_INVALID', message });
  }
  expect(plugins[0]?.devices.map(({ health }) => health)).toEqual(['Healthy', 'Healthy']);
});

test('the socket is its owner’s alone, and gone when it is closed', async () => {
  const dir = join(await temporaryDir(), 'devmgr');
  const { control } = await simulation(dir, 'example.com/gpu');
  expect((await stat(control.socketPath)).mode & 0o777).toBe(0o600);
  expect((await stat(dir)).mode & 0o777).toBe(0o700);
  expect(await readdir(dir)).toHaveLength(1);
  await control.close();
  expect(await readdir(dir)).toEqual([]);
  expect(await listSimulations(dir)).toEqual([]);
  await expect(commandSimulation(dir, undefined, { calm: true })).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('sockets of killed processes are passed over and removed, other files are left alone', async () => {
  const dir = await temporaryDir();
  const dead = join(dir, 'sim-00000000.sock');
  const script = `require('node:net').createServer().listen(${JSON.stringify(dead)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanup(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  await writeFile(join(dir, 'api.sock.note'), '');
  await simulation(dir, 'example.com/gpu');
  expect(await readdir(dir)).toHaveLength(3);
  expect(await listSimulations(dir)).toHaveLength(1);
  expect(await readdir(dir)).toHaveLength(2);
});

test('whatever else is sent is answered with what there is', async () => {
  const dir = await temporaryDir();
  const { control } = await simulation(dir, 'example.com/gpu');
  const send = async (method: string, path: string, body = ''): Promise<string> => {
    const sent = request({ socketPath: control.socketPath, method, path, agent: false });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
    let text = '';
    for await (const part of response) text += String(part);
    return `${String(response.statusCode)} ${text.trim()}`;
  };
  expect(await send('GET', '/')).toBe('400 {"message":"there are GET /resources and POST /steps?resource=NAME"}');
  expect(await send('POST', '/steps?resource=example.com/gpu', '{')).toBe('400 {"message":"the step is not JSON"}');
  expect(await send('POST', '/steps', '{}')).toBe('400 {"message":"null is not simulated here"}');
});
