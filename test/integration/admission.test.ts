import { encodeContainerAllocateResponse } from '@devmgr/wire';
import { until, type ScriptedPluginOptions } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type { WaitingForDevices } from '../../packages/manager/src/ports.ts';
import { ManagerBench, pod, type BenchOptions } from './manager-bench.ts';

const R = 'example.com/r';
const R1 = 'domain1.com/resource1';
const R2 = 'domain2.com/resource2';
const ALIVE = new AbortController().signal;
let bench: ManagerBench;
async function start(options: BenchOptions = {}): Promise<void> {
  bench = await ManagerBench.start(options);
}
afterEach(async () => {
  await bench.close();
});

type Script = NonNullable<ScriptedPluginOptions['script']>;
const U = (id: string): { id: string; health: string } => ({ id, health: 'Unhealthy' });
const withOptions = (preStartRequired: boolean, getPreferredAllocationAvailable: boolean): Script => ({
  options: () => ({ preStartRequired, getPreferredAllocationAvailable }),
});
const answer = (part: {
  envs?: Record<string, string>;
  devices?: string[];
  mounts?: string[];
  annotations?: Record<string, string>;
  cdi?: string[];
}): Uint8Array =>
  encodeContainerAllocateResponse({
    envs: new Map(Object.entries(part.envs ?? {})),
    mounts: (part.mounts ?? []).map((path) => ({ containerPath: path, hostPath: `/host${path}`, readOnly: true })),
    devices: (part.devices ?? []).map((path) => ({ containerPath: path, hostPath: `/host${path}`, permissions: 'rw' })),
    annotations: new Map(Object.entries(part.annotations ?? {})),
    cdiDevices: (part.cdi ?? []).map((name) => ({ name })),
  });
const answering = (part: Parameters<typeof answer>[0]): Script => ({
  allocate: () => ({ containerResponses: [answer(part)] }),
});

