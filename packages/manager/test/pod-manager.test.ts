import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock, PodStation, processesMentioning, temporaryDirectory, until } from './pods-support.ts';

const RESOURCE = 'example.com/gpu';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let station: PodStation;

beforeEach(async () => {
  directory = await temporaryDirectory();
  station = new PodStation(directory.path);
});

afterEach(async () => {
  await station.close();
  expect(station.admission.stillRunning).toEqual([]);
  expect(processesMentioning(directory.path)).toEqual([]);
  await directory.remove();
});

const sh = (script: string, more: object = {}): object => ({ name: 'main', command: ['sh', '-c', script], ...more });
const limits = (count: number): object => ({ resources: { limits: { [RESOURCE]: count } } });

describe('a pod that runs', () => {
  test('is created, admitted, started, ready, and ends', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0', 'gpu-1']);
    const seen: string[] = [];
    station.pods.watch(({ type, object }) => seen.push(`${type} ${object.status?.phase ?? ''}`));
    const gate = join(directory.path, 'gate');
    const created = await station.create('job', {
      restartPolicy: 'Never',
      containers: [sh('echo "$DEVICES"; until [ -e "$0" ]; do sleep 0.05; done; exit 0', limits(1))].map(
        (container) => ({
          ...container,
          command: ['sh', '-c', 'echo "$DEVICES"; until [ -e "$0" ]; do sleep 0.05; done', gate],
        }),
      ),
    });
    expect(created.status).toMatchObject({ phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'True' }] });
    expect(created.metadata).toMatchObject({
      namespace: 'default',
      uid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    expect(created.spec).toMatchObject({ nodeName: 'here', terminationGracePeriodSeconds: 30 });
    expect(station.store.pods()).toHaveLength(1);

    const running = await station.phase('job', 'Running');
    expect(running.containerStatuses).toMatchObject([
      {
        name: 'main',
        ready: true,
        started: true,
        restartCount: 0,
        allocatedResourcesStatus: [{ name: RESOURCE, resources: [{ resourceID: 'gpu-0', health: 'Healthy' }] }],
        containerID: `process://${created.metadata.uid ?? ''}/main/0`,
      },
    ]);
    expect(Object.fromEntries((running.conditions ?? []).map(({ type, status }) => [type, status]))).toEqual({
      PodScheduled: 'True',
      DevicesReady: 'True',
      Initialized: 'True',
      ContainersReady: 'True',
      Ready: 'True',
    });
    expect(station.pods.isActive(created.metadata.uid ?? '')).toBe(true);

    await writeFile(gate, '');
    const done = await station.phase('job', 'Succeeded');
    expect(done.containerStatuses?.[0]?.state.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
    expect(done.conditions).toContainEqual(
      expect.objectContaining({ type: 'Ready', status: 'False', reason: 'PodCompleted' }),
    );
    await until('the devices', () => station.admission.free(RESOURCE).length === 2);
    await until('inactivity', () => !station.pods.isActive(created.metadata.uid ?? ''));
    expect(await station.logs('job')).toBe('gpu-0\n');
    expect(station.store.pods()[0]?.status?.phase).toBe('Succeeded');
    expect([seen[0], seen.at(-1)]).toEqual(['ADDED Pending', 'MODIFIED Succeeded']);
    expect(station.events.reasons('job')).toEqual(['Started']);
  });

  test('fails with its exit code when nothing restarts it', async () => {
    await station.create('job', { restartPolicy: 'Never', containers: [sh('exit 3')] });
    const { containerStatuses } = await station.phase('job', 'Failed');
    expect(containerStatuses?.[0]?.state.terminated).toMatchObject({ exitCode: 3, reason: 'Error' });
  });

  test('has several containers side by side; one bad end makes it Failed', async () => {
    await station.create('job', {
      restartPolicy: 'Never',
      containers: [sh('exit 0', { name: 'good' }), sh('exit 1', { name: 'bad' })],
    });
    await station.phase('job', 'Failed');
    expect(station.container('job', 'good').state.terminated?.exitCode).toBe(0);
  });

  test('shows the health of its devices', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    await station.create('job', { containers: [sh('sleep 1000', limits(1))] });
    await station.phase('job', 'Running');
    const written = station.store.records.length;
    station.admission.setHealth('gpu-0', 'Unhealthy');
    expect(station.container('job').allocatedResourcesStatus).toEqual([
      { name: RESOURCE, resources: [{ resourceID: 'gpu-0', health: 'Unhealthy' }] },
    ]);
    expect(station.store.records).toHaveLength(written);
  });
});

