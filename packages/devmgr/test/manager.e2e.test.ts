import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createApiClient } from '@devmgr/manager/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CommandLine,
  devmgr,
  isAlive,
  removeDirectories,
  stopCommands,
  temporaryDirectory,
  until,
} from './support/command-line.ts';

/** A manager with eight simulated GPUs and two device nodes, used through the built command line alone. */
const rootDir = temporaryDirectory();
const env = { DEVMGR_ROOT_DIR: rootDir };
const cli = (...args: string[]): ReturnType<typeof devmgr> => devmgr(args, { env });
/** For looking on; what is tested goes through the command line. */
const api = createApiClient(join(rootDir, 'devmgr/api.sock'));
const commands: CommandLine[] = [];
let manager: CommandLine;

const SIMULATION = 'resource: example.com/gpu\ncount: 8\nnumaNodes: 2\nenv: { GPUS: "{ids}" }\n';

function pod(name: string, script: string, limits: Record<string, unknown> = {}): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', command: ['sh', '-c', script], resources: { limits } }],
    },
  });
}

async function apply(manifest: string): Promise<void> {
  const ended = await devmgr(['apply', '-f', '-'], { env, stdin: manifest });
  expect(ended.code, ended.stderr).toBe(0);
}

async function allocated(): Promise<number> {
  return (await api.resources()).find(({ name }) => name === 'example.com/gpu')?.allocated ?? 0;
}

async function has(resource: string, healthy: number): Promise<boolean> {
  const resources = await api.resources().catch(() => []);
  return resources.some((known) => known.name === resource && known.healthy === healthy);
}

/** `device by pod` for all that is held. */
async function holders(): Promise<string[]> {
  return (await api.devices()).flatMap(({ id, pod: holder }) => (holder === null ? [] : [`${id} by ${holder}`]));
}

beforeAll(async () => {
  writeFileSync(join(rootDir, 'gpus.yaml'), SIMULATION);
  manager = new CommandLine(['start', '--node-name', 'box', '--expect', 'example.com/late'], { env });
  commands.push(manager);
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
  commands.push(new CommandLine(['simulate', '-f', join(rootDir, 'gpus.yaml')], { env }));
  commands.push(new CommandLine(['plugin', 'host', '--device', '/dev/null', '--device', '/dev/zero'], { env }));
  await until(async () => (await has('example.com/gpu', 8)) && (await has('devmgr.io/host', 2)));
}, 60_000);

afterAll(async () => {
  const started = new Set(commands);
  await stopCommands((command) => !started.has(command));
  for (const { child } of [...commands].reverse()) child.kill('SIGTERM');
  for (const [index, command] of commands.entries()) {
    const ended = await command.ended;
    expect(ended.code, `command ${String(index)}: ${ended.stderr.slice(-2_000)}`).toBe(0);
  }
  // What is left is state, and nothing that listens.
  expect(existsSync(join(rootDir, 'device-plugins/kubelet.sock'))).toBe(false);
  expect(existsSync(join(rootDir, 'devmgr/api.sock'))).toBe(false);
  removeDirectories();
}, 60_000);

test('start says where its sockets are and what to do next', () => {
  expect(manager.stdout).toContain(`devmgr serves node box from ${rootDir}`);
  expect(manager.stdout).toContain(join(rootDir, 'device-plugins/kubelet.sock'));
  expect(manager.stdout).toContain(join(rootDir, 'devmgr/api.sock'));
  expect(manager.stdout).toContain('devmgr plugin host --device /dev/null');
});

test('a second manager in the same directory is refused', async () => {
  const ended = await cli('start');
  expect(ended.code).toBe(1);
  expect(ended.stderr).toMatch(/error: .*(devmgr|manager).*\n.*--root-dir/);
});