describe('admission', () => {
  it('scenarios 67, 68, 69: three pods one after the other', async () => {
    await start();
    await bench.plugin(R1, ['dev1', 'dev2'], {
      script: answering({ devices: ['/dev/aaa', '/dev/bbb', '/dev/ccc'], mounts: ['/a', '/b'], envs: { key1: 'v' } }),
    });
    await bench.plugin(R2, ['dev3', 'dev4'], { script: answering({ envs: { key2: 'v' } }) });
    const one = pod('pod1', [{ [R1]: 2, [R2]: 1, cpu: 1 }]);
    expect(await bench.outcome(one)).toBe('admitted');
    const options = await bench.admission.prepareStart(one, 'c0', ALIVE);
    expect([options.devices.length, options.mounts.length, options.envs.size]).toEqual([3, 2, 2]);
    expect([bench.held('pod1', 'c0', R1).length, bench.held('pod1', 'c0', R2).length]).toEqual([2, 1]);
    expect(await bench.outcome(pod('pod2', [{ [R1]: 1 }]))).toBe(
      'requested number of devices unavailable for domain1.com/resource1. Requested: 1, Available: 0',
    );
    const three = pod('pod3', [{ [R2]: 1 }]);
    expect(await bench.outcome(three)).toBe('admitted');
    const more = await bench.admission.prepareStart(three, 'c0', ALIVE);
    expect([more.devices.length, more.mounts.length, more.envs.size]).toEqual([0, 0, 1]);
    expect(bench.inventory.resources().map(({ allocated }) => allocated)).toEqual([2, 2]);
  });

  it('scenarios 70, 71, 72, 73: what is recorded is checked again', async () => {
    const recorded = (resource: string, ...ids: string[]) => ({
      podUid: 'p',
      container: 'c0',
      resource,
      deviceIds: new Map([[-1, ids]]),
      response: answer({}),
    });
    await start({
      recovered: { allocations: [recorded(R1, 'dev1'), recorded(R2, 'dev5')], resources: [] },
      unknownResources: 'ignore',
    });
    await bench.plugin(R1, [U('dev1')]);
    // Each refusal gives back what the pod held, so the record is put back for the next question.
    const again = (): void => {
      bench.manager.ledger.releasePod('p');
      bench.manager.ledger.restore([recorded(R1, 'dev1'), recorded(R2, 'dev5')]);
    };
    expect(await bench.outcome(pod('p', [{ [R1]: 1 }]))).toBe(
      `no healthy devices present; cannot allocate unhealthy devices ${R1}`,
    );
    again();
    expect(await bench.outcome(pod('p', [{ [R2]: 1 }]))).toBe(`cannot allocate unregistered device ${R2}`);
    again();
    await bench.plugin(R2, ['dev7', 'dev8']);
    expect(await bench.outcome(pod('p', [{ [R2]: 1 }]))).toBe(
      `previously allocated devices are no longer healthy; cannot allocate unhealthy devices ${R2}`,
    );
    again();
    expect(await bench.outcome(pod('p', [{ [R2]: 3 }]))).toBe(
      `pod "p" container "c0" changed request for resource "${R2}" from 1 to 3`,
    );
  });

  it('scenarios 74, 75: many pods at once, some leaving meanwhile, never share a device', async () => {
    await start();
    await bench.plugin(
      R,
      Array.from({ length: 20 }, (_, index) => `d${String(index)}`),
      { script: withOptions(false, true) },
    );
    const owners = new Map<string, string>();
    const round = async (name: string): Promise<void> => {
      const outcome = await bench.outcome(pod(name, [{ [R]: 2 }, { [R]: 1 }]));
      if (outcome !== 'admitted') return;
      const ids = [...bench.held(name, 'c0', R), ...bench.held(name, 'c1', R)];
      expect(ids).toHaveLength(3);
      for (const id of ids) {
        expect(owners.get(id)).toBeUndefined();
        owners.set(id, name);
      }
      await new Promise((resolve) => setTimeout(resolve, 3));
      for (const id of ids) owners.delete(id);
      await bench.admission.release(name);
    };
    await Promise.all(Array.from({ length: 60 }, (_, index) => round(`p${String(index)}`)));
    expect(bench.inventory.resources()).toMatchObject([{ allocated: 0 }]);
  });

  it('scenario 76: init containers share with those after them', async () => {
    await start();
    await bench.plugin(R, ['d1', 'd2']);
    expect(await bench.outcome(pod('p', [{ [R]: 1 }, { [R]: 1 }], [{ [R]: 1 }, { [R]: 2 }]))).toBe('admitted');
    const [i0, i1, c0, c1] = ['i0', 'i1', 'c0', 'c1'].map((name) => bench.held('p', name, R));
    expect(i1).toEqual(['d1', 'd2']);
    expect(i1).toEqual(expect.arrayContaining(i0!));
    expect([...c0!, ...c1!].sort()).toEqual(['d1', 'd2']);
  });

  it('scenarios 77, 78: sidecars and app containers take theirs for themselves', async () => {
    await start();
    await bench.plugin(R, ['d1', 'd2', 'd3', 'd4', 'd5', 'd6']);
    expect(
      await bench.outcome(
        pod('p', [{ [R]: 1 }, { [R]: 2 }], [{ [R]: 3 }, { sidecar: { [R]: 1 } }, { sidecar: { [R]: 2 } }]),
      ),
    ).toBe('admitted');
    const init = bench.held('p', 'i0', R);
    const own = ['i1', 'i2', 'c0', 'c1'].map((name) => bench.held('p', name, R));
    expect(init).toEqual(expect.arrayContaining([...own[0]!, ...own[1]!]));
    expect(new Set(own.flat()).size).toBe(6);
    await bench.admission.release('p');
    await bench.plugin('example.com/two', ['a', 'b']);
    expect(
      await bench.outcome(
        pod('q', [{ 'example.com/two': 1 }], [{ 'example.com/two': 1 }, { sidecar: { 'example.com/two': 1 } }]),
      ),
    ).toBe('admitted');
    expect(bench.held('q', 'i1', 'example.com/two')).toEqual(bench.held('q', 'i0', 'example.com/two'));
    expect(bench.held('q', 'c0', 'example.com/two')).not.toEqual(bench.held('q', 'i0', 'example.com/two'));
  });

  it('scenarios 79, 83: PreStartContainer before each start, Allocate once', async () => {
    await start();
    const plugin = await bench.plugin(R, ['dev1', 'dev2'], {
      script: { ...withOptions(true, false), ...answering({ envs: { A: 'b' }, devices: ['/dev/x'] }) },
    });
    const wanted = pod('p', [{ [R]: 2 }]);
    expect(await bench.outcome(wanted)).toBe('admitted');
    const first = await bench.admission.prepareStart(wanted, 'c0', ALIVE);
    expect(first).toMatchObject({
      envs: new Map([['A', 'b']]),
      devices: [{ containerPath: '/dev/x', hostPath: '/host/dev/x', permissions: 'rw' }],
    });
    expect(plugin.callsOf('PreStartContainer').map(({ request }) => request)).toEqual([
      { devicesIds: ['dev1', 'dev2'] },
    ]);
    expect(await bench.admission.prepareStart(wanted, 'c0', ALIVE)).toEqual(first);
    expect(plugin.callsOf('PreStartContainer')).toHaveLength(2);
    expect(plugin.callsOf('Allocate')).toHaveLength(1);
    plugin.script({ preStart: () => Promise.reject(new Error('not now')) });
    await expect(bench.admission.prepareStart(wanted, 'c0', ALIVE)).rejects.toThrow(
      'device plugin PreStartContainer rpc failed with err: rpc error: code = Unknown desc = not now',
    );
  });

  it('scenarios 80, 81: a limit of 0 calls nobody and succeeds even when nothing is healthy', async () => {
    await start();
    const plugin = await bench.plugin(R, [U('d1')], { script: withOptions(true, true) });
    const none = pod('p', [{ [R]: 0 }]);
    expect(await bench.outcome(none)).toBe('admitted');
    expect((await bench.admission.prepareStart(none, 'c0', ALIVE)).allocated.size).toBe(0);
    expect(plugin.calls.map(({ method }) => method)).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
  });

  it('scenario 82: a pod whose record is gone is given devices again at its next start, a released one has none', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1']);
    const one = pod('p', [{ [R]: 1 }]);
    expect(await bench.outcome(one)).toBe('admitted');
    bench.manager.ledger.releasePod('p');
    expect((await bench.admission.prepareStart(one, 'c0', ALIVE)).allocated).toEqual(new Map([[R, ['d1']]]));
    expect(plugin.callsOf('Allocate')).toHaveLength(2);
    expect(bench.state.records.filter(({ type }) => type === 'allocated')).toHaveLength(2);
  });

  it('scenario 84: calls carry what was decided, unchanged', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1', 'd2', 'd3'], {
      script: {
        ...withOptions(false, true),
        preferredAllocation: () => ({ containerResponses: [{ deviceIDs: ['d3', 'd2', 'unknown', 'd3'] }] }),
      },
    });
    expect(await bench.outcome(pod('p', [{ [R]: 2 }]))).toBe('admitted');
    expect(plugin.callsOf('GetPreferredAllocation')[0]?.request).toEqual({
      containerRequests: [{ availableDeviceIDs: ['d1', 'd2', 'd3'], mustIncludeDeviceIDs: [], allocationSize: 2 }],
    });
    const allocate = plugin.callsOf('Allocate')[0]?.request as { containerRequests: { devicesIds: string[] }[] };
    expect(allocate.containerRequests).toHaveLength(1);
    expect([...allocate.containerRequests[0]!.devicesIds].sort()).toEqual(['d2', 'd3']);
  });

  it('scenario 85: a refused Allocate refuses the pod with its text, and its devices are free again', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1'], {
      script: { allocate: () => Promise.reject(new Error('card on fire')) },
    });
    const other = await bench.plugin('example.com/a', ['a1']);
    const refused = await bench.admit(pod('p', [{ 'example.com/a': 1, [R]: 1 }]));
    expect(refused).toEqual({
      ok: false,
      reason: 'UnexpectedAdmissionError',
      message: 'Allocate failed due to rpc error: code = Unknown desc = card on fire, which is unexpected',
    });
    expect(bench.inventory.resources().every(({ allocated }) => allocated === 0)).toBe(true);
    expect(bench.calls).toContainEqual({ resource: R, call: 'Allocate', ok: false });
    plugin.script({ allocate: () => ({ containerResponses: [answer({})] }) });
    expect(await bench.outcome(pod('q', [{ 'example.com/a': 1, [R]: 1 }]))).toBe('admitted');
    expect(other.callsOf('Allocate')).toHaveLength(2);
  });

  it('scenario 86: an Allocate answer without containers, or one that cannot be read, refuses the pod', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1'], { script: { allocate: () => ({ containerResponses: [] }) } });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toMatch(/^no containers return in allocation response/);
    plugin.script({ allocate: () => ({ containerResponses: [Uint8Array.of(0x0a, 0xff, 0xff)] }) });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).not.toBe('admitted');
    expect(bench.inventory.resources()).toMatchObject([{ allocated: 0 }]);
    plugin.script({ allocate: () => ({ containerResponses: [answer({}), answer({})] }) });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toBe('admitted');
  });

  it('scenario 87: a failing preference refuses the pod, and the next one gets its devices', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1', 'd2'], {
      script: { ...withOptions(false, true), preferredAllocation: () => Promise.reject(new Error('no idea')) },
    });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toBe(
      'device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = no idea',
    );
    plugin.script({ preferredAllocation: () => ({ containerResponses: [] }) });
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toBe('admitted');
    expect(await bench.outcome(pod('s', [{ [R]: 1 }]))).toBe('admitted');
    expect(plugin.callsOf('GetPreferredAllocation')).toHaveLength(3);
  });

  it('scenario 88: a plugin that goes away during the admission refuses it', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1', 'd2'], {
      script: {
        ...withOptions(false, true),
        preferredAllocation: async () => {
          plugin.endStreams();
          await until('the end to be known', () => !bench.manager.isReady(R));
          return { containerResponses: [] };
        },
      },
    });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).not.toBe('admitted');
    expect(bench.inventory.resources()).toMatchObject([{ allocated: 0 }]);
  });

  it('scenario 89: a plugin that hangs meets its deadline and holds up nobody else', async () => {
    await start({ callTimeoutsMs: new Map([[R, 700]]) });
    const hanging = await bench.plugin(R, ['d1', 'd2']);
    await bench.plugin('example.com/a', ['a1']);
    const release = hanging.hangAllocate();
    const stuck = bench.outcome(pod('p', [{ [R]: 1 }]));
    await hanging.waitForCalls('Allocate');
    const behind = bench.outcome(pod('q', [{ [R]: 1 }]));
    expect(await bench.outcome(pod('other', [{ 'example.com/a': 1 }]))).toBe('admitted');
    expect(bench.inventory.devices(R)[0]).toMatchObject({ state: 'Reserved' });
    expect(await stuck).toBe('rpc error: code = DeadlineExceeded desc = context deadline exceeded');
    release();
    expect(await behind).toBe('admitted');
    expect(bench.held('q', 'c0', R)).toEqual(['d1']);
  });

  it('scenario 90: what DRA serves is left alone', async () => {
    await start();
    const plugin = await bench.plugin(R, [U('d1')]);
    const mapped = pod('p', [{ [R]: 1 }]);
    mapped.status = {
      phase: 'Pending',
      extendedResourceClaimStatus: {
        resourceClaimName: 'claim',
        requestMappings: [{ containerName: 'c0', resourceName: R, requestName: 'r' }],
      },
    };
    expect(await bench.outcome(mapped)).toBe('admitted');
    expect(plugin.callsOf('Allocate')).toHaveLength(0);
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toMatch(/^no healthy devices present/);
  });

  it('scenarios 92, 93: answers of several resources are merged, the first wins', async () => {
    await start();
    await bench.plugin('a.com/x', ['1'], {
      script: answering({ envs: { SHARED: 'a', A: '1' }, devices: ['/dev/same'], cdi: ['v.com/c=0', 'v.com/c=1'] }),
    });
    await bench.plugin('b.com/x', ['1'], {
      script: answering({
        envs: { SHARED: 'b' },
        devices: ['/dev/same', '/dev/b'],
        mounts: ['/m'],
        cdi: ['v.com/c=1', 'v.com/c=2'],
      }),
    });
    const both = pod('p', [{ 'b.com/x': 1, 'a.com/x': 1 }]);
    expect(await bench.outcome(both)).toBe('admitted');
    const options = await bench.admission.prepareStart(both, 'c0', ALIVE);
    expect(Object.fromEntries(options.envs)).toEqual({ SHARED: 'a', A: '1' });
    expect(options.devices.map(({ containerPath }) => containerPath)).toEqual(['/dev/same', '/dev/b']);
    expect(options.cdiDevices).toEqual(['v.com/c=0', 'v.com/c=1', 'v.com/c=2']);
  });

  it('scenarios 94, 95: requests without limits are not allocated; an extended resource nobody registered is refused, or ignored when told so', async () => {
    await start({ unknownResources: 'ignore' });
    const plugin = await bench.plugin(R, ['d1']);
    const onlyRequests = pod('p', [{}]);
    onlyRequests.spec.containers[0]!.resources = { requests: { [R]: 1 } };
    expect(await bench.outcome(onlyRequests)).toBe('admitted');
    expect(plugin.callsOf('Allocate')).toHaveLength(0);
    const unknown = pod('q', [{ 'never.seen/x': 1, [R]: 1 }]);
    expect(await bench.outcome(unknown)).toBe('admitted');
    expect((await bench.admission.prepareStart(unknown, 'c0', ALIVE)).allocated).toEqual(new Map([[R, ['d1']]]));
    await bench.close();
    await start();
    expect(await bench.outcome(unknown)).toBe('cannot allocate unregistered device never.seen/x');
  });

  it('scenario 96: a removed resource of which something is allocated is still ours', async () => {
    await start();
    const plugin = await bench.plugin(R, ['d1', 'd2']);
    await bench.outcome(pod('p', [{ [R]: 1 }]));
    await plugin.close();
    await bench.waitForNode(R, '0/2');
    bench.clock.leap(5 * 60_000 + 10_000);
    expect(bench.node(R)).toBe('absent');
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toBe(`cannot allocate unregistered device ${R}`);
    expect(bench.held('p', 'c0', R)).toEqual(['d1']);
  });

  it('scenario 144: on a full disk nothing is held, and admission works again when there is room', async () => {
    await start();
    await bench.plugin(R, ['d1']);
    bench.state.full = true;
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toBe(
      'failed to write checkpoint file "kubelet_internal_checkpoint": ENOSPC: no space left on device',
    );
    expect(bench.inventory.resources()).toMatchObject([{ allocated: 0 }]);
    bench.state.full = false;
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toBe('admitted');
  });
});

