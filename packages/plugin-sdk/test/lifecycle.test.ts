import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { HookError, servePlugin } from '@devmgr/plugin-sdk';
import type { PluginLifecycle } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import { QUICK, closing, temporaryDir } from './helpers.ts';
import { gate, phases, resource, startLifeBench, untilPhases } from './lifecycle-kit.ts';

test('nothing is registered before the driver is there, and the wait shows', async () => {
  const bench = await startLifeBench();
  let version: string | false = false;
  const plugin = bench.serve({ ready: () => version });
  await until('a report', () => bench.manager.reports.some(({ reason }) => reason === 'DriverNotReady'));
  expect(bench.manager.reports.at(-1)).toMatchObject({ resourceName: resource, phase: 'Preparing', endpoint: '' });
  expect(bench.manager.registrations).toHaveLength(0);
  expect(plugin.problem).toContain('DriverNotReady');
  version = '1.4.2';
  await plugin.registered;
  expect(plugin.driver).toMatchObject({ phase: 'Ready', version: '1.4.2' });
  await until('the report', () => bench.manager.reports.at(-1)?.phase === 'Serving');
  expect(bench.manager.reports.at(-1)).toMatchObject({ driverVersion: '1.4.2', reason: '' });
  expect(plugin.problem).toBeUndefined();
});

test('a missing driver is installed once, with progress, and not again by the next process', async () => {
  const bench = await startLifeBench();
  const step = gate();
  let installed = false;
  let runs = 0;
  const lifecycle: PluginLifecycle = {
    ready: () => (installed ? '2.0' : false),
    install: {
      key: 'driver-2.0',
      run: async ({ progress }) => {
        runs += 1;
        progress(40, 'compiling');
        await step.passed;
        installed = true;
      },
    },
  };
  const plugin = bench.serve(lifecycle);
  await until('the progress', () => plugin.driver?.progress === 40);
  await until('its report', () => bench.manager.reports.at(-1)?.progressPercent === 40);
  expect(bench.manager.reports.at(-1)).toMatchObject({
    phase: 'Preparing',
    reason: 'InstallingDriver',
    message: 'compiling',
  });
  step.open();
  await plugin.registered;
  await plugin.close();
  // Marked as done, but not there: that is said, and nothing is installed over it.
  installed = false;
  const next = bench.serve(lifecycle);
  await until('the problem', () => next.problem?.includes('although driver-2.0 is installed'));
  expect(runs).toBe(1);
  next.recover();
  await next.registered;
  expect(runs).toBe(2);
});

test('an installer may be a command; its progress and its last word show', async () => {
  const bench = await startLifeBench();
  const marker = join(bench.rootDir, 'marker');
  const script =
    'echo progress 10 unpacking; test -e "$1" || { echo no headers >&2; exit 3; }; echo progress 90% almost';
  const plugin = bench.serve({
    ready: () => readFile(marker, 'utf8'),
    install: { key: 'k', command: ['sh', '-c', `${script}; echo 7 > "$1"`, 'install', marker] },
  });
  await until('the failure', () => plugin.problem?.includes('exit code 3: no headers'));
  expect(plugin.driver).toMatchObject({ reason: 'InstallFailed' });
  await writeFile(marker, '');
  await plugin.registered;
});

test('a device is not offered before it is initialised, and holds up no other', async () => {
  const bench = await startLifeBench();
  const slow = gate();
  const inits: string[] = [];
  const plugin = bench.serve({
    init: async ({ id }, { progress }) => {
      inits.push(id);
      if (id !== 'a') return;
      progress(50, 'programming');
      await slow.passed;
    },
  });
  await untilPhases(plugin, 'a:Initializing b:Ready');
  await bench.untilHealthy('b');
  await until('the report', () => bench.manager.reports.at(-1)?.devices[0]?.progressPercent === 50);
  expect(bench.manager.reports.at(-1)?.devices).toMatchObject([
    { id: 'a', phase: 'Initializing', message: 'programming' },
  ]);
  const session = await bench.session();
  const allocated = session.allocate(['a']); // A manager that did not see the list in time waits a little.
  slow.open();
  await allocated;
  await bench.untilHealthy('a', 'b');
  // Away and back: not the device it was.
  plugin.update(['b']);
  plugin.update(['a', 'b']);
  await untilPhases(plugin, 'a:Ready b:Ready');
  expect(inits).toEqual(['a', 'b', 'a']);
});