describe('what is there', () => {
  test('is shown in all formats', async () => {
    expect((await cli('get', 'devices', 'devmgr.io/host', '-o', 'name')).stdout).toBe(
      'device/devmgr.io/host/null\ndevice/devmgr.io/host/zero\n',
    );
    const list = JSON.parse((await cli('get', 'devices', 'example.com/gpu', '-o', 'json')).stdout) as {
      items: { id: string; numaNodes: number[] }[];
    };
    expect(list.items.map(({ id, numaNodes }) => `${id}@${numaNodes.join()}`)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((index) => `gpu-${String(index)}@${index < 4 ? '0' : '1'}`),
    );
    expect((await cli('get', 'node', 'box', '-o', 'yaml')).stdout).toContain('example.com/gpu: "8"');
    expect((await cli('get', 'no', '-o', 'wide')).stdout).toContain('example.com/gpu=8/8');
    expect((await cli('get', 'plugins')).stdout).toMatch(/^NAME +STATE +DEVICES +AGE\nexample\.com|devmgr\.io/);
    expect((await cli('get', 'events', '-A')).stdout).toContain('PluginConnected');
  });

  test('what is not there ends with 3', async () => {
    for (const args of [
      ['get', 'pod', 'nobody'],
      ['get', 'device', 'gpu-99'],
      ['describe', 'pod', 'nobody'],
      ['describe', 'resource', 'a.b/c'],
      ['logs', 'nobody'],
      ['delete', 'pod', 'nobody'],
      ['wait', 'nobody', '--for', 'running'],
      ['apply', '-f', '/nonexistent.yaml'],
    ]) {
      const ended = await cli(...args);
      expect(ended, args.join(' ')).toMatchObject({ code: 3, stdout: '' });
      expect(ended.stderr).toMatch(/^error: .*\n.+\n$/);
    }
    expect(await cli('delete', 'pod', 'nobody', '--ignore-not-found')).toMatchObject({ code: 0, stdout: '' });
  });

  test('nothing is no failure, and nothing on stdout', async () => {
    expect(await cli('get', 'pods', '-n', 'empty')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: 'No resources found in empty namespace.\n',
    });
    expect(JSON.parse((await cli('get', 'pods', '-n', 'empty', '-o', 'json')).stdout)).toMatchObject({ items: [] });
  });
});

