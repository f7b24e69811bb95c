import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Pod } from '@devmgr/core';
import { ContainerStartError, type ContainerInstance } from '../src/container-runtime.ts';
import { readProcess } from '../src/process-identity.ts';
import { SystemClock } from '../src/system-clock.ts';
import { ProcessRuntime } from '../src/runtimes/process-runtime.ts';
import {
  collect,
  NO_DEVICES,
  processesMentioning,
  temporaryDirectory,
  testPod,
  TestLog,
  until,
} from './pods-support.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let log: TestLog;
let runtime: ProcessRuntime;
const endless = new AbortController().signal;

beforeEach(async () => {
  directory = await temporaryDirectory();
  log = new TestLog();
  runtime = newRuntime();
});

afterEach(async () => {
  await newRuntime().retainPods(new Set());
  await runtime.close();
  expect(processesMentioning(directory.path)).toEqual([]);
  await directory.remove();
});

function newRuntime(options: Partial<ConstructorParameters<typeof ProcessRuntime>[0]> = {}): ProcessRuntime {
  return new ProcessRuntime({ stateDir: join(directory.path, 'pods'), clock: new SystemClock(), log, ...options });
}

function start(pod: Pod, attempt = 0, options = NO_DEVICES): Promise<ContainerInstance> {
  const [container] = pod.spec.containers;
  if (container === undefined) throw new Error('a pod without containers');
  return runtime.start({ pod, container, attempt, options });
}

function output(pod: Pod, attempt = 0, options: { follow?: boolean; tailLines?: number } = {}): Promise<string> {
  const key = { podUid: pod.metadata.uid ?? '', container: 'main', attempt };
  return collect(runtime.readLog(key, { follow: false, signal: endless, ...options }));
}

describe('command', () => {
  test('exit codes and output', async () => {
    const pod = testPod({ command: ['sh', '-c', 'echo out; echo err >&2; exit 7'] });
    const instance = await start(pod);
    expect(await instance.ended).toMatchObject({ exitCode: 7, reason: 'Error' });
    expect(await output(pod)).toBe('out\nerr\n');
    expect(instance.id).toBe(`process://${pod.metadata.uid ?? ''}/main/0`);
  });

  test('ended well', async () => {
    const instance = await start(testPod({ command: ['true'] }));
    const end = await instance.ended;
    expect(end).toMatchObject({ exitCode: 0, reason: 'Completed' });
    expect(end.signal).toBeUndefined();
    expect(end.finishedAt).toBeGreaterThanOrEqual(instance.startedAt);
  });

  test('a signal gives 128 + n, and the shell in between adds no remark', async () => {
    const pod = testPod({ command: ['sh', '-c', 'kill -SEGV $$$$'] });
    expect(await (await start(pod)).ended).toMatchObject({ exitCode: 139, signal: 11, reason: 'Error' });
    expect(await output(pod)).toBe('');
  });

  test('names of shell built-ins are programs', async () => {
    const pod = testPod({ command: ['echo', '-n', 'x'] });
    await (
      await start(pod)
    ).ended;
    expect(await output(pod)).toBe('x');
    await expect(start(testPod({ command: ['exit', '3'] }))).rejects.toThrow(
      'exec: "exit": executable file not found in $PATH',
    );
  });

  test('command is replaced, args are added, variables are expanded', async () => {
    const pod = testPod({
      command: ['printf', '%s|'],
      args: ['$(A)', '$$(A)', '$(MISSING)', '$(PLUGIN)', 'a b'],
      env: [{ name: 'A', value: 'x-$(PLUGIN)' }],
    });
    const instance = await start(pod, 0, { ...NO_DEVICES, envs: new Map([['PLUGIN', 'p']]) });
    expect((await instance.ended).exitCode).toBe(0);
    expect(await output(pod)).toBe('x-p|$(A)|$(MISSING)|p|a b|');
  });

  test('standard input is empty, the directory is the one asked for', async () => {
    const pod = testPod({ command: ['sh', '-c', 'cat; pwd'], workingDir: directory.path });
    await (
      await start(pod)
    ).ended;
    expect(await output(pod)).toBe(`${directory.path}\n`);
    const rooted = testPod({ command: ['pwd'] });
    await (
      await start(rooted)
    ).ended;
    expect(await output(rooted)).toBe('/\n');
  });

  test('what cannot be started is refused with the reason', async () => {
    const refusal = async (pod: Pod): Promise<{ reason: string; message: string }> => {
      const error: unknown = await start(pod).catch((caught: unknown) => caught);
      if (!(error instanceof ContainerStartError)) throw new Error('no ContainerStartError');
      return { reason: error.reason, message: error.message };
    };
    expect(await refusal(testPod({}))).toEqual({
      reason: 'CreateContainerError',
      message:
        'container "main" has no command: the process runtime does not use images, so spec.containers[].command must name the program to run',
    });
    expect(await refusal(testPod({ command: ['/no/such/program'] }))).toEqual({
      reason: 'RunContainerError',
      message: 'exec: "/no/such/program": no such file or directory',
    });
    expect(await refusal(testPod({ command: ['/etc/passwd'] }))).toMatchObject({
      message: 'exec: "/etc/passwd": permission denied',
    });
    expect(await refusal(testPod({ command: ['true'], workingDir: '/no/such/dir' }))).toMatchObject({
      reason: 'RunContainerError',
      message: expect.stringContaining('"/no/such/dir"') as string,
    });
  });
});