test('what fails again and again is quarantined with its reason, and recovers when told to', async () => {
  const bench = await startLifeBench();
  let works = false;
  const attempts: number[] = [];
  const plugin = bench.serve({
    init: ({ id }, { attempt }) => {
      if (id !== 'a') return;
      attempts.push(attempt);
      if (!works) throw new HookError('FirmwareTooOld', 'needs firmware 1.2');
    },
    limits: { quarantineAfter: 3 },
  });
  await untilPhases(plugin, 'a:Quarantined b:Ready');
  expect(attempts).toEqual([1, 2, 3]);
  expect(plugin.devices[0]).toMatchObject({
    reason: 'FirmwareTooOld',
    message: 'needs firmware 1.2 (3 times in a row)',
  });
  await expect((await bench.session()).allocate(['a'])).rejects.toThrow(
    /device a is Quarantined: FirmwareTooOld: needs/,
  );
  works = true;
  plugin.recover('a');
  await untilPhases(plugin, 'a:Ready b:Ready');
  expect(() => plugin.recover('x')).toThrow(/there is no device "x"/);
});

test('an init that outlives its deadline is told to stop, and never runs twice at once', async () => {
  const bench = await startLifeBench();
  let running = 0;
  let most = 0;
  let calls = 0;
  const plugin = bench.serve({
    init: async ({ id }, { signal }) => {
      if (id !== 'a' || calls >= 2) return;
      calls += 1;
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise((resolve) => setTimeout(resolve, 100));
      running -= 1;
    },
    limits: { initTimeoutMs: 30 },
  });
  await until('the deadline to show', () => plugin.devices[0]?.reason.endsWith('TimedOut'));
  await untilPhases(plugin, 'a:Ready b:Ready');
  expect(most).toBe(1);
});

test('init is remembered across processes only under the same key', async () => {
  const bench = await startLifeBench();
  const inits: string[] = [];
  let firmware = '1';
  const lifecycle: PluginLifecycle = {
    init: ({ id }) => {
      inits.push(id + firmware);
    },
    initKey: () => firmware,
  };
  for (firmware of ['1', '1', '2']) {
    const plugin = bench.serve(lifecycle);
    await untilPhases(plugin, 'a:Ready b:Ready');
    await plugin.close();
  }
  expect(inits).toEqual(['a1', 'b1', 'a2', 'b2']);
});

test('one bad answer does not make a device unhealthy, several do, and it recovers', async () => {
  const bench = await startLifeBench();
  const answers: string[] = ['ok', 'bad', 'ok', 'bad', 'bad'];
  let now = 'bad';
  const plugin = bench.serve(
    {
      health: () => {
        const answer = answers.shift() ?? now;
        if (answer === 'bad') throw new HookError('FellOffTheBus', 'XID 79');
        return answer === 'warm' ? { state: 'degraded', reason: 'Hot', message: '91 degrees' } : true;
      },
      limits: { failAfter: 3, recoverAfter: 2 },
    },
    { devices: ['a'] },
  );
  await untilPhases(plugin, 'a:Failing');
  expect(answers, 'a single bad answer between good ones was passed over').toEqual([]);
  expect(plugin.devices[0]).toMatchObject({ reason: 'FellOffTheBus', message: 'XID 79' });
  await bench.untilHealthy();
  now = 'warm';
  await untilPhases(plugin, 'a:Degraded');
  await bench.untilHealthy('a');
  await until('the report', () => bench.manager.reports.at(-1)?.devices[0]?.reason === 'Hot');
  now = 'ok';
  await untilPhases(plugin, 'a:Ready');
});