describe('pods', () => {
  test('are applied once, run, show their output, and give their devices back when deleted', async () => {
    const file = join(rootDir, 'pod.json');
    writeFileSync(file, pod('worker', 'echo "have $GPUS"; exec sleep 1000', { 'example.com/gpu': 2 }));
    expect(await cli('apply', '-f', file)).toMatchObject({ code: 0, stdout: 'pod/worker created\n' });
    expect(await cli('wait', 'worker', '--for', 'running', '--timeout', '20s')).toMatchObject({
      code: 0,
      stdout: 'pod/worker running\n',
    });
    expect(await cli('apply', '-f', file)).toMatchObject({ code: 0, stdout: 'pod/worker unchanged\n' });
    await until(async () => (await cli('logs', 'worker')).stdout === 'have gpu-0,gpu-1\n');
    expect((await cli('get', 'pod/worker', '-o', 'wide')).stdout).toMatch(
      /worker +1\/1 +Running +0 +\w+ +box +example\.com\/gpu=gpu-0,gpu-1\n$/,
    );
    expect((await cli('get', 'devices', 'gpu-0', '-o', 'wide')).stdout).toMatch(
      /Allocated +default\/worker +\w+ +main\n$/,
    );
    expect((await cli('describe', 'device', 'gpu-0')).stdout).toContain('default/worker');
    const described = (await cli('describe', 'pod', 'worker')).stdout;
    expect(described).toContain('example.com/gpu: gpu-0 (Healthy)');
    expect(described).toMatch(/Normal +Started/);
    expect(await allocated()).toBe(2);
    expect(await cli('delete', '-f', file)).toMatchObject({ code: 0, stdout: 'pod "worker" deleted\n' });
    expect(await cli('get', 'pod', 'worker')).toMatchObject({ code: 3 });
    expect(await allocated()).toBe(0);
  });

  test('that are refused say why, and waiting for them ends with 4', async () => {
    await apply(pod('greedy', 'true', { 'example.com/gpu': 20 }));
    const ended = await cli('wait', 'greedy', '--for', 'running', '--timeout', '20s');
    expect(ended).toMatchObject({ code: 4, stdout: '' });
    expect(ended.stderr).toContain('Requested: 20, Available: 8');
    expect((await cli('get', 'pod', 'greedy')).stdout).toContain('UnexpectedAdmissionError');
    expect((await cli('describe', 'pod', 'greedy')).stdout).toContain('Message:');
    await cli('delete', 'pod', 'greedy');
  });

  test('that fail end a wait with 1, and a time limit with 124', async () => {
    await apply(pod('broken', 'exit 3'));
    const failed = await cli('wait', 'broken', '--for', 'succeeded', '--timeout', '20s');
    expect(failed).toMatchObject({ code: 1 });
    await apply(pod('patient', 'exec sleep 1000', { 'example.com/late': 1 }));
    const late = await cli('wait', 'patient', '--for', 'running', '--timeout', '300ms');
    expect(late).toMatchObject({ code: 124 });
    expect(late.stderr).toContain('waiting for the device plugin of example.com/late');
    expect((await cli('get', 'pod', 'patient')).stdout).toContain('WaitingForDevicePlugin');
    await cli('delete', 'pod', 'broken', 'patient');
  });

  test('whose output is followed end the following', async () => {
    await apply(pod('talker', 'for i in 1 2 3; do echo line $i; sleep 0.1; done'));
    await cli('wait', 'talker', '--for', 'running', '--timeout', '20s');
    expect(await cli('logs', 'talker', '-f')).toMatchObject({ code: 0, stdout: 'line 1\nline 2\nline 3\n' });
    expect((await cli('logs', 'talker', '--tail', '1')).stdout).toBe('line 3\n');
    await cli('delete', 'pod', 'talker');
  });

  test('that are wrong are refused with file, line and reason', async () => {
    const file = join(rootDir, 'wrong.yaml');
    writeFileSync(file, 'apiVersion: v1\nkind: Pod\nmetadata: {name: x\nspec: {}\n');
    const syntax = await cli('apply', '-f', file);
    expect(syntax).toMatchObject({ code: 1, stdout: '' });
    expect(syntax.stderr).toMatch(new RegExp(`^error: ${file}:\\d+:\\d+: `));
    writeFileSync(file, 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n');
    expect((await cli('apply', '-f', file)).stderr).toContain('devmgr runs v1 Pods, and this is a Deployment');
    const fraction = await devmgr(['apply', '-f', '-'], { env, stdin: pod('x', 'true', { 'example.com/gpu': '0.5' }) });
    expect(fraction.code).toBe(1);
    expect(fraction.stderr).toContain('example.com/gpu');
  });

  test('one wrong pod among several does not keep the others', async () => {
    const stdin = [pod('first', 'true'), pod('BAD_NAME', 'true'), pod('third', 'true')].join('\n---\n');
    const ended = await devmgr(['apply', '-f', '-'], { env, stdin });
    expect(ended).toMatchObject({ code: 1, stdout: 'pod/first created\npod/third created\n' });
    expect(ended.stderr).toContain('BAD_NAME');
    await cli('delete', 'pod', 'first', 'third');
  });
});

test('get -w follows changes until it is interrupted', async () => {
  const pods = new CommandLine(['get', 'pods', '-w'], { env });
  const resources = new CommandLine(['get', 'resources', 'example.com/gpu', '-w'], { env });
  await resources.shows((text) => text.includes('example.com/gpu'));
  await apply(pod('seen', 'exec sleep 1000', { 'example.com/gpu': 3 }));
  await pods.shows((text) => /seen +1\/1 +Running/.test(text));
  await resources.shows((text) => /example\.com\/gpu +8 +8 +3/.test(text));
  await cli('delete', 'pod', 'seen');
  await pods.shows((text) => /seen +\d\/1 +Terminating/.test(text));
  for (const { child } of [pods, resources]) child.kill('SIGINT');
  const ended = await pods.ended;
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(ended.stdout.match(/NAME/g)).toHaveLength(1);
  expect(await resources.ended).toMatchObject({ code: 0, stderr: '' });
});

describe('run', () => {
  const run = (...args: string[]): ReturnType<typeof devmgr> => cli('run', '--limits', 'example.com/gpu=2', ...args);

  test("gives a command devices of its own, its environment, and ends with the command's code", async () => {
    const ended = await run('--name', 'mine', '--', 'sh', '-c', 'echo "$GPUS"; exit 42');
    expect(ended).toMatchObject({ code: 42, stdout: 'gpu-0,gpu-1\n', stderr: '' });
    expect(await allocated()).toBe(0);
    // Without -- too: what follows the command is the command's.
    expect(await run('sh', '-c', 'exit 3')).toMatchObject({ code: 3 });
  });

  test('the signal that ended the command is told as shells do', async () => {
    expect(await run('--', 'sh', '-c', 'kill -KILL $$')).toMatchObject({ code: 137 });
  });

  test('signals are passed on', async () => {
    const script =
      'trap "echo got TERM; exit 5" TERM; trap "echo got USR1" USR1; echo ready; while :; do sleep 0.05; done';
    const command = new CommandLine(['run', '--limits', 'example.com/gpu=1', '--', 'sh', '-c', script], { env });
    await command.shows((text) => text.includes('ready'));
    command.child.kill('SIGUSR1');
    await command.shows((text) => text.includes('got USR1'));
    command.child.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 5, stdout: 'ready\ngot USR1\ngot TERM\n' });
  });

  test('nobody else has the devices meanwhile; one who waits gets them next', async () => {
    const all = ['run', '--limits', 'example.com/gpu=8'];
    const holder = new CommandLine([...all, '--name', 'holder', '--', 'sh', '-c', 'echo ready; exec sleep 1000'], {
      env,
    });
    await holder.shows((text) => text.includes('ready'));
    const refused = await run('--', 'true');
    expect(refused).toMatchObject({ code: 4, stdout: '' });
    expect(refused.stderr).toContain('Requested: 2, Available: 0');
    const next = new CommandLine([...all, '--wait-for-devices=30s', '--', 'sh', '-c', 'echo mine'], { env });
    await next.shows((text) => text.includes('waiting: '));
    expect((await cli('get', 'pods')).stdout).toContain('holder');
    holder.child.kill('SIGTERM');
    expect(await holder.ended).toMatchObject({ code: 143 });
    expect(await next.ended).toMatchObject({ code: 0, stdout: 'mine\n' });
    expect(await allocated()).toBe(0);
  });

  test('one who waits in vain is refused, and one who gives up leaves nothing held', async () => {
    const all = ['run', '--limits', 'example.com/gpu=8'];
    const holder = new CommandLine([...all, '--', 'sh', '-c', 'echo ready; exec sleep 1000'], { env });
    await holder.shows((text) => text.includes('ready'));
    expect(await run('--wait-for-devices=200ms', '--quiet', '--', 'true')).toMatchObject({ code: 4 });
    const impatient = new CommandLine([...all, '--wait-for-devices', '--', 'true'], { env });
    await impatient.shows((text) => text.includes('waiting: '));
    impatient.child.kill('SIGINT');
    expect(await impatient.ended).toMatchObject({ code: 130 });
    holder.child.kill('SIGTERM');
    await holder.ended;
    await until(async () => (await allocated()) === 0);
  });

  test('killed with SIGKILL it leaves the lease to the command, and the devices are free once that ends', async () => {
    const script = 'echo $$; exec sleep 1000';
    const command = new CommandLine(['run', '--limits', 'example.com/gpu=2', '--', 'sh', '-c', script], { env });
    await command.shows((text) => /\d+\n/.test(text));
    const pid = Number(command.stdout);
    command.child.kill('SIGKILL');
    expect(isAlive(pid)).toBe(true);
    expect(await allocated()).toBe(2);
    process.kill(pid, 'SIGKILL');
    await until(async () => (await allocated()) === 0);
    await command.ended;
  });
});