describe('init containers and sidecars', () => {
  test('run in order, sidecars until the app containers have ended, the last one first', async () => {
    const journal = join(directory.path, 'journal');
    const note = (text: string): string => `echo ${text} >> ${journal}`;
    const container = (name: string, script: string, more: object = {}): object => ({ ...sh(script), name, ...more });
    const sidecar = (name: string): object =>
      container(
        name,
        `trap "${note(`${name} ends`)}; exit 0" TERM; ${note(`${name} runs`)}; while :; do sleep 0.05; done`,
        {
          restartPolicy: 'Always',
        },
      );
    await station.create('job', {
      restartPolicy: 'Never',
      initContainers: [
        container('first', note('first')),
        sidecar('one'),
        container('second', `sleep 0.2; ${note('second')}`),
        sidecar('two'),
      ],
      containers: [container('app', `until grep -q "two runs" ${journal}; do sleep 0.05; done; ${note('app')}`)],
    });
    await station.phase('job', 'Succeeded');
    const { readFile } = await import('node:fs/promises');
    const lines = (await readFile(journal, 'utf8')).trim().split('\n');
    expect(lines.filter((line) => line !== 'one runs')).toEqual([
      'first',
      'second',
      'two runs',
      'app',
      'two ends',
      'one ends',
    ]);
    expect(station.container('job', 'first')).toMatchObject({ ready: true, state: { terminated: { exitCode: 0 } } });
  });

  test('a failing init container makes the pod Failed when nothing is restarted; app containers never start', async () => {
    await station.create('job', {
      restartPolicy: 'Never',
      initContainers: [{ ...sh('exit 5'), name: 'init' }],
      containers: [sh('echo must not run')],
    });
    await station.phase('job', 'Failed');
    expect(station.container('job', 'init').state.terminated).toMatchObject({ exitCode: 5 });
    expect(station.container('job').state.waiting).toMatchObject({ reason: 'PodInitializing' });
    expect(station.admission.prepared).toEqual(['init']);
    await expect(station.logs('job')).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  test('a failing init container is tried again when the pod restarts', async () => {
    const marker = join(directory.path, 'marker');
    await station.create('job', {
      restartPolicy: 'OnFailure',
      initContainers: [{ ...sh(`[ -e ${marker} ] || { touch ${marker}; exit 1; }`), name: 'init' }],
      containers: [sh('true')],
    });
    await station.phase('job', 'Succeeded');
    expect(station.container('job', 'init')).toMatchObject({ restartCount: 1, state: { terminated: { exitCode: 0 } } });
  });
});

describe('restarts', () => {
  test('scenario 83: the container restarts at once, then after the back-off, prepared anew each time, and keeps its devices', async () => {
    const clock = new ManualClock();
    station = new PodStation(directory.path, clock);
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    const pod = await station.create('crash', {
      containers: [sh('echo "$DEVMGR_CONTAINER $DEVICES"; exit 1', limits(1))],
    });
    const uid = pod.metadata.uid ?? '';
    const waiting = (restarts: number): Promise<unknown> =>
      until(`restart ${String(restarts)}`, () => {
        const { restartCount, state } = station.container('crash');
        return restartCount === restarts && state.waiting?.reason === 'CrashLoopBackOff' ? state.waiting : undefined;
      });
    // The first end costs no wait, so one restart was made when the first wait begins.
    expect(await waiting(1)).toEqual({
      reason: 'CrashLoopBackOff',
      message: `back-off 10s restarting failed container=main pod=crash_default(${uid})`,
    });
    expect(station.status('crash').phase).toBe('Running');
    expect(station.container('crash')).toMatchObject({
      ready: false,
      lastState: { terminated: { exitCode: 1, reason: 'Error' } },
    });
    expect(station.admission.prepared).toEqual(['main', 'main']);
    clock.advance(8_000);
    expect(station.admission.prepared).toHaveLength(2);
    clock.advance(3_000);
    expect(await waiting(2)).toMatchObject({ message: expect.stringContaining('back-off 20s ') as string });
    clock.advance(21_000);
    expect(await waiting(3)).toMatchObject({ message: expect.stringContaining('back-off 40s ') as string });
    for (const expected of ['1m20s', '2m40s', '5m0s', '5m0s']) {
      const { restartCount } = station.container('crash');
      clock.advance(301_000);
      expect(await waiting(restartCount + 1)).toMatchObject({
        message: expect.stringContaining(`back-off ${expected} `) as string,
      });
    }
    expect(station.admission.prepared).toHaveLength(8);
    expect(station.admission.released).toEqual([]);
    expect(await station.logs('crash')).toBe(`${uid}/main/7 gpu-0\n`);
    expect(await station.logs('crash', { previous: true })).toBe(`${uid}/main/7 gpu-0\n`);
    expect(station.events.reasons('crash').filter((reason) => reason === 'BackOff').length).toBe(7);
  });

  test('OnFailure restarts until it ends well', async () => {
    const marker = join(directory.path, 'marker');
    await station.create('job', {
      restartPolicy: 'OnFailure',
      containers: [sh(`[ -e ${marker} ] || { touch ${marker}; echo once; exit 1; }; echo twice`)],
    });
    await station.phase('job', 'Succeeded');
    expect(station.container('job')).toMatchObject({ restartCount: 1, lastState: { terminated: { exitCode: 1 } } });
    expect(await station.logs('job')).toBe('twice\n');
    expect(await station.logs('job', { previous: true })).toBe('once\n');
  });

  test('what cannot be prepared waits with the reason and is tried again, never at once', async () => {
    const clock = new ManualClock();
    station = new PodStation(directory.path, clock);
    let fails = true;
    station.admission.onPrepare = () => {
      if (fails)
        throw new Error('device plugin PreStartContainer rpc failed with err: rpc error: code = Unavailable desc = no');
    };
    await station.create('job', { restartPolicy: 'Never', containers: [sh('exit 0')] });
    const state = await until(
      'the reason',
      () => station.container('job').state.waiting?.message && station.container('job').state,
    );
    expect(state).toEqual({
      waiting: {
        reason: 'CreateContainerConfigError',
        message: 'device plugin PreStartContainer rpc failed with err: rpc error: code = Unavailable desc = no',
      },
    });
    expect(station.status('job').phase).toBe('Pending');
    await until('the back-off', () => clock.pending().includes(10_000));
    clock.advance(10_001);
    await until('the next back-off', () => clock.pending().includes(20_000));
    fails = false;
    clock.advance(20_001);
    await station.phase('job', 'Succeeded');
    expect(station.container('job').restartCount).toBe(0);
    expect(station.events.reasons('job')).toEqual(['Failed', 'Failed', 'Started']);
  });

  test('a program that does not exist', async () => {
    await station.create('job', {
      containers: [{ name: 'main', command: ['/no/such/program'] }, sh('sleep 1000', { name: 'other' })],
    });
    await until('the reason', () => station.container('job').state.waiting?.reason === 'RunContainerError');
    expect(station.container('job').state.waiting?.message).toBe('exec: "/no/such/program": no such file or directory');
  });
});

describe('a pod that is refused', () => {
  test('is Failed with the reason and the text, and gets a warning', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    await station.create('greedy', { containers: [sh('true', limits(2))] });
    const status = await station.phase('greedy', 'Failed');
    const message =
      'Allocate failed due to requested number of devices unavailable for example.com/gpu. Requested: 2, Available: 1, which is unexpected';
    expect(status).toMatchObject({ reason: 'UnexpectedAdmissionError', message: `Pod was rejected: ${message}` });
    expect(station.events.list).toEqual([
      { name: 'greedy', type: 'Warning', reason: 'UnexpectedAdmissionError', message },
    ]);
    expect(station.admission.prepared).toEqual([]);
    expect(station.store.pods()[0]?.status?.phase).toBe('Failed');
    await station.restart({ keepRunning: true });
    expect(station.status('greedy').reason).toBe('UnexpectedAdmissionError');
  });
});

test('an end is on disk before anybody sees it', async () => {
  station.admission.devices.set(RESOURCE, ['gpu-0']);
  const shown: Record<string, string> = {};
  station.pods.watch(({ object: { metadata, status } }) => {
    if (status?.phase !== 'Failed' && status?.phase !== 'Succeeded') return;
    const onDisk = station.store.pods().find(({ metadata: { uid } }) => uid === metadata.uid);
    shown[metadata.name] ??= `${status.phase}, ${onDisk?.status?.phase ?? 'unknown'} on disk`;
  });
  await station.create('greedy', { containers: [sh('true', limits(2))] });
  await station.create('fails', { restartPolicy: 'Never', containers: [sh('exit 3')] });
  await station.create('ends', { restartPolicy: 'Never', containers: [sh('true')] });
  await Promise.all([
    station.phase('greedy', 'Failed'),
    station.phase('fails', 'Failed'),
    station.phase('ends', 'Succeeded'),
  ]);
  expect(shown).toEqual({
    greedy: 'Failed, Failed on disk',
    fails: 'Failed, Failed on disk',
    ends: 'Succeeded, Succeeded on disk',
  });
});

describe('a pod that waits for its plugin', () => {
  beforeEach(() => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    station.admission.late.add(RESOURCE);
  });

  test('says so, and starts when the plugin is there; others are not held up', async () => {
    await station.create('waits', { restartPolicy: 'Never', containers: [sh('true', limits(1))] });
    const condition = await until('the condition', () =>
      station.status('waits').conditions?.find(({ type }) => type === 'DevicesReady'),
    );
    expect(condition).toMatchObject({
      status: 'False',
      reason: 'WaitingForDevicePlugin',
      message: 'waiting for the plugin of example.com/gpu',
    });
    expect(station.events.reasons('waits')).toEqual(['WaitingForDevicePlugin']);
    await station.create('other', { restartPolicy: 'Never', containers: [sh('true')] });
    await station.phase('other', 'Succeeded');
    expect(station.status('waits').phase).toBe('Pending');
    station.admission.arrive(RESOURCE);
    await station.phase('waits', 'Succeeded');
    expect(station.status('waits').conditions?.find(({ type }) => type === 'DevicesReady')).toMatchObject({
      status: 'True',
    });
  });

  test('can be deleted while it waits, and holds nothing', async () => {
    await station.create('waits', { containers: [sh('true', limits(1))] });
    await until('the condition', () => station.status('waits').conditions?.some(({ type }) => type === 'DevicesReady'));
    await station.pods.remove('default', 'waits', {});
    await station.gone('waits');
    station.admission.arrive(RESOURCE);
    expect(station.admission.holders()).toEqual([]);
    expect(station.store.pods()).toEqual([]);
  });

  test('is admitted by the next manager when this one stops', async () => {
    await station.create('waits', { restartPolicy: 'Never', containers: [sh('true', limits(1))] });
    await station.restart({ keepRunning: true });
    station.admission.arrive(RESOURCE);
    await station.phase('waits', 'Succeeded');
  });
});