test('a device whose first check fails is never offered', async () => {
  const bench = await startLifeBench();
  const plugin = bench.serve({ health: ({ id }) => id !== 'a' });
  await untilPhases(plugin, 'a:Failing b:Ready');
  const lists = (await bench.session()).lists.flat().filter(({ ID }) => ID === 'a');
  expect(lists.every(({ health }) => health === 'Unhealthy')).toBe(true);
});

test('a device that flaps is held back, until told to recover', async () => {
  const bench = await startLifeBench();
  const plugin = bench.serve({ limits: { flapsAllowed: 2 } }, { devices: ['a'] });
  await plugin.registered;
  for (let flap = 0; flap < 3; flap += 1) {
    plugin.reportHealth('a', true);
    plugin.reportHealth('a', { state: 'failing', reason: 'Gone', message: 'no link' });
  }
  plugin.reportHealth('a', true);
  expect(plugin.devices[0]).toMatchObject({ phase: 'Failing', reason: 'Flapping' });
  plugin.recover('a');
  plugin.reportHealth('a', true);
  expect(phases(plugin)).toBe('a:Ready');
});

test('a check that never answers fails its device alone', async () => {
  const bench = await startLifeBench();
  const plugin = bench.serve({
    health: ({ id }) => (id === 'a' ? new Promise(() => undefined) : true),
    limits: { healthTimeoutMs: 50 },
  });
  await untilPhases(plugin, 'a:Failing b:Ready');
  expect(plugin.devices[0]?.reason).toBe('HealthTimedOut');
});

test('rescan looks for devices at once', async () => {
  const bench = await startLifeBench();
  let found = ['a'];
  const plugin = bench.serve({}, { devices: { scan: () => found, everyMs: 1_000_000 } });
  await untilPhases(plugin, 'a:Ready');
  found = ['a', 'b'];
  plugin.rescan();
  await untilPhases(plugin, 'a:Ready b:Ready');
});

test('a kubelet is asked for reports once; one that is away is no problem', async () => {
  const bench = await startLifeBench('kubelet');
  const plugin = bench.serve({});
  await plugin.registered;
  expect(plugin.problem).toBeUndefined();
  expect(bench.log.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
});

test('a state that cannot be read is set aside, not trusted and not fatal', async () => {
  const bench = await startLifeBench();
  const first = bench.serve({ released: () => undefined });
  await first.registered;
  await (await bench.session()).allocate(['a']);
  await first.close();
  const [file = ''] = await readdir(bench.stateDir);
  await writeFile(join(bench.stateDir, file), '{"version":1,');
  const second = bench.serve({ released: () => undefined });
  await untilPhases(second, 'a:Ready b:Ready');
  expect((await readdir(bench.stateDir)).some((name) => name.includes('.unreadable-'))).toBe(true);
  expect(bench.log.lines.some(({ level, message }) => level === 'error' && message.includes('cannot be read'))).toBe(
    true,
  );
});

test('a lifecycle that cannot work is refused at once', async () => {
  const pluginDir = await temporaryDir();
  const serve = (lifecycle: object) => () =>
    closing(servePlugin({ resource, devices: ['a'], pluginDir, timing: QUICK, lifecycle }));
  const cases: [object, RegExp][] = [
    [{ released: () => undefined }, /lifecycle\.stateDir is needed with released/],
    [{ reset: () => undefined, stateDir: 'relative' }, /lifecycle\.stateDir is needed with reset, as an absolute path/],
    [{ init: 'x' }, /lifecycle\.init is not a function/],
    [{ install: { key: '' } }, /install\.key is empty/],
    [{ install: { key: 'k' } }, /install needs either run or command/],
    [{ resetWhen: 'later' }, /resetWhen is "later"/],
    [{ limits: { initTimeout: 1 } }, /limits\.initTimeout does not exist/],
    [{ limits: { initTimeoutMs: -1 } }, /limits\.initTimeoutMs is not a number/],
  ];
  for (const [lifecycle, message] of cases) expect(serve(lifecycle), String(message)).toThrow(message);
});
