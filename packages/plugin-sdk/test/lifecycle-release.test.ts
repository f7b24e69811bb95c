import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { HookError } from '@devmgr/plugin-sdk';
import type { PluginLifecycle } from '@devmgr/plugin-sdk';
import { startFakePodResources, until } from '@devmgr/plugin-sdk/testing';
import type { FakePodResources } from '@devmgr/plugin-sdk/testing';
import { closing } from './helpers.ts';
import { gate, resource, startLifeBench, untilPhases } from './lifecycle-kit.ts';
import type { LifeBench } from './lifecycle-kit.ts';

test('a plugin that wants to hear of releases says so, and only such a one', async () => {
  const bench = await startLifeBench();
  const plain = bench.serve({ health: () => true });
  expect((await bench.session()).options.releaseRequired).toBeUndefined();
  await plain.close();
  bench.serve({ released: () => undefined });
  expect((await bench.session()).options.releaseRequired).toBe(true);
});

test('a release is answered once its hook succeeded; until then the device is Releasing', async () => {
  const bench = await startLifeBench();
  const step = gate();
  const calls: unknown[] = [];
  const plugin = bench.serve({
    released: async (devices, { releaseId, pod, attempt, progress }) => {
      calls.push([devices.map(({ id }) => id), releaseId, pod?.name, attempt]);
      progress(30, 'wiping');
      await step.passed;
    },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  const released = session.released(['a'], { releaseId: 'r7', pod: 'default/job' });
  await untilPhases(plugin, 'a:Releasing b:Ready');
  await bench.untilHealthy('b');
  await until('the report', () => bench.manager.reports.at(-1)?.devices[0]?.message === 'wiping');
  expect(bench.manager.reports.at(-1)?.devices[0]).toMatchObject({ phase: 'Releasing', progressPercent: 30 });
  // The manager lost patience and asks again: it is the same release.
  const again = session.released(['a'], { releaseId: 'r7' });
  step.open();
  await Promise.all([released, again]);
  await bench.untilHealthy('a', 'b');
  await session.released(['a'], { releaseId: 'r7' });
  expect(calls).toEqual([[['a'], 'r7', 'job', 1]]);
});

test('a release that fails is an error with its reason; it is tried again, at once when the manager asks', async () => {
  const bench = await startLifeBench();
  let works = false;
  const plugin = bench.serve({
    released: () => {
      if (!works) throw new HookError('StillBusy', 'pid 7 has it open');
    },
    limits: { quarantineAfter: 2, retryFirstMs: 60_000 },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  await expect(session.released(['a'])).rejects.toMatchObject({ details: 'StillBusy: pid 7 has it open' });
  await expect(session.released(['a'])).rejects.toThrow('StillBusy');
  await untilPhases(plugin, 'a:Quarantined b:Ready');
  await expect(session.allocate(['a'])).rejects.toThrow(/Quarantined: StillBusy/);
  works = true;
  await session.released(['a']);
  await untilPhases(plugin, 'a:Ready b:Ready');
});

test('a disk that refuses delays what must not be forgotten, and loses nothing', async () => {
  const bench = await startLifeBench();
  let releases = 0;
  const plugin = bench.serve({
    released: () => {
      releases += 1;
    },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  await rm(bench.stateDir, { recursive: true });
  await writeFile(bench.stateDir, 'no directory any more');
  await expect(session.allocate(['b']), 'nobody would know that it is in use').rejects.toThrow(/ENOTDIR|EEXIST/);
  await expect(session.released(['a'])).rejects.toThrow('StateNotSaved');
  await untilPhases(plugin, 'a:Releasing b:Ready');
  expect(releases).toBe(0);
  await rm(bench.stateDir);
  await untilPhases(plugin, 'a:Ready b:Ready');
  await session.released(['a']);
  expect(releases).toBe(1);
});

test('without reset or release hook nothing is written', async () => {
  const bench = await startLifeBench();
  bench.serve({ init: () => undefined });
  await (await bench.session()).allocate(['a']);
  await expect(readdir(bench.stateDir)).rejects.toThrow('ENOENT');
});

test('a reset before use runs before each start, and its failure stops the start', async () => {
  const bench = await startLifeBench();
  const calls: string[] = [];
  let fails = false;
  const plugin = bench.serve(
    {
      reset: (devices) => {
        calls.push(`reset ${devices.map(({ id }) => id).join()}`);
        if (fails) throw new HookError('ResetTimedOutInside', 'no answer from the card');
      },
      resetWhen: 'before',
      limits: { quarantineAfter: 2 },
    },
    {
      preStart: (ids) => {
        calls.push(`start ${ids.join()}`);
      },
    },
  );
  const session = await bench.session();
  expect(session.options.preStartRequired).toBe(true);
  await session.allocate(['a']);
  await session.preStart(['a']);
  expect(calls).toEqual(['reset a', 'start a']);
  fails = true;
  await expect(session.preStart(['a'])).rejects.toThrow('no answer from the card');
  await expect(session.preStart(['a'])).rejects.toThrow('no answer from the card');
  await untilPhases(plugin, 'a:Quarantined b:Ready');
  fails = false;
  await session.preStart(['a']);
  await untilPhases(plugin, 'a:Ready b:Ready');
  expect(calls.at(-1)).toBe('start a');
});

/** Four devices in two groups: a b, c d. */
const grouped: Pick<PluginLifecycle, 'resetGroup'> = { resetGroup: ({ id }) => (id < 'c' ? 'left' : 'right') };
const four = { devices: ['a', 'b', 'c', 'd'] };

test('a group is reset as one, after the last of its devices was given back', async () => {
  const bench = await startLifeBench();
  const resets: string[] = [];
  const plugin = bench.serve(
    {
      ...grouped,
      reset: (devices) => {
        resets.push(devices.map(({ id }) => id).join(''));
      },
    },
    four,
  );
  const session = await bench.session();
  await session.allocate(['a']);
  await session.allocate(['b', 'c']);
  await expect(session.released(['a'], { releaseId: 'r1' })).rejects.toThrow(
    /GroupInUse: a can only be reset together with b/,
  );
  expect(resets).toEqual([]);
  await untilPhases(plugin, 'a:Releasing b:Ready c:Ready d:Ready');
  await session.released(['b', 'c'], { releaseId: 'r2' });
  await session.released(['a'], { releaseId: 'r1' });
  await untilPhases(plugin, 'a:Ready b:Ready c:Ready d:Ready');
  expect(resets.sort(), 'a was reset along with b, once').toEqual(['ab', 'cd']);
});

test('while a group is reset none of it is offered; a group with a device in use is not reset before another use', async () => {
  const bench = await startLifeBench();
  const step = gate();
  const plugin = bench.serve({ ...grouped, reset: () => step.passed, resetWhen: 'before' }, four);
  const session = await bench.session();
  await session.allocate(['a']);
  const started = session.preStart(['a']);
  await untilPhases(plugin, 'a:Resetting b:Resetting c:Ready d:Ready');
  await bench.untilHealthy('c', 'd');
  const allocated = session.allocate(['b']); // It waits for the end of the reset.
  step.open();
  await Promise.all([started, allocated]);
  await bench.untilHealthy('a', 'b', 'c', 'd');
  await expect(session.preStart(['a'])).rejects.toThrow(/a can only be reset together with b, which is in use/);
  await session.preStart(['a', 'b']);
});

// ---- A kubelet says nothing of releases: PodResources is asked. ------------------------------------------------------

async function startKubelet(): Promise<LifeBench & { readonly pods: FakePodResources }> {
  const bench = await startLifeBench('kubelet');
  const pods = closing(await startFakePodResources(join(bench.rootDir, 'pod-resources', 'kubelet.sock')));
  return { ...bench, pods };
}

test('kubelet: a device that no pod holds any more is released, and is not offered meanwhile', async () => {
  const { pods, ...bench } = await startKubelet();
  const step = gate();
  const calls: unknown[] = [];
  const plugin = bench.serve({
    released: async (devices, { pod }) => {
      calls.push([devices.map(({ id }) => id), `${pod?.namespace ?? ''}/${pod?.name ?? ''}`]);
      await step.passed;
    },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  pods.hold('default/job', resource, ['a']);
  await until('the pod to be known', async () => (await stateOf(bench)).includes('"job"'));
  pods.hold('default/job', resource, []);
  await untilPhases(plugin, 'a:Releasing b:Ready');
  await bench.untilHealthy('b');
  step.open();
  await bench.untilHealthy('a', 'b');
  expect(calls).toEqual([[['a'], 'default/job']]);
});

test('kubelet: devices in use from before the plugin came are known, too', async () => {
  const { pods, ...bench } = await startKubelet();
  pods.hold('default/old', resource, ['b']);
  const calls: string[] = [];
  bench.serve({
    released: (devices) => {
      calls.push(devices.map(({ id }) => id).join());
    },
  });
  await bench.session();
  pods.hold('default/old', resource, []);
  await until('the release', () => calls.length > 0);
  expect(calls).toEqual(['b']);
});

test('kubelet: what is handed out again before anybody noticed is released first', async () => {
  const { pods, ...bench } = await startKubelet();
  const calls: string[] = [];
  const lifecycle: PluginLifecycle = {
    released: (devices) => {
      calls.push(devices.map(({ id }) => id).join());
    },
    limits: { settleMs: 2 ** 30 }, // No look of its own concludes anything.
  };
  bench.serve(lifecycle, {
    allocate: (ids) => {
      calls.push(`allocate ${ids.join()}`);
      return [];
    },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  // Two containers of a pod, one after the other: nothing was given back.
  pods.hold('default/job', resource, ['a']);
  await session.allocate(['a']);
  pods.hold('default/job', resource, []);
  await session.allocate(['a']);
  expect(calls).toEqual(['allocate a', 'allocate a', 'a', 'allocate a']);
});

test('kubelet: silence of PodResources, or of a kubelet that only just came up, releases nothing', async () => {
  const { pods, ...bench } = await startKubelet();
  let calls = 0;
  const plugin = bench.serve({
    released: () => {
      calls += 1;
    },
    limits: { settleMs: 2 ** 30 },
  });
  const session = await bench.session();
  await session.allocate(['a']);
  pods.hold('default/job', resource, ['a']);
  await until('the pod to be known', async () => (await stateOf(bench)).includes('"job"'));
  pods.hold('default/job', resource, []);
  const seen = pods.lists;
  await until('more looks', () => pods.lists > seen + 3);
  await pods.close();
  await until('the problem in the log', () =>
    bench.log.lines.some(({ message }) => message.includes('cannot be learnt')),
  );
  expect(calls).toBe(0);
  expect(plugin.devices.map(({ phase }) => phase)).toEqual(['Ready', 'Ready']);
});

async function stateOf(bench: LifeBench): Promise<string> {
  const [file = ''] = await readdir(bench.stateDir).catch(() => []);
  return readFile(join(bench.stateDir, file), 'utf8').catch(() => '');
}