describe('environment', () => {
  const print = ['env', '-0'];
  const parse = (text: string): Record<string, string> =>
    Object.fromEntries(
      text
        .split('\0')
        .filter((line) => line !== '')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );

  test('inherited, then plugins, then the pod; nothing else', async () => {
    runtime = newRuntime({ inherited: { PATH: '/usr/bin:/bin', HOME: '/root', SECRET_OF_THE_MANAGER: 'x' } });
    const pod = testPod({
      command: print,
      env: [
        { name: 'BOTH', value: 'pod' },
        { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        { name: 'NS', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
        { name: 'UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } },
        { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
        { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      ],
    });
    const device = (hostPath: string) => ({ containerPath: '/dev/x', hostPath, permissions: 'rw' });
    const instance = await start(pod, 0, {
      ...NO_DEVICES,
      envs: new Map([
        ['PLUGIN', 'plugin'],
        ['BOTH', 'plugin'],
      ]),
      devices: [device('/dev/null'), device('/dev/zero')],
    });
    expect((await instance.ended).exitCode).toBe(0);
    const uid = pod.metadata.uid ?? '';
    expect(parse(await output(pod))).toEqual({
      PATH: '/usr/bin:/bin',
      HOME: '/root',
      HOSTNAME: pod.metadata.name,
      DEVMGR_CONTAINER: `${uid}/main/0`,
      DEVMGR_DEVICE_PATHS: '/dev/null:/dev/zero',
      PLUGIN: 'plugin',
      BOTH: 'pod',
      POD: pod.metadata.name,
      NS: 'default',
      UID: uid,
      NODE: 'here',
    });
    expect(log.lines).toMatchObject([{ fields: { what: 'env IP: this kind of valueFrom is not supported' } }]);
  });

  test('names a shell would drop or change arrive as they are', async () => {
    const odd = {
      'a.b-c': '1',
      IFS: ',',
      PWD: '/nonsense',
      PS1: '> ',
      OPTIND: '5',
      SHELLOPTS: 'xtrace',
      empty: '',
      multi: 'a\nb',
    };
    const pod = testPod({ command: print, env: Object.entries(odd).map(([name, value]) => ({ name, value })) });
    expect((await (await start(pod)).ended).exitCode).toBe(0);
    expect(parse(await output(pod))).toMatchObject(odd);
  });
});

describe('stopping', () => {
  test('SIGTERM goes to the whole group, children included', async () => {
    const script = 'trap "echo bye; exit 3" TERM; sleep 1000 & echo ready; wait';
    const pod = testPod({ command: ['sh', '-c', script] });
    const instance = await start(pod);
    await until('the container', async () => (await output(pod)) === 'ready\n');
    instance.stop(20_000);
    expect(await instance.ended).toMatchObject({ exitCode: 3 });
    expect(await output(pod)).toBe('ready\nbye\n');
    expect(processesMentioning(pod.metadata.uid ?? '-')).toEqual([]);
  });

  test('a signal right after the start is not lost', async () => {
    const pods = Array.from({ length: 40 }, () => testPod({ command: ['sleep', '1000'] }));
    const ends = pods.map(async (pod) => {
      const instance = await start(pod);
      instance.stop(15_000);
      return (await instance.ended).exitCode;
    });
    expect(new Set(await Promise.all(ends))).toEqual(new Set([143]));
  });

  test('SIGKILL follows after the grace period', async () => {
    const pod = testPod({ command: ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'] });
    const instance = await start(pod);
    await until('the container', async () => (await output(pod)) === 'ready\n');
    instance.stop(300);
    expect(await instance.ended).toMatchObject({ exitCode: 137, signal: 9 });
  });

  test('a shorter grace period counts, a longer one does not', async () => {
    const pod = testPod({ command: ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'] });
    const instance = await start(pod);
    await until('the container', async () => (await output(pod)) === 'ready\n');
    instance.stop(3_600_000);
    instance.stop(0);
    instance.stop(3_600_000);
    expect(await instance.ended).toMatchObject({ exitCode: 137 });
  });

  test('what the main process leaves behind is killed: in its group, in sessions of their own, without environment', async () => {
    const script =
      'sleep 1001 & setsid sleep 1002 & env -i sleep 1003 & echo $!; setsid sh -c "setsid sleep 1004 & echo"; exit 0';
    const pod = testPod({ command: ['sh', '-c', script] });
    const instance = await start(pod);
    expect(await instance.ended).toMatchObject({ exitCode: 0 });
    expect(processesMentioning(pod.metadata.uid ?? '-')).toEqual([]);
    const bare = Number((await output(pod)).split('\n')[0]);
    expect(bare).toBeGreaterThan(1);
    expect(['Z', undefined]).toContain(readProcess(bare)?.state);
  });
});

describe('output', () => {
  test('rotation keeps the newest parts, readers lose nothing on the way', async () => {
    let fire: () => void = () => undefined;
    const clock = new SystemClock();
    const rotating = Object.assign(Object.create(clock) as SystemClock, {
      setTimeout: (callback: () => void, delayMs: number) => {
        if (delayMs !== 10_000) return clock.setTimeout(callback, delayMs);
        fire = callback;
        return () => undefined;
      },
    });
    runtime = newRuntime({ clock: rotating, logLimits: { maxBytes: 1000, maxFiles: 3 } });
    const gate = join(directory.path, 'gate');
    const script =
      'for i in 1 2 3 4; do seq -f "$i-%04g" 200; until [ -e "$GATE-$i" ]; do sleep 0.02; done; done; echo end';
    const pod = testPod({ command: ['sh', '-c', script], env: [{ name: 'GATE', value: gate }] });
    const instance = await start(pod);
    const followed = output(pod, 0, { follow: true });
    const path = join(directory.path, 'pods', pod.metadata.uid ?? '', 'main', '0.log');
    for (let round = 1; round <= 4; round += 1) {
      await until('output', async () => (await readFile(path, 'utf8')).endsWith(`${String(round)}-0200\n`));
      fire();
      await until('rotation', async () => (await stat(path)).size === 0);
      await writeFile(`${gate}-${String(round)}`, '');
    }
    expect(await instance.ended).toMatchObject({ exitCode: 0 });
    const all = [1, 2, 3, 4].map((i) =>
      Array.from({ length: 200 }, (_, n) => `${String(i)}-${String(n + 1).padStart(4, '0')}\n`).join(''),
    );
    expect(await followed).toBe(`${all.join('')}end\n`);
    // Two old parts and the current file are kept.
    expect(await output(pod)).toBe(`${all.slice(2).join('')}end\n`);
    expect(await output(pod, 0, { tailLines: 3 })).toBe('4-0199\n4-0200\nend\n');
    expect(await output(pod, 0, { tailLines: 202 })).toBe(`3-0200\n${all[3] ?? ''}end\n`);
    expect(await output(pod, 0, { tailLines: 0 })).toBe('');
  });

  test('the attempt before the last keeps its output, older ones do not', async () => {
    const pod = testPod({ command: ['sh', '-c', 'echo "$DEVMGR_CONTAINER"'] });
    for (const attempt of [0, 1, 2]) await (await start(pod, attempt)).ended;
    expect(await output(pod, 0)).toBe('');
    expect(await output(pod, 1)).toContain('/main/1');
    expect(await output(pod, 2)).toContain('/main/2');
  });

  test('following ends with the container, or with the reader', async () => {
    const pod = testPod({ command: ['sh', '-c', 'echo one; sleep 1000'] });
    const instance = await start(pod);
    const reader = new AbortController();
    const key = { podUid: pod.metadata.uid ?? '', container: 'main', attempt: 0 };
    const followed = collect(runtime.readLog(key, { follow: true, signal: endless }));
    const left = collect(runtime.readLog(key, { follow: true, signal: reader.signal }));
    reader.abort();
    await left;
    await until('output', async () => (await output(pod)) === 'one\n');
    instance.stop(0);
    expect(await followed).toBe('one\n');
  });
});
