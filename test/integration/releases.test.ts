import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ReleaseView } from '@devmgr/manager';
import { fail, hang, until, type ScriptedPluginOptions } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { listProcesses, isDead, wasStartedWith } from '../../packages/manager/src/process-identity.ts';
import { DevmgrProcess, startManager } from '../support/devmgr-process.ts';
import { DaemonBench } from './daemon-bench.ts';

const R = 'example.com/gpu';
const ASKS: NonNullable<ScriptedPluginOptions['script']>['options'] = () => ({
  preStartRequired: false,
  getPreferredAllocationAvailable: false,
  releaseRequired: true,
});
/** Short pauses: nothing here depends on how long they are. */
const QUICK = { releaseBackOff: '20ms', releaseBackOffMax: '40ms', quarantineAfter: 3 };

let bench: DaemonBench;
afterEach(async () => {
  await bench.close();
});

async function start(settings: Readonly<Record<string, unknown>> = QUICK, more: object = {}): Promise<void> {
  bench = await DaemonBench.start({ resources: { [R]: settings }, ...more });
}

const pod = (name: string, count: number) =>
  bench.pod(name, { containers: [{ name: 'main', resources: { limits: { [R]: String(count) } } }] });

async function runAndRemove(name: string, count: number): Promise<void> {
  await pod(name, count);
  await bench.phase(name, 'Running');
  await bench.remove(name);
}

const states = async (): Promise<string[]> => (await bench.api.devices(R)).map(({ id, state }) => `${id} ${state}`);
const release = (what: string, accept: (view: ReleaseView) => boolean): Promise<ReleaseView> =>
  until(what, async () => (await bench.api.releases()).find(accept));
const noRelease = (): Promise<unknown> =>
  until('no release to be left', async () => (await bench.api.releases()).length === 0);
const reasons = async (): Promise<string[]> => (await bench.api.listEvents()).items.map(({ reason }) => reason);