describe('a plugin that is late', () => {
  it('delays the pod, visibly, and the pod goes on when it is there', async () => {
    await start({ waitForPluginMs: 300_000, expectedResources: [R] });
    const waiting: WaitingForDevices[] = [];
    const admitted = bench.admit(pod('p', [{ [R]: 1 }]), ALIVE, waiting);
    await until('the pod to wait', () => waiting.length > 0);
    expect(waiting[0]).toMatchObject({ resources: [R] });
    // Others are not held up by it.
    await bench.plugin('example.com/a', ['a1']);
    expect(await bench.outcome(pod('other', [{ 'example.com/a': 1 }]))).toBe('admitted');
    await bench.plugin(R, ['d1']);
    expect(await admitted).toEqual({ ok: true });
  });

  it('refuses the pod with the text of the kubelet when the wait is over', async () => {
    await start({
      waitForPluginMs: 300_000,
      recovered: { allocations: [], resources: [{ resource: R, endpoint: null, preStartRequired: true }] },
    });
    expect(bench.node(R)).toBe('0/0');
    const waiting: WaitingForDevices[] = [];
    const refused = bench.admit(pod('p', [{ [R]: 1 }]), ALIVE, waiting);
    await until('the pod to wait', () => waiting.length > 0);
    bench.clock.leap(299_000);
    bench.clock.leap(2_000);
    expect(await refused).toMatchObject({ ok: false, message: expect.stringContaining(R) as string });
  });

  it('leaves nothing behind when the pod is deleted while it waits', async () => {
    await start({ waitForPluginMs: 300_000, expectedResources: [R] });
    const deletion = new AbortController();
    const waiting: WaitingForDevices[] = [];
    const admission = bench.admit(pod('p', [{ [R]: 1 }]), deletion.signal, waiting);
    await until('the pod to wait', () => waiting.length > 0);
    deletion.abort(new Error('deleted'));
    await expect(admission).rejects.toThrow('deleted');
    await bench.plugin(R, ['d1']);
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toBe('admitted');
  });
});

