/** Plugins as processes of their own, killed in the middle of each hook. (They use the built package.) */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startFakeManager, startFakePodResources, until } from '@devmgr/plugin-sdk/testing';
import type { FakeManager, FakeSession } from '@devmgr/plugin-sdk/testing';
import { cleanup, closing, temporaryDir } from './helpers.ts';

const CHILD = fileURLToPath(new URL('lifecycle-child.js', import.meta.url));
const resource = 'example.com/gpu';

class Bench {
  readonly manager: FakeManager;
  readonly dir: string;
  readonly #hooks: string;
  #child: ReturnType<typeof spawn> | undefined;
  output = '';

  constructor(dir: string, manager: FakeManager, hooks: string) {
    this.dir = dir;
    this.manager = manager;
    this.#hooks = hooks;
  }

  static async start(kind: 'devmgr' | 'kubelet', hooks: string): Promise<Bench> {
    const dir = await temporaryDir();
    const manager = closing(
      await startFakeManager({ pluginDir: join(dir, 'device-plugins'), takeReports: kind === 'devmgr' }),
    );
    const bench = new Bench(dir, manager, hooks);
    bench.plugIn();
    cleanup(() => bench.kill());
    return bench;
  }

  plugIn(): void {
    this.#child = spawn(process.execPath, [CHILD], {
      env: { ...process.env, PLUGIN_DIR: join(this.dir, 'device-plugins'), WORK_DIR: this.dir, HOOKS: this.#hooks },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
    });
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async calls(): Promise<string> {
    const text = await readFile(join(this.dir, 'calls'), 'utf8').catch(() => '');
    return text.trim().replaceAll('\n', ' ');
  }

  async untilCalls(wanted: string): Promise<void> {
    await until(`the calls ${wanted}`, async () => (await this.calls()) === wanted, 25_000).catch(
      async (error: unknown) => {
        throw new Error(`${String(error)}, but ${await this.calls()}\n${this.output}`);
      },
    );
  }

  go(hook: string): Promise<void> {
    return writeFile(join(this.dir, `${hook}.go`), '');
  }

  /** The session of the plugin that runs now. */
  session(): Promise<FakeSession> {
    return this.manager.session(resource, 25_000);
  }

  /** What every list of every session said about the device, from a moment on. */
  get healths(): string[] {
    return this.manager.sessions.flatMap(({ lists }) => lists.map(([device]) => device?.health ?? 'absent'));
  }

  async untilHealthy(): Promise<void> {
    await until(`the device to be offered\n${this.output}`, () => this.healths.at(-1) === 'Healthy', 25_000);
  }
}

test('killed while it installs: installs again, and nothing is offered before', async () => {
  const bench = await Bench.start('devmgr', 'run');
  await bench.untilCalls('install');
  await bench.kill();
  bench.plugIn();
  await bench.untilCalls('install install');
  expect(bench.manager.registrations).toEqual([]);
  await bench.go('install');
  await bench.untilHealthy();
  await bench.kill();
  bench.plugIn();
  await until('the next process', () => bench.manager.registrations.length > 1, 25_000);
  expect(await bench.calls(), 'what is installed is not installed again').toBe('install install');
});

test('killed while its installer runs: that one is ended before another begins', async () => {
  const bench = await Bench.start('devmgr', 'command');
  const pids = async (): Promise<number[]> =>
    (await readFile(join(bench.dir, 'pids'), 'utf8').catch(() => '')).split('\n').filter(Boolean).map(Number);
  await until('the installer', async () => (await pids()).length === 1, 25_000);
  await bench.kill();
  const [first = 0] = await pids();
  expect(await isRunning(first), 'it goes on without the plugin').toBe(true);
  bench.plugIn();
  await until('the second installer', async () => (await pids()).length === 2, 25_000);
  expect(await isRunning(first)).toBe(false);
  expect(bench.manager.registrations).toEqual([]);
  await bench.go('install');
  await bench.untilHealthy();
});

test('killed while it initialises: initialises again, and the device is not offered before', async () => {
  const bench = await Bench.start('devmgr', 'init');
  await bench.session();
  await bench.untilCalls('init');
  await bench.kill();
  bench.plugIn();
  await bench.untilCalls('init init');
  await bench.session();
  expect(bench.healths.every((health) => health === 'Unhealthy')).toBe(true);
  await bench.go('init');
  await bench.untilHealthy();
});

test.each(['devmgr', 'kubelet'] as const)(
  '%s: killed while it releases: releases again, and the device is not offered before',
  async (kind) => {
    const bench = await Bench.start(kind, 'released');
    const pods = closing(await startFakePodResources(join(bench.dir, 'pod-resources', 'kubelet.sock')));
    const first = await bench.session();
    await until('the device', () => first.devices[0]?.health === 'Healthy');
    await first.allocate(['a']);
    pods.hold('default/job', resource, ['a']);
    if (kind === 'devmgr') {
      first.released(['a'], { releaseId: 'r1', pod: 'default/job' }).catch(() => undefined);
    } else {
      await until('the pod to be known', async () => (await stateOf(bench)).includes('"job"'));
    }
    pods.hold('default/job', resource, []);
    await bench.untilCalls('released');
    await bench.kill();
    const before = bench.healths.length;
    bench.plugIn();
    await bench.untilCalls('released released');
    const second = await bench.session();
    expect(second).not.toBe(first);
    expect(bench.healths.slice(before).every((health) => health === 'Unhealthy')).toBe(true);
    const repeated = kind === 'devmgr' ? second.released(['a'], { releaseId: 'r1' }) : undefined;
    await bench.go('released');
    await repeated;
    await bench.untilHealthy();
    await second.allocate(['a']);
    expect(await bench.calls()).toBe('released released');
  },
);

test('killed while it resets after use: resets again, does not repeat what was done, and offers the device only then', async () => {
  const bench = await Bench.start('devmgr', 'released,reset');
  await bench.go('released');
  const first = await bench.session();
  await first.allocate(['a']);
  first.released(['a']).catch(() => undefined);
  await bench.untilCalls('released reset');
  await bench.kill();
  const before = bench.healths.length;
  bench.plugIn();
  await bench.untilCalls('released reset reset');
  await bench.session();
  expect(bench.healths.slice(before).every((health) => health === 'Unhealthy')).toBe(true);
  await bench.go('reset');
  await bench.untilHealthy();
});

test('killed while it resets before use: the start fails, and the next one resets again', async () => {
  const bench = await Bench.start('devmgr', 'reset,before');
  const first = await bench.session();
  await first.allocate(['a']);
  const started = expect(first.preStart(['a'])).rejects.toThrow('Unavailable');
  await bench.untilCalls('reset');
  await bench.kill();
  await started;
  bench.plugIn();
  await until('the next process', () => bench.manager.registrations.length > 1, 25_000);
  const again = (await bench.session()).preStart(['a']);
  await bench.untilCalls('reset reset');
  await bench.go('reset');
  await again;
});

async function stateOf(bench: Bench): Promise<string> {
  return readFile(join(bench.dir, 'state', 'example.com_gpu.json'), 'utf8').catch(() => '');
}

/** A zombie does not run: its new parent may take its time to fetch it. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '');
  return status !== '' && !/^State:\s+[ZX]/m.test(status);
}