/** An executable file; nothing but a shell is needed to write what it does. */
function script(name: string, text: string): string {
  const path = join(bench.rootDir, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe('devices whose plugin asks for a release', () => {
  it('are told as one call an allocation, and free when that has succeeded', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0', 'd1', 'd2'], { script: { options: ASKS } });
    await runAndRemove('web', 2);
    const [call] = await plugin.waitForCalls('Released');
    expect(call?.request).toMatchObject({
      releaseId: expect.stringMatching(/^release-[0-9a-f]{10}$/) as string,
      deviceIds: ['d0', 'd1'],
      podNamespace: 'default',
      podName: 'web',
      podUid: expect.stringMatching(/./) as string,
      attempt: 1,
    });
    await noRelease();
    expect(await states()).toEqual(['d0 Free', 'd1 Free', 'd2 Free']);
    expect(plugin.callsOf('Released')).toHaveLength(1);
  });

  it('are handed out to nobody before, count as held, and stay allocatable; a pod that is short of them waits', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0', 'd1'], { script: { options: ASKS, released: hang() } });
    await runAndRemove('first', 1);
    await plugin.waitForCalls('Released');
    expect(await bench.api.devices(R)).toMatchObject([
      { id: 'd0', state: 'Releasing', pod: 'default/first', container: 'main' },
      { id: 'd1', state: 'Free', pod: null },
    ]);
    expect(await bench.api.resources()).toMatchObject([{ capacity: 2, allocatable: 2, allocated: 0 }]);
    await pod('second', 1);
    await bench.phase('second', 'Running');

    const explained = await bench.api.explainLimits({ [R]: 1 });
    expect(explained).toMatchObject({
      verdict: 'WouldWait',
      summary: `Admission would wait for devices of ${R} that are being released.`,
      resources: [{ held: 2, free: 0, holders: [{ pod: 'default/second' }, { pod: 'release of pod default/first' }] }],
    });
    await pod('third', 1);
    await bench.podWhere(
      'third',
      'third to wait',
      ({ status }) => status?.conditions?.some(({ reason }) => reason === 'WaitingForRelease') === true,
    );
    expect(await reasons()).toContain('WaitingForRelease');
    expect(await bench.api.explainPod('default', 'third')).toMatchObject({
      verdict: 'Waiting',
      reason: 'WaitingForRelease',
      summary: `Admission waits for devices of ${R} that are being released.`,
    });
    // The call in flight ends with its plugin's streams; the next one is answered.
    plugin.script({ released: () => ({}) });
    await plugin.kill();
    await plugin.listen();
    await plugin.register();
    const third = await bench.phase('third', 'Running');
    expect(third.status?.containerStatuses?.[0]?.allocatedResourcesStatus?.[0]?.resources[0]?.resourceID).toBe('d0');
  });

  it('are tried again with the same id and growing numbers, are quarantined after some failures, and come back', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0'], { script: { options: ASKS, released: fail('still resetting') } });
    await runAndRemove('web', 1);
    const view = await release('quarantine', ({ state }) => state === 'Quarantined');
    expect(view).toMatchObject({
      resource: R,
      devices: ['d0'],
      pod: 'default/web',
      container: 'main',
      hook: 'plugin',
      failures: 3,
      lastError: 'rpc error: code = Unknown desc = still resetting',
    });
    expect(await states()).toEqual(['d0 Quarantined']);
    // Nobody waits for what is quarantined: the kubelet's answer.
    await pod('late', 1);
    const late = await bench.phase('late', 'Failed');
    expect(late.status?.message).toContain(
      `requested number of devices unavailable for ${R}. Requested: 1, Available: 0`,
    );
    expect(await bench.api.devices(R)).toMatchObject([{ state: 'Quarantined', pod: 'default/web' }]);
    plugin.script({ released: () => ({}) });
    await noRelease();
    expect(await states()).toEqual(['d0 Free']);
    const calls = plugin.callsOf('Released').map(({ request }) => request as { releaseId: string; attempt: number });
    expect(new Set(calls.map(({ releaseId }) => releaseId)).size).toBe(1);
    expect(calls.map(({ attempt }) => attempt)).toEqual(calls.map((_, index) => index + 1));
    expect(await reasons()).toEqual(expect.arrayContaining(['ReleaseFailed', 'DeviceQuarantined', 'DeviceReleased']));
  });

  it('wait for a plugin that is away, over a restart of the manager, and for a call that hangs no longer than its deadline', async () => {
    await start({ ...QUICK, releaseTimeout: '100ms' });
    const plugin = await bench.plugin(R, ['d0'], { script: { options: ASKS, released: hang() } });
    await pod('web', 1);
    await bench.phase('web', 'Running');
    await plugin.close();
    await until('the plugin to be away', async () => (await bench.api.plugins())[0]?.state === 'Disconnected');
    await bench.remove('web');
    expect(await release('waiting', ({ waitingForPlugin }) => waitingForPlugin)).toMatchObject({ attempts: 0 });
    await bench.restart();
    expect(await release('waiting again', ({ waitingForPlugin }) => waitingForPlugin)).toMatchObject({
      devices: ['d0'],
      pod: 'default/web',
    });
    expect(await states()).toEqual(['d0 Releasing']);
    await plugin.listen();
    await plugin.register();
    await release('a timeout', ({ lastError }) => lastError?.includes('DeadlineExceeded') === true);
    plugin.script({ released: () => ({}) });
    await noRelease();
  });

  it('that vanished stay in the list until they are released, or given up by hand', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0', 'd1'], { script: { options: ASKS, released: fail('no such device') } });
    await runAndRemove('web', 1);
    plugin.list(['d1']);
    await until('the list', async () => (await bench.api.resources())[0]?.capacity === 1);
    expect(await states()).toEqual([expect.stringMatching(/^d0 (Releasing|Quarantined)$/), 'd1 Free']);
    const { name } = await release('the release', () => true);
    await bench.api.deleteRelease(name);
    expect(await states()).toEqual(['d1 Free']);
    await expect(bench.api.deleteRelease(name)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await bench.restart();
    expect(await bench.api.releases()).toEqual([]);
  });

  it('are released once though an init container and the app container had them', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0', 'd1'], { script: { options: ASKS } });
    const limits = { limits: { [R]: '1' } };
    await bench.pod('web', {
      initContainers: [{ name: 'init', command: ['true'], resources: { limits: { [R]: '2' } } }],
      containers: [{ name: 'main', resources: limits }],
    });
    await bench.phase('web', 'Running');
    await bench.remove('web');
    await noRelease();
    const ids = plugin.callsOf('Released').map(({ request }) => (request as { deviceIds: string[] }).deviceIds);
    expect(ids.sort()).toEqual([['d0'], ['d1']]);
  });

  it('that were allocated for a pod which was refused after all are released too', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0'], { script: { options: ASKS } });
    await bench.plugin('example.com/other', ['o0'], { script: { allocate: fail('no') } });
    await bench.pod('web', {
      containers: [{ name: 'main', resources: { limits: { [R]: '1', 'example.com/other': '1' } } }],
    });
    await bench.phase('web', 'Failed');
    await plugin.waitForCalls('Released');
    await noRelease();
    expect(await states()).toEqual(['d0 Free']);
  });

  it('of a plugin that does not ask are free at once, and it is never called', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0']);
    await runAndRemove('web', 1);
    expect(await states()).toEqual(['d0 Free']);
    expect(await bench.api.releases()).toEqual([]);
    expect(plugin.callsOf('Released')).toEqual([]);
  });

  it('that belong to a lease are released, and a patient lease waits for them', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d0'], { script: { options: ASKS, released: fail('not yet') } });
    await runAndRemove('web', 1);
    const ask = async (waitForDevicesMs: number): Promise<string[]> => {
      const said: string[] = [];
      const wish = { limits: { [R]: 1 }, command: ['true'], waitForDevicesMs };
      for await (const message of bench.api.lease(wish, new AbortController().signal)) {
        said.push(message.type);
        if (message.type === 'waiting') plugin.script({ released: () => ({}) });
        if (message.type === 'granted') await bench.api.endLease(message.uid, 0);
      }
      return said;
    };
    expect(await ask(0)).toEqual(['refused']);
    expect((await ask(20_000)).at(-1)).toBe('granted');
    await until('the lease to be released', () => plugin.callsOf('Released').length >= 2);
    await noRelease();
  });
});