describe('plugin run', () => {
  test('a plugin that has /var/lib/kubelet compiled in registers and serves', async () => {
    const program = join(rootDir, 'plugin.mjs');
    const sdk = new URL('../../plugin-sdk/dist/index.js', import.meta.url).href;
    writeFileSync(
      program,
      `import { servePlugin, env, terminationSignal } from ${JSON.stringify(sdk)};
       servePlugin({ resource: 'hard.example.com/coded', devices: ['one', 'two'], signal: terminationSignal(),
         allocate: (ids) => env({ CODED: ids.join() }) });`,
    );
    const command = new CommandLine(['plugin', 'run', '--name', 'coded', '--', process.execPath, program], { env });
    try {
      await command.shows(
        (text) => text.includes('coded: started') || text.includes('USER_NAMESPACE') || text.includes('private view'),
      );
      if (command.stderr.includes('private view')) {
        console.warn('skipped: this system has no private mount namespaces');
        return;
      }
      await until(() => has('hard.example.com/coded', 2));
      const ended = await cli('run', '--limits', 'hard.example.com/coded=2', '--', 'sh', '-c', 'echo "$CODED"');
      expect(ended).toMatchObject({ code: 0, stdout: 'one,two\n' });
    } finally {
      command.child.kill('SIGTERM');
      await command.ended;
    }
    expect(command.stderr).toContain('coded: stopping');
    expect(readdirSync(join(rootDir, 'device-plugins')).filter((name) => name.startsWith('hard'))).toEqual([]);
  });
});