describe('deletion', () => {
  test('gives the grace period, then the devices back, then forgets the pod', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    const types: string[] = [];
    await station.create('job', {
      containers: [sh('trap "echo bye; exit 0" TERM; sleep 1000 & echo up; wait', limits(1))],
    });
    await until('output', async () => (await station.logs('job').catch(() => '')) === 'up\n');
    const followed = station.logs('job', { follow: true });
    station.pods.watch(({ type, object }) =>
      types.push(`${type} ${String(object.metadata.deletionTimestamp !== undefined)}`),
    );
    const marked = await station.pods.remove('default', 'job', { gracePeriodSeconds: 20 });
    expect(marked.metadata.deletionGracePeriodSeconds).toBe(20);
    expect(station.store.pods()[0]?.metadata.deletionTimestamp).toBe(marked.metadata.deletionTimestamp);
    await expect(station.create('job', { containers: [sh('true')] })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await station.gone('job');
    expect(await followed).toBe('up\nbye\n');
    expect(station.admission.free(RESOURCE)).toEqual(['gpu-0']);
    expect(station.store.pods()).toEqual([]);
    expect(types.at(-1)).toBe('DELETED true');
    expect(station.events.reasons('job')).toEqual(['Started', 'Killing']);
    await station.create('job', { restartPolicy: 'Never', containers: [sh('true')] });
    await station.phase('job', 'Succeeded');
  });

  test('a second, shorter grace period counts', async () => {
    await station.create('stubborn', { containers: [sh('trap "" TERM; echo up; while :; do sleep 0.05; done')] });
    await until('output', async () => (await station.logs('stubborn').catch(() => '')) === 'up\n');
    await station.pods.remove('default', 'stubborn', { gracePeriodSeconds: 3600 });
    await station.pods.remove('default', 'stubborn', { gracePeriodSeconds: 0 });
    await station.gone('stubborn');
  });

  test('of a pod in back-off does not wait for the back-off', async () => {
    await station.create('crash', { containers: [sh('exit 1')] });
    await until('the back-off', () => station.container('crash').state.waiting?.reason === 'CrashLoopBackOff');
    await station.pods.remove('default', 'crash', {});
    await station.gone('crash');
  });

  test('of a pod that ended by itself, and of none', async () => {
    await station.create('job', { restartPolicy: 'Never', containers: [sh('true')] });
    await station.phase('job', 'Succeeded');
    await station.pods.remove('default', 'job', {});
    await station.gone('job');
    await expect(station.pods.remove('default', 'job', {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('is finished by the next manager', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    await station.create('stubborn', {
      containers: [sh('trap "" TERM; echo up; while :; do sleep 0.05; done', limits(1))],
    });
    await until('output', async () => (await station.logs('stubborn').catch(() => '')) === 'up\n');
    await station.pods.remove('default', 'stubborn', { gracePeriodSeconds: 1 });
    await station.restart({ keepRunning: true });
    await station.gone('stubborn');
    expect(station.admission.holders()).toEqual([]);
  });
});

describe('restart of the manager', () => {
  test('containers go on, with the same process, the same devices and the same output', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    const gate = join(directory.path, 'gate');
    await station.create('job', {
      restartPolicy: 'Never',
      initContainers: [{ ...sh('echo init'), name: 'init' }],
      containers: [sh(`echo $$$$; until [ -e ${gate} ]; do sleep 0.05; done; echo done; exit 4`, limits(1))],
    });
    await until('output', async () => /\d+\n/.test(await station.logs('job').catch(() => '')));
    const before = await station.logs('job');
    const { uid } = station.pods.get('default', 'job')?.metadata ?? {};
    await station.restart({ keepRunning: true });
    expect(station.pods.get('default', 'job')?.metadata.uid).toBe(uid);
    expect(station.container('job')).toMatchObject({ restartCount: 0, state: { running: {} } });
    expect(station.admission.prepared).toEqual(['init', 'main']);
    expect(station.admission.released).toEqual([]);
    await writeFile(gate, '');
    await station.phase('job', 'Failed');
    expect(station.container('job').state.terminated).toMatchObject({ exitCode: 4, reason: 'Error' });
    expect(await station.logs('job')).toBe(`${before}done\n`);
  });

  test('what ended meanwhile is read from its exit file', async () => {
    const gate = join(directory.path, 'gate');
    await station.create('job', {
      restartPolicy: 'Never',
      containers: [sh(`until [ -e ${gate} ]; do sleep 0.05; done; exit 9`)],
    });
    await station.phase('job', 'Running');
    const { uid = '-' } = station.pods.get('default', 'job')?.metadata ?? {};
    await station.pods.stop({ keepRunning: true });
    await writeFile(gate, '');
    await until('the end', () => processesMentioning(uid).length === 0);
    await station.restart({ keepRunning: true });
    await station.phase('job', 'Failed');
    expect(station.container('job').state.terminated).toMatchObject({ exitCode: 9 });
  });

  test('what was killed meanwhile is unknown, and restarted when the policy says so', async () => {
    await station.create('job', { containers: [sh('sleep 1000')] });
    await station.phase('job', 'Running');
    const { uid = '-' } = station.pods.get('default', 'job')?.metadata ?? {};
    await station.pods.stop({ keepRunning: true });
    for (const line of processesMentioning(uid)) process.kill(Number(line.trim().split(/\s+/)[0]), 'SIGKILL');
    await until('the end', () => processesMentioning(uid).length === 0);
    await station.restart({ keepRunning: true });
    await until('the restart', () => station.container('job').restartCount === 1 && station.container('job').ready);
    expect(station.container('job').lastState.terminated).toMatchObject({
      exitCode: 137,
      reason: 'ContainerStatusUnknown',
    });
  });

  test('a manager that stops its containers leaves the pods to the next', async () => {
    const pod = await station.create('job', { containers: [sh('sleep 1000')] });
    await station.phase('job', 'Running');
    await station.pods.stop({ keepRunning: false });
    expect(processesMentioning(pod.metadata.uid ?? '-')).toEqual([]);
    expect(station.status('job').phase).toBe('Running');
    await station.restart({ keepRunning: false });
    await until('the restart', () => station.container('job').restartCount === 1 && station.container('job').ready);
  });

  test('after a reboot init containers run again and admission is asked again', async () => {
    station.admission.devices.set(RESOURCE, ['gpu-0']);
    await station.create('job', {
      initContainers: [{ ...sh('true'), name: 'init' }],
      containers: [sh('sleep 1000', limits(1))],
    });
    await station.phase('job', 'Running');
    // As after a reboot, nothing runs and nobody saw it end.
    await station.pods.stop({ keepRunning: false });
    station.admission.late.add(RESOURCE);
    await station.restart({ keepRunning: false, rebooted: true });
    await until('waiting', () => station.events.reasons('job').includes('WaitingForDevicePlugin'));
    expect(station.admission.prepared).toEqual(['init', 'main']);
    // A manager that does not get through with that leaves it to the next, which knows nothing of the reboot.
    await station.restart({ keepRunning: true });
    await until(
      'waiting',
      () => station.events.reasons('job').filter((reason) => reason.startsWith('Wait')).length === 2,
    );
    expect(station.admission.prepared).toEqual(['init', 'main']);
    station.admission.arrive(RESOURCE);
    await until('the restart', () => station.container('job').restartCount === 1 && station.container('job').ready);
    expect(station.admission.prepared).toEqual(['init', 'main', 'init', 'main']);
    expect(station.container('job', 'init').restartCount).toBe(1);
  });

  test('pods that ended stay as they are, and what they might hold is released again', async () => {
    const pod = await station.create('job', { restartPolicy: 'Never', containers: [sh('echo kept')] });
    await station.phase('job', 'Succeeded');
    await station.restart({ keepRunning: true });
    expect(station.status('job').phase).toBe('Succeeded');
    expect(await station.logs('job')).toBe('kept\n');
    await until('the release', () => station.admission.released.filter((uid) => uid === pod.metadata.uid).length >= 2);
    expect(station.admission.prepared).toEqual(['main']);
  });

  test('processes of pods that are on no record are killed', async () => {
    const pod = await station.create('job', { containers: [sh('sleep 1000')] });
    await station.phase('job', 'Running');
    await station.pods.stop({ keepRunning: true });
    station.store.records.length = 0;
    await station.restart({ keepRunning: true });
    expect(station.pods.list()).toEqual([]);
    expect(processesMentioning(pod.metadata.uid ?? '-')).toEqual([]);
  });
});

test('many pods at once, several containers each', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): number => warnings.push(warning);
  process.on('warning', onWarning);
  const names = Array.from({ length: 12 }, (_, index) => `pod-${String(index)}`);
  const containers = ['a', 'b', 'c'].map((name) => sh(`echo ${name}; sleep 1000`, { name }));
  for (const name of names) await station.create(name, { terminationGracePeriodSeconds: 5, containers });
  for (const name of names) await station.phase(name, 'Running');
  await station.restart({ keepRunning: true });
  for (const name of names) expect(station.status(name).containerStatuses?.every(({ ready }) => ready)).toBe(true);
  for (const name of names) await station.pods.remove('default', name, {});
  for (const name of names) await station.gone(name);
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

describe('requests', () => {
  test('bad manifests are refused with all that is wrong', async () => {
    await expect(station.create('Bad Name', { containers: [] })).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringMatching(/^Pod "Bad Name" is invalid: \[metadata\.name: .*, spec\.containers: /) as string,
    });
    await expect(
      station.pods.create('a', {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'x', namespace: 'b' },
        spec: { containers: [sh('true')] },
      }),
    ).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(
      station.create('x', { containers: [sh('true')] }, { annotations: { 'devmgr.io/lease': 'true' } }),
    ).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    for (const nonsense of [null, undefined, 1, 'x', [], {}]) {
      await expect(station.pods.create('default', nonsense)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    }
    expect(station.pods.list()).toEqual([]);
  });

  test('nothing is created when it cannot be made durable', async () => {
    station.store.full = true;
    await expect(station.create('job', { containers: [sh('true')] })).rejects.toMatchObject({
      code: 'STATE_WRITE_FAILED',
    });
    expect(station.pods.list()).toEqual([]);
    station.store.full = false;
    await station.create('job', { restartPolicy: 'Never', containers: [sh('true')] });
    await station.phase('job', 'Succeeded');
    station.store.full = true;
    await expect(station.pods.remove('default', 'job', {})).rejects.toMatchObject({ code: 'STATE_WRITE_FAILED' });
    expect(station.pods.get('default', 'job')?.metadata.deletionTimestamp).toBeUndefined();
    station.store.full = false;
  });

  test('a snapshot always contains what was answered for', async () => {
    const creating = station.create('job', { restartPolicy: 'Never', containers: [sh('true')] });
    expect(station.pods.snapshot().map(({ metadata }) => metadata.name)).toEqual(['job']);
    expect(station.pods.list()).toEqual([]);
    await creating;
    expect(station.pods.snapshot()).toHaveLength(1);
  });

  test('apply is idempotent', async () => {
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'job' },
      spec: { containers: [sh('sleep 1000')] },
    };
    expect((await station.pods.apply('default', manifest)).outcome).toBe('created');
    expect((await station.pods.apply('default', manifest)).outcome).toBe('unchanged');
    const labelled = { ...manifest, metadata: { name: 'job', labels: { a: 'b' } } };
    expect(await station.pods.apply('default', labelled)).toMatchObject({
      outcome: 'configured',
      pod: { metadata: { labels: { a: 'b' } } },
    });
    expect((await station.pods.apply('default', labelled)).outcome).toBe('unchanged');
    await station.phase('job', 'Running');
    expect(station.store.pods()[0]?.metadata.labels).toEqual({ a: 'b' });
    await expect(
      station.pods.apply('default', { ...manifest, spec: { containers: [sh('true')] } }),
    ).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('logs of what is not there', async () => {
    await expect(station.logs('none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await station.create('job', {
      restartPolicy: 'Never',
      containers: [sh('true', { name: 'a' }), sh('true', { name: 'b' })],
    });
    await station.phase('job', 'Succeeded');
    await expect(station.logs('job')).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: 'a container name must be specified for pod job, choose one of: [a b]',
    });
    await expect(station.logs('job', { container: 'c' })).rejects.toMatchObject({
      message: 'container c is not valid for pod job',
    });
    await expect(station.logs('job', { container: 'a', previous: true })).rejects.toMatchObject({
      message: 'previous terminated container "a" in pod "job" not found',
    });
  });

  test('following logs goes on through a restart and ends with the pod', async () => {
    const marker = join(directory.path, 'marker');
    await station.create('job', {
      restartPolicy: 'OnFailure',
      containers: [sh(`[ -e ${marker} ] || { touch ${marker}; echo once; exit 1; }; echo twice`)],
    });
    expect(await station.logs('job', { follow: true })).toBe('once\ntwice\n');
  });
});