describe('the command line', () => {
  it('shows what is being released, why it takes so long, and gives it up when told twice', async () => {
    await start({ ...QUICK, quarantineAfter: 1, releaseBackOffMax: '60s' });
    await bench.plugin(R, ['d0'], { script: { options: ASKS, released: fail('stuck') } });
    await runAndRemove('web', 1);
    const { name } = await release('quarantine', ({ state }) => state === 'Quarantined');
    const devmgr = async (...args: string[]): Promise<string> => {
      const command = new DevmgrProcess(args, { rootDir: bench.rootDir });
      return `${String(await command.exited)} ${command.output}`;
    };
    expect(await devmgr('get', 'devices')).toMatch(/d0 +Healthy +<none> +Quarantined +default\/web/);
    expect(await devmgr('get', 'releases', '-o', 'wide')).toMatch(
      new RegExp(`${name} +${R} +d0 +Quarantined +default/web +1 .* plugin in \\d+s +rpc error: .*stuck`),
    );
    const described = await devmgr('describe', 'device', 'd0');
    for (const line of [/Failures: +1/, /Last Error: +rpc error: .*stuck/, /Next: +plugin in \d+s/]) {
      expect(described).toMatch(line);
    }
    expect(await devmgr('describe', 'release', name)).toMatch(/Pod: +default\/web/);
    expect(await devmgr('delete', 'release', name)).toMatch(/^2 [^]*--force/);
    expect(await devmgr('delete', 'release', name, '--force')).toBe(`0 release "${name}" deleted\n`);
    expect(await devmgr('delete', `release/${name}`, '--force')).toMatch(/^3 /);
    expect(await states()).toEqual(['d0 Free']);
  });
});

