import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { readProcess } from '../src/process-identity.ts';
import { ProcessRuntime } from '../src/runtimes/process-runtime.ts';
import { SystemClock } from '../src/system-clock.ts';
import { compileSources } from './compiled-sources.ts';
import { collect, processesMentioning, temporaryDirectory, TestLog, until } from './pods-support.ts';

type Directory = Awaited<ReturnType<typeof temporaryDirectory>>;

let compiled: Directory;
let program = '';
let directory: Directory;
let marks = '';
const runtimes: ProcessRuntime[] = [];

beforeAll(async () => {
  compiled = await temporaryDirectory();
  [program = ''] = await compileSources(compiled.path, ['runtime-program.ts']);
}, 60_000);

afterAll(() => compiled.remove());

beforeEach(async () => {
  directory = await temporaryDirectory();
  marks = join(directory.path, 'marks');
  await mkdir(marks);
});

afterEach(async () => {
  await newRuntime().retainPods(new Set());
  for (const runtime of runtimes.splice(0)) await runtime.close();
  expect(processesMentioning(directory.path)).toEqual([]);
  await directory.remove();
});

function newRuntime(): ProcessRuntime {
  const stateDir = join(directory.path, 'pods');
  const runtime = new ProcessRuntime({ stateDir, clock: new SystemClock(), log: new TestLog() });
  runtimes.push(runtime);
  return runtime;
}

interface Manager {
  readonly process: ChildProcess;
  /** Pod uids it said to be running. */
  readonly started: string[];
  kill(): Promise<void>;
}

function startManager(count: number, prefix: string): Manager {
  const child = spawn(process.execPath, [program, join(directory.path, 'pods'), marks, String(count), prefix], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const started: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    started.push(...lines);
  });
  return {
    process: child,
    started,
    kill: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

const mark = (uid: string): Promise<string> => readFile(join(marks, uid), 'utf8').catch(() => '');

test('containers outlive a manager that is killed, and the next one adopts, stops and reads them', async () => {
  const manager = startManager(2, 'uid');
  await until('the containers', async () => manager.started.length === 2 && (await mark('uid-1')) !== '');
  await manager.kill();
  const runtime = newRuntime();
  const [first] = await runtime.recover('uid-0');
  const [second] = await runtime.recover('uid-1');
  if (first?.state !== 'running' || second?.state !== 'running') throw new Error('not adopted');
  expect(first).toMatchObject({ container: 'main', attempt: 0, id: 'process://uid-0/main/0' });
  expect(first.instance.startedAt).toBeGreaterThan(Date.now() - 60_000);

  const followed = collect(
    runtime.readLog(
      { podUid: 'uid-0', container: 'main', attempt: 0 },
      { follow: true, signal: new AbortController().signal },
    ),
  );
  first.instance.stop(20_000);
  expect(await first.instance.ended).toMatchObject({ exitCode: 143, signal: 15, reason: 'Error' });
  expect(await followed).toBe('out\n');
  second.instance.stop(0);
  expect(await second.instance.ended).toMatchObject({ exitCode: 137, reason: 'ContainerStatusUnknown' });
  expect(await newRuntime().recover('uid-0')).toMatchObject([{ state: 'ended', end: { exitCode: 143 } }]);
});

test('a process that got the pid of a container meanwhile is never signalled', async () => {
  const stranger = spawn('sleep', ['1000'], { stdio: 'ignore' });
  try {
    const manager = startManager(1, 'uid');
    await until('the container', () => manager.started.length === 1);
    await manager.kill();
    const path = join(directory.path, 'pods/uid-0/main/0.json');
    const { writeFile } = await import('node:fs/promises');
    const text = await readFile(path, 'utf8');
    const record = JSON.parse(text) as { pid: number; startTime: number };
    process.kill(-record.pid, 'SIGKILL');
    await until('the end', () => processesMentioning('uid-0/main').length === 0);
    await writeFile(path, JSON.stringify({ ...record, pid: stranger.pid }));
    const runtime = newRuntime();
    expect(await runtime.recover('uid-0')).toMatchObject([{ state: 'ended', end: { exitCode: 137 } }]);
    await runtime.removePod('uid-0');
    expect(readProcess(stranger.pid ?? 0)?.state).toBe('S');
  } finally {
    stranger.kill('SIGKILL');
    await once(stranger, 'exit');
  }
});

test(
  'killed at any moment, a manager leaves only containers that run and are found, or never ran',
  { timeout: 120_000 },
  async () => {
    const outcomes = new Set<string>();
    for (let round = 0; round < 12; round += 1) {
      const prefix = `round${String(round)}`;
      const manager = startManager(1000, prefix);
      await until('the first container', () => manager.started.length >= 1 + (round % 3));
      await new Promise((resolve) => setTimeout(resolve, round * 3.7));
      await manager.kill();

      const runtime = newRuntime();
      // One more than it told of: that one may have been on its way.
      const last = manager.started.length;
      for (let index = 0; index <= last; index += 1) {
        const uid = `${prefix}-${String(index)}`;
        const [found] = await runtime.recover(uid);
        outcomes.add(found?.state ?? 'nothing');
        if (index < last) expect(found?.state).toBe('running');
        if (found?.state === 'running') {
          await until('its mark', async () => (await mark(uid)) === `${join(marks, uid)}\n`);
          found.instance.stop(0);
          await found.instance.ended;
        } else {
          await until('nothing to run', () => processesMentioning(`${uid}/main`).length === 0);
          expect(await mark(uid)).toBe('');
        }
      }
      await runtime.retainPods(new Set());
    }
    expect(outcomes).toContain('running');
  },
);

test('a process that was never told to go ends without running anything when its manager dies', async () => {
  const runtime = newRuntime();
  const { prepareProcess } = await import('../src/runtimes/process-launch.ts');
  const prepare = () =>
    prepareProcess({
      command: { program: '/bin/sh', args: ['-c', 'echo ran > "$0"', join(marks, 'gate')], workingDir: '/' },
      variables: new Map([['DEVMGR_CONTAINER', `gate-${directory.path}`]]),
      exitFile: join(directory.path, 'exit'),
      logFile: join(directory.path, 'log'),
    });
  const prepared = await prepare();
  const exited = once(prepared.child, 'exit');
  expect(readProcess(prepared.identity.pid)?.startTime).toBe(prepared.identity.startTime);
  prepared.abandon();
  expect(await exited).toEqual([125, null]);
  expect(await mark('gate')).toBe('');
  await expect(readFile(join(directory.path, 'exit'))).rejects.toThrow('ENOENT');
  expect(await readFile(join(directory.path, 'log'), 'utf8')).toBe('');

  const second = await prepare();
  const done = once(second.child, 'exit');
  await second.release();
  expect(await done).toEqual([0, null]);
  expect(await mark('gate')).toBe('ran\n');
  await runtime.close();
});