test('killed with SIGKILL, the manager finds pods and leases again at the next start', async () => {
  await apply(pod('survivor', 'exec sleep 1000', { 'example.com/gpu': 2 }));
  await cli('wait', 'survivor', '--for', 'running', '--timeout', '20s');
  const release = join(rootDir, 'release');
  const script = `echo ready; until [ -e ${release} ]; do sleep 0.05; done; exit 6`;
  const lease = new CommandLine(['run', '--limits', 'example.com/gpu=3', '--', 'sh', '-c', script], { env });
  await lease.shows((text) => text.includes('ready'));
  const before = await holders();
  manager.child.kill('SIGKILL');
  await manager.ended;
  expect(await cli('get', 'pods')).toMatchObject({ code: 5 });

  commands.shift();
  manager = new CommandLine(['start', '--node-name', 'box'], { env });
  commands.unshift(manager);
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
  await until(() => has('example.com/gpu', 8));
  const after = await holders();
  expect(after).toEqual(before);
  expect(after).toHaveLength(5);
  writeFileSync(release, '');
  expect(await lease.ended).toMatchObject({ code: 6 });
  await until(async () => (await allocated()) === 2);
  await cli('delete', 'pod', 'survivor');
  expect(await allocated()).toBe(0);
});

test('while the manager is away a leased command goes on; the lease is settled afterwards', async () => {
  const release = join(rootDir, 'release-2');
  const script = `echo ready; until [ -e ${release} ]; do sleep 0.05; done; exit 7`;
  const lease = new CommandLine(['run', '--limits', 'example.com/gpu=3', '--', 'sh', '-c', script], { env });
  await lease.shows((text) => text.includes('ready'));
  manager.child.kill('SIGKILL');
  await manager.ended;
  writeFileSync(release, '');
  const ended = await lease.ended;
  expect(ended.code).toBe(7);
  expect(ended.stderr).toContain('warning: the lease');
  commands.shift();
  manager = new CommandLine(['start', '--node-name', 'box'], { env });
  commands.unshift(manager);
  await manager.shows((text) => text.includes('Ctrl-C stops it.'));
  await until(() => has('example.com/gpu', 8));
  await until(async () => (await allocated()) === 0);
});