describe('devices with command hooks', () => {
  it('are released by the command first, then by the plugin, with everything in the environment', async () => {
    await start({ ...QUICK, onRelease: ['/bin/sh', '-c', 'echo "$0 $1" >&2; exec "$DEVMGR_TEST_HOOK"', 'a b', '$x'] });
    const seen = join(bench.rootDir, 'seen');
    process.env['DEVMGR_TEST_HOOK'] = script('hook', `env | grep ^DEVMGR_ | sort >> ${seen}; pwd >> ${seen}`);
    const plugin = await bench.plugin(R, ['d0', 'd1'], {
      script: { options: ASKS, released: () => (existsSync(seen) ? {} : fail('too early')()) },
    });
    await runAndRemove('web', 2);
    await noRelease();
    expect(plugin.callsOf('Released')).toHaveLength(1);
    const lines = readFileSync(seen, 'utf8').trim().split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'DEVMGR_ATTEMPT=1',
        'DEVMGR_CONTAINER_NAME=main',
        'DEVMGR_DEVICE_IDS=d0,d1',
        'DEVMGR_HOOK=onRelease',
        'DEVMGR_POD_NAME=web',
        'DEVMGR_POD_NAMESPACE=default',
        expect.stringMatching(/^DEVMGR_POD_UID=.+/) as string,
        `DEVMGR_RESOURCE=${R}`,
        '/',
      ]),
    );
    delete process.env['DEVMGR_TEST_HOOK'];
  });

  it('say why they failed: exit code with the last line of standard error, a missing program, one that is not executable', async () => {
    await start({ ...QUICK, onRelease: ['/bin/sh', '-c', 'echo one >&2; echo two >&2; exit 3'] });
    await bench.plugin(R, ['d0']);
    await runAndRemove('web', 1);
    const failed = await release('a failure', ({ lastError }) => lastError !== null);
    expect(failed).toMatchObject({
      hook: 'command',
      lastError: `the onRelease command of ${R} ended with exit code 3: two`,
    });
    await bench.close();

    await start({ ...QUICK, onRelease: ['/nowhere/hook'] });
    await bench.plugin(R, ['d0']);
    await runAndRemove('web', 1);
    const missing = await release('a failure', ({ lastError }) => lastError !== null);
    expect(missing.lastError).toContain('cannot be run: there is no program /nowhere/hook: correct resources.');
    const { items } = await bench.api.listEvents();
    expect(items.find(({ reason }) => reason === 'ReleaseFailed')?.message).toContain('there is no program');
    await bench.close();

    const file = join(mkdtempSync(join(tmpdir(), 'dm-')), 'plain');
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o644 });
    await start({ ...QUICK, onRelease: [file] });
    await bench.plugin(R, ['d0']);
    await runAndRemove('web', 1);
    const plain = await release('a failure', ({ lastError }) => lastError !== null);
    expect(plain.lastError).toContain(`cannot be run: ${file} is not executable`);
    rmSync(dirname(file), { recursive: true });
  });

  it('are killed with all their children at the deadline, also when they ignore SIGTERM, and when the manager stops', async () => {
    const command = ['/bin/sh', '-c', 'trap "" TERM; sleep 1000 & echo waiting >&2; while :; do sleep 1000; done'];
    await start({ ...QUICK, hookTimeout: '200ms', onRelease: command });
    await bench.plugin(R, ['d0']);
    const hooks = (): number[] =>
      listProcesses()
        .filter((one) => !isDead(one) && wasStartedWith(one.pid, `DEVMGR_HOOK_OWNER=${join(bench.rootDir, 'devmgr')}`))
        .map(({ pid }) => pid);
    await runAndRemove('web', 1);
    await until('the hook to run', () => hooks().length >= 2);
    const timedOut = await release('a failure', ({ lastError }) => lastError !== null);
    expect(timedOut.lastError).toBe(`the onRelease command of ${R} did not end within 0.2 s and was killed: waiting`);
    await until('the hook to run again', () => hooks().length >= 2);
    await bench.stop();
    expect(hooks()).toEqual([]);
  });

  it('of a manager that was killed are ended by the next one before it runs any', async () => {
    bench = new DaemonBench({});
    const seen = join(bench.rootDir, 'seen');
    // The first run stays; the second agrees only when nothing of the first is left. (A zombie has no command line.)
    const hook = script(
      'hook',
      `if [ -e ${seen} ]; then read first < ${seen}; [ -z "$(tr -d '\\0' < /proc/$first/cmdline 2>/dev/null)" ] || exit 1; exit 0; fi
echo $$ > ${seen}.new; mv ${seen}.new ${seen}; while :; do sleep 1000; done`,
    );
    const config = join(bench.rootDir, 'config.json');
    writeFileSync(config, JSON.stringify({ resources: { [R]: { ...QUICK, onRelease: [hook], quarantineAfter: 1 } } }));
    const first = await startManager(bench.rootDir, ['--config', config]);
    try {
      await bench.plugin(R, ['d0']);
      await runAndRemove('web', 1);
      await until('the hook to run', () => existsSync(seen));
    } finally {
      await first.manager.end('SIGKILL');
    }
    const second = await startManager(bench.rootDir, ['--config', config]);
    try {
      await until('the release or its failure', async () => {
        const [one] = await bench.api.releases();
        if (one !== undefined && one.lastError !== null) throw new Error(one.lastError);
        return one === undefined;
      });
    } finally {
      await second.manager.end();
    }
  });

  it('run before each start of a container, after PreStartContainer; a failure fails the start and is told', async () => {
    await start({ beforeUse: ['/bin/sh', '-c', 'exec "$DEVMGR_TEST_HOOK"'] });
    const seen = join(bench.rootDir, 'seen');
    const ready = join(bench.rootDir, 'ready');
    process.env['DEVMGR_TEST_HOOK'] = script(
      'hook',
      `echo "$DEVMGR_HOOK $DEVMGR_DEVICE_IDS $DEVMGR_ATTEMPT" >> ${seen}\n[ -e ${ready} ] || { echo not ready >&2; exit 1; }`,
    );
    const plugin = await bench.plugin(R, ['d0'], {
      script: { options: () => ({ preStartRequired: true, getPreferredAllocationAvailable: false }) },
    });
    await pod('web', 1);
    const waiting = await bench.podWhere(
      'web',
      'web to wait',
      ({ status }) => status?.containerStatuses?.[0]?.state.waiting?.message !== undefined,
    );
    expect(waiting.status?.containerStatuses?.[0]?.state.waiting).toEqual({
      reason: 'CreateContainerConfigError',
      message: `the beforeUse command of ${R} ended with exit code 1: not ready`,
    });
    expect(plugin.callsOf('PreStartContainer')).toHaveLength(1);
    expect(readFileSync(seen, 'utf8')).toBe('beforeUse d0 1\n');
    const { items } = await bench.api.listEvents('default');
    expect(items.find(({ reason }) => reason === 'Failed')?.message).toContain('not ready');
    // Another pod's start does not wait for this one's back-off.
    writeFileSync(ready, '');
    await bench.remove('web');
    await pod('next', 1);
    await bench.phase('next', 'Running');
    delete process.env['DEVMGR_TEST_HOOK'];
  });
});