describe('after a restart', () => {
  it('scenarios 51, 146: known resources show 0/0 until their plugin is back; what is recorded stays with its pod', async () => {
    await start();
    const numa = ['d1', 'd2'].map((id, index) => ({ id, numaNodes: [index] }));
    const plugin = await bench.plugin(R, numa);
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toBe('admitted');
    const recovered = {
      allocations: bench.manager.ledger.allocations(),
      resources: [{ resource: R, endpoint: plugin.socketPath, preStartRequired: false }],
    };
    const first = bench;
    await plugin.close();
    const second = await ManagerBench.start({ recovered });
    bench = second;
    await first.close();
    expect(second.node(R)).toBe('0/0');
    expect(second.inventory.resources()).toMatchObject([{ plugin: { state: 'Disconnected' } }]);
    expect(second.admission.allocatedHealth('p', 'c0')).toEqual([{ resource: R, deviceId: 'd1', health: 'Unknown' }]);
    await second.plugin(R, numa);
    expect(second.node(R)).toBe('2/2');
    expect(second.admission.allocatedHealth('p', 'c0')).toEqual([{ resource: R, deviceId: 'd1', health: 'Healthy' }]);
    expect(await second.outcome(pod('q', [{ [R]: 1 }]))).toBe('admitted');
    expect(second.held('q', 'c0', R)).toEqual(['d2']);
    expect(second.manager.ledger.allocation('p', 'c0', R)?.deviceIds).toEqual(new Map([[0, ['d1']]]));
  });

  it('wants PreStartContainer although the plugin is not back', async () => {
    const allocations = [
      { podUid: 'p', container: 'c0', resource: R, deviceIds: new Map([[-1, ['d1']]]), response: answer({}) },
    ];
    await start({ recovered: { allocations, resources: [{ resource: R, endpoint: null, preStartRequired: true }] } });
    await expect(bench.admission.prepareStart(pod('p', [{ [R]: 1 }]), 'c0', ALIVE)).rejects.toThrow(
      `endpoint not found in cache for a registered resource: ${R}`,
    );
  });

  it('says of a container without a record that it has none, or asks the rules when the plugin was never there', async () => {
    await start({
      recovered: { allocations: [], resources: [{ resource: R, endpoint: null, preStartRequired: true }] },
    });
    const prepare = (): Promise<unknown> => bench.admission.prepareStart(pod('p', [{ [R]: 1 }]), 'c0', ALIVE);
    await expect(prepare()).rejects.toThrow(`no healthy devices present; cannot allocate unhealthy devices ${R}`);
    const plugin = await bench.plugin(R, ['d1'], { script: withOptions(true, false) });
    await plugin.kill();
    await bench.waitForNode(R, '0/1');
    await expect(prepare()).rejects.toThrow(
      `no devices found allocated in local cache for pod p, container c0, resource ${R}`,
    );
  });
});
