import { type ContainerResponse, DevmgrError, Ledger, mergeContainerOptions, type PlanRequest } from '@devmgr/core';
import { describe, expect, it } from 'vitest';
import { admit, allocate, devices, recorded, refusal } from './ledger-kit.ts';

const R = 'example.com/r';
const R1 = 'domain1.com/resource1';
const R2 = 'domain2.com/resource2';
const RESPONSE = new Uint8Array([10, 3, 1, 2, 3]);

function request(pod: string, count: number, more: Partial<PlanRequest> = {}): PlanRequest {
  return { podUid: pod, container: 'c', kind: 'app', resource: R, count, ...more };
}

/** A ledger whose only resource has these devices. */
function ledgerWith(...words: readonly string[]): Ledger {
  const ledger = new Ledger();
  ledger.replaceDevices(R, devices(...words));
  return ledger;
}

const answer = (parts: Partial<ContainerResponse>): ContainerResponse => ({
  envs: new Map(),
  mounts: [],
  devices: [],
  annotations: new Map(),
  cdiDevices: [],
  ...parts,
});

describe('allocating devices', () => {
  it('scenarios 67, 68, 69: two resources in one pod, then none left of one, then one left of the other', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(R1, devices('dev1', 'dev2'));
    ledger.replaceDevices(R2, devices('dev3', 'dev4'));

    expect(admit(ledger, { pod: 'pod1', resource: R1, count: 2 })).toEqual(['dev1', 'dev2']);
    expect(admit(ledger, { pod: 'pod1', resource: R2, count: 1 })).toEqual(['dev3']);
    const node = (name: string) => ({ containerPath: `/dev/${name}`, hostPath: `/dev/${name}`, permissions: 'mrw' });
    const mount = (name: string) => ({ containerPath: `/in/${name}`, hostPath: `/out/${name}`, readOnly: true });
    const { options, conflicts } = mergeContainerOptions(
      new Map([
        [R1, answer({ devices: [node('a'), node('b')], mounts: [mount('x')], envs: new Map([['KEY1', 'v']]) })],
        [R2, answer({ devices: [node('c')], mounts: [mount('y')], envs: new Map([['KEY2', 'v']]) })],
      ]),
    );
    expect([options.devices.length, options.mounts.length, options.envs.size, conflicts.length]).toEqual([3, 2, 2, 0]);
    expect([...ledger.allocatedCounts().values()]).toEqual([2, 1]);

    expect(refusal(ledger, { pod: 'pod2', resource: R1, count: 1 })).toBe(
      'requested number of devices unavailable for domain1.com/resource1. Requested: 1, Available: 0',
    );
    expect(ledger.containerAllocations('pod2', 'c')).toEqual([]);
    expect([...ledger.allocatedCounts().values()]).toEqual([2, 1]);

    expect(admit(ledger, { pod: 'pod3', resource: R2, count: 1 })).toEqual(['dev4']);
    expect([...ledger.allocatedCounts().values()]).toEqual([2, 2]);
    expect(ledger.allocations().map(({ podUid, resource }) => [podUid, resource])).toEqual([
      ['pod1', R1],
      ['pod1', R2],
      ['pod3', R2],
    ]);
  });

  it('scenario 70: recorded devices and nothing healthy', () => {
    const ledger = new Ledger();
    ledger.restore([recorded('p', 'c', R1, ['dev1'])]);
    ledger.knowResource(R1);
    expect(refusal(ledger, { pod: 'p', resource: R1, count: 1 })).toBe(
      'no healthy devices present; cannot allocate unhealthy devices domain1.com/resource1',
    );
  });

  it('scenario 71: recorded devices and a resource that is not registered', () => {
    const ledger = new Ledger();
    ledger.restore([recorded('p', 'c', R2, ['dev1'])]);
    expect(refusal(ledger, { pod: 'p', resource: R2, count: 1 })).toBe(
      'cannot allocate unregistered device domain2.com/resource2',
    );
    expect(refusal(ledger, { pod: 'p', resource: 'example.com/never', count: 1 })).toBe(
      'cannot allocate unregistered device example.com/never',
    );
  });

  it('scenario 72: recorded devices that are not healthy any more', () => {
    const resource = 'domain2.com/resource3';
    const ledger = new Ledger();
    ledger.restore([recorded('p', 'c', resource, ['dev5'])]);
    ledger.replaceDevices(resource, devices('dev7', 'dev8'));
    const message =
      'previously allocated devices are no longer healthy; cannot allocate unhealthy devices domain2.com/resource3';
    expect(refusal(ledger, { pod: 'p', resource, count: 1 })).toBe(message);
    ledger.replaceDevices(resource, devices('dev5:U', 'dev7', 'dev8'));
    expect(refusal(ledger, { pod: 'p', resource, count: 1 })).toBe(message);
    ledger.replaceDevices(resource, devices('dev5', 'dev7', 'dev8'));
    expect(allocate(ledger, { pod: 'p', resource, count: 1 }).step).toEqual({ step: 'nothing' });
  });

  it('scenario 73: a container that asks for another number than is recorded', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3');
    ledger.restore([recorded('uid-1', 'main', R, ['D1', 'D2']), recorded('uid-2', 'main', R, [])]);
    expect(refusal(ledger, { pod: 'uid-1', container: 'main', resource: R, count: 3 })).toBe(
      'pod "uid-1" container "main" changed request for resource "example.com/r" from 2 to 3',
    );
    expect(refusal(ledger, { pod: 'uid-1', container: 'main', resource: R, count: 0 })).toContain('from 2 to 0');
    expect(refusal(ledger, { pod: 'uid-2', container: 'main', resource: R, count: 2 })).toContain('from 0 to 2');
    expect(allocate(ledger, { pod: 'uid-2', container: 'main', resource: R, count: 0 }).step.step).toBe('nothing');
  });

  it('scenario 75: plans of several containers at once, and releases in between, never meet on a device', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3', 'D4');
    admit(ledger, { pod: 'old', resource: R, count: 1 });
    const first = ledger.plan(request('a', 1));
    const second = ledger.plan(request('b', 1));
    expect(first.next(false)).toEqual({ step: 'allocate', deviceIds: ['D2'] });
    ledger.releasePod('old');
    expect(second.next(false)).toEqual({ step: 'allocate', deviceIds: ['D1'] });
    expect(ledger.capacity(R)).toMatchObject({ allocated: 0, reserved: 2, free: 2 });
    expect(refusal(ledger, { pod: 'x', resource: R, count: 3 })).toContain('Requested: 3, Available: 2');
    first.commit(RESPONSE);
    expect(ledger.device(R, 'D2')).toMatchObject({ reserved: false, holders: [{ podUid: 'a', container: 'c' }] });
    second.release();
    expect(ledger.capacity(R)).toMatchObject({ allocated: 1, reserved: 0, free: 3 });
  });

  it('scenario 80: asking for no device allocates nothing', () => {
    const ledger = ledgerWith('D1');
    expect(allocate(ledger, { pod: 'p', resource: R, count: 0, prefers: [] }).step).toEqual({ step: 'nothing' });
    expect(ledger.podUids()).toEqual([]);
  });

  it('scenario 81: asking for no device succeeds without healthy devices or registration too', () => {
    const ledger = ledgerWith('D1:U');
    expect(allocate(ledger, { pod: 'p', resource: R, count: 0 }).step).toEqual({ step: 'nothing' });
    expect(allocate(ledger, { pod: 'p', resource: 'example.com/never', count: 0 }).step).toEqual({ step: 'nothing' });
  });

  it('scenarios 85, 86: when Allocate fails or answers nothing, the devices are free again', () => {
    const ledger = ledgerWith('D1', 'D2');
    const plan = ledger.plan(request('p', 2));
    plan.next(false);
    expect(ledger.capacity(R)).toMatchObject({ reserved: 2, free: 0 });
    expect(ledger.device(R, 'D1')).toMatchObject({ reserved: true, holders: [] });
    plan.release();
    plan.release();
    expect(ledger.capacity(R)).toMatchObject({ allocated: 0, reserved: 0, free: 2 });
    expect(ledger.allocations()).toEqual([]);
    expect(admit(ledger, { pod: 'q', resource: R, count: 2 })).toEqual(['D1', 'D2']);
  });

  it('scenario 87: when the preference cannot be had, the devices are free again', () => {
    const ledger = ledgerWith('D1', 'D2');
    ledger.restore([recorded('p', 'init', R, ['D2'])]);
    ledger.settleContainer('p', 'init', 'init');
    const plan = ledger.plan(request('p', 2));
    expect(plan.next(true)).toEqual({ step: 'prefer', available: ['D1', 'D2'], mustInclude: ['D2'], size: 2 });
    expect(ledger.device(R, 'D2')?.reserved).toBe(true);
    plan.release();
    expect(ledger.device(R, 'D2')?.reserved).toBe(false);
    ledger.releasePod('p');
    expect(admit(ledger, { pod: 'q', resource: R, count: 2 })).toEqual(['D1', 'D2']);
  });

  it('gives everything back when a later step refuses (the kubelet leaves reused ids marked)', () => {
    const ledger = ledgerWith('D1', 'D2');
    ledger.restore([recorded('p', 'init', R, ['D1'])]);
    ledger.settleContainer('p', 'init', 'init');
    expect(refusal(ledger, { pod: 'p', resource: R, count: 3 })).toBe(
      'requested number of devices unavailable for example.com/r. Requested: 2, Available: 1',
    );
    expect(ledger.device(R, 'D1')).toMatchObject({ reserved: false, holders: [{ container: 'init' }] });
  });
});

describe('changes while a plan is open', () => {
  it('replaces devices that became unhealthy or vanished before Allocate', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3', 'D4', 'D5');
    const plan = ledger.plan(request('p', 2));
    expect(plan.next(true)).toMatchObject({ step: 'prefer', size: 2 });
    plan.answer(['D4', 'D2', 'D5']);
    ledger.replaceDevices(R, devices('D1', 'D2', 'D3', 'D4:U', 'D5'));
    expect(plan.next(true)).toEqual({ step: 'allocate', deviceIds: ['D2', 'D5'] });
    ledger.replaceDevices(R, devices('D1', 'D3', 'D4', 'D5'));
    expect(plan.next(true)).toEqual({ step: 'allocate', deviceIds: ['D4', 'D5'] });
    expect(ledger.device(R, 'D2')).toBeUndefined();
    expect(ledger.capacity(R)).toMatchObject({ reserved: 2, free: 2 });
  });

  it('refuses and lets go when too few are left', () => {
    const ledger = ledgerWith('D1', 'D2');
    const plan = ledger.plan(request('p', 2));
    plan.next(false);
    ledger.replaceDevices(R, devices('D1', 'D2:U'));
    const refused = plan.next(false);
    expect(refused).toMatchObject({
      rule: 'enough devices',
      message: 'requested number of devices unavailable for example.com/r. Requested: 1, Available: 0',
    });
    expect(plan.next(false)).toBe(refused);
    expect(ledger.capacity(R)).toMatchObject({ reserved: 0, free: 1 });
    expect(() => plan.commit(RESPONSE)).toThrow(DevmgrError);
  });

  it('refuses when the resource is removed, and keeps the reservation until then', () => {
    const ledger = ledgerWith('D1');
    const plan = ledger.plan(request('p', 1));
    plan.next(false);
    ledger.forgetResource(R);
    ledger.replaceDevices(R, devices('D1'));
    expect(refusal(ledger, { pod: 'q', resource: R, count: 1 })).toContain('Available: 0');
    ledger.forgetResource(R);
    expect(plan.next(false)).toMatchObject({ message: `cannot allocate unregistered device ${R}` });
    ledger.replaceDevices(R, devices('D1'));
    expect(admit(ledger, { pod: 'q', resource: R, count: 1 })).toEqual(['D1']);
  });

  it('records a device that vanished during Allocate without NUMA node, and keeps the answer as it came', () => {
    const ledger = ledgerWith('D1:H:0', 'D2:H:0,1', 'D3:H:1');
    const plan = ledger.plan(request('p', 3));
    plan.next(false);
    ledger.replaceDevices(R, devices('D2:H:0,1', 'D3:U:1'));
    const allocation = plan.commit(RESPONSE);
    expect(allocation).toEqual({
      podUid: 'p',
      container: 'c',
      resource: R,
      deviceIds: new Map([
        [-1, ['D1']],
        [0, ['D2']],
        [1, ['D2', 'D3']],
      ]),
      response: RESPONSE,
    });
    expect(ledger.allocation('p', 'c', R)).toBe(allocation);
    expect(ledger.device(R, 'D1')).toMatchObject({ listed: false, reserved: false, holders: [{ podUid: 'p' }] });
  });

  it('ends once: no step after the end, no second record for a container', () => {
    const ledger = ledgerWith('D1', 'D2');
    const plan = ledger.plan(request('p', 1));
    expect(() => plan.commit(RESPONSE)).toThrow('without devices to allocate');
    plan.next(false);
    const twin = ledger.plan(request('p', 1));
    twin.next(false);
    plan.commit(RESPONSE);
    plan.release();
    expect(ledger.capacity(R)).toMatchObject({ allocated: 1, reserved: 1 });
    expect(() => plan.commit(RESPONSE)).toThrow('without devices to allocate');
    expect(() => plan.next(false)).toThrow('after its end');
    expect(() => twin.commit(RESPONSE)).toThrow('has a record');
    twin.release();
    expect(ledger.capacity(R)).toMatchObject({ allocated: 1, reserved: 0, free: 1 });
  });
});

describe('devices of init containers', () => {
  it('scenario 76: init containers share with all later ones, app containers with nobody', () => {
    const ledger = ledgerWith('D1', 'D2');
    const of = (container: string, kind: 'init' | 'app', count: number) =>
      admit(ledger, { pod: 'p', container, kind, resource: R, count });
    const init1 = of('init1', 'init', 1);
    const init2 = of('init2', 'init', 2);
    const app1 = of('app1', 'app', 1);
    const app2 = of('app2', 'app', 1);
    expect(init2).toEqual(expect.arrayContaining([...init1, ...app1, ...app2]));
    expect(app1).not.toEqual(app2);
    expect(ledger.capacity(R)).toMatchObject({ allocated: 2, free: 0 });
    expect(refusal(ledger, { pod: 'p', container: 'app3', resource: R, count: 1 })).toContain('Available: 0');
  });

  it('scenario 77: sidecars and app containers take from init containers, each its own', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3', 'D4', 'D5', 'D6');
    const of = (container: string, kind: 'init' | 'sidecar' | 'app', count: number) =>
      admit(ledger, { pod: 'p', container, kind, resource: R, count });
    const init = of('init', 'init', 3);
    const own = [of('side1', 'sidecar', 1), of('side2', 'sidecar', 2), of('app1', 'app', 1), of('app2', 'app', 2)];
    expect(init).toEqual(expect.arrayContaining([...(own[0] ?? []), ...(own[1] ?? [])]));
    expect(new Set(own.flat()).size).toBe(6);
  });

  it('scenario 78: init and sidecar share one of two devices, the app container has the other', () => {
    const ledger = ledgerWith('D1', 'D2');
    const of = (container: string, kind: 'init' | 'sidecar' | 'app') =>
      admit(ledger, { pod: 'p', container, kind, resource: R, count: 1 });
    expect([of('init', 'init'), of('side', 'sidecar'), of('app', 'app')]).toEqual([['D1'], ['D1'], ['D2']]);
  });

  it('lets no other pod have them, keeps them through other admissions, and ends with the admission', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3');
    admit(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1 });
    expect(admit(ledger, { pod: 'q', container: 'init', kind: 'init', resource: R, count: 1 })).toEqual(['D2']);
    expect(admit(ledger, { pod: 'p', container: 'app', resource: R, count: 1 })).toEqual(['D1']);
    ledger.dropReuse('q');
    expect(admit(ledger, { pod: 'q', container: 'app', resource: R, count: 1 })).toEqual(['D3']);
  });

  it('are free for later containers only once the init container is settled', () => {
    const ledger = ledgerWith('D1', 'D2');
    allocate(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1 });
    expect(allocate(ledger, { pod: 'p', container: 'app', resource: R, count: 1 }).ids).toEqual(['D2']);
  });

  it('are taken over only when healthy and listed', () => {
    const ledger = ledgerWith('D1', 'D2', 'D3');
    admit(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 2 });
    ledger.replaceDevices(R, devices('D1:U', 'D2', 'D3'));
    expect(admit(ledger, { pod: 'p', container: 'app', resource: R, count: 2 })).toEqual(['D2', 'D3']);
  });

  it('are not shared by two containers whose plans are open at once', () => {
    const ledger = ledgerWith('D1', 'D2');
    admit(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 1 });
    const a = ledger.plan(request('p', 1, { container: 'a' }));
    const b = ledger.plan(request('p', 1, { container: 'b' }));
    expect([a.next(false), b.next(false)]).toEqual([
      { step: 'allocate', deviceIds: ['D1'] },
      { step: 'allocate', deviceIds: ['D2'] },
    ]);
  });

  it('are not given to a second container after a restart, even when the taker comes later in order', () => {
    const ledger = new Ledger();
    ledger.restore([recorded('p', 'init', R, ['D1']), recorded('p', 'app2', R, ['D1'])]);
    ledger.replaceDevices(R, devices('D1', 'D2'));
    ledger.settleContainer('p', 'init', 'init');
    expect(admit(ledger, { pod: 'p', container: 'app1', resource: R, count: 1 })).toEqual(['D2']);
  });

  it('are free for all when the pod is released', () => {
    const ledger = ledgerWith('D1', 'D2');
    admit(ledger, { pod: 'p', container: 'init', kind: 'init', resource: R, count: 2 });
    admit(ledger, { pod: 'p', container: 'app', resource: R, count: 1 });
    expect(ledger.releasePod('p').map(({ container }) => container)).toEqual(['init', 'app']);
    expect(ledger.capacity(R)).toMatchObject({ allocated: 0, free: 2 });
    expect(ledger.releasePod('p')).toEqual([]);
  });
});

describe('the trace of a decision', () => {
  it('tells what was there and which rules were tried', () => {
    const ledger = ledgerWith('D1:H:0', 'D2:H:1', 'D3:U:1', 'D4:H:1', 'D5:H');
    admit(ledger, { pod: 'q', resource: R, count: 1 });
    const plan = ledger.plan(request('p', 3, { affinity: new Set([1]) }));
    plan.next(true);
    plan.answer(['D9', 'D5']);
    plan.next(true);
    const { rules, ...numbers } = plan.trace;
    expect(numbers).toEqual({
      podUid: 'p',
      container: 'c',
      kind: 'app',
      resource: R,
      asked: 3,
      affinity: [1],
      listed: 5,
      healthy: 4,
      held: 1,
      reserved: 0,
      free: 3,
      reusable: 0,
      deviceIds: ['D2', 'D4', 'D5'],
    });
    expect(rules.map(({ rule, outcome, sentence }) => `${rule} | ${outcome} | ${sentence}`)).toEqual([
      'unchanged request | passed | Nothing is recorded for the container yet.',
      'resource registered | passed | The resource is registered.',
      'healthy devices present | passed | 4 of 5 listed are healthy.',
      'enough devices | passed | 3 devices still needed, 3 free.',
      'aligned devices | took | Took 2 of 2 free on the NUMA nodes of the hint.',
      'plugin preference | asked | Asked the plugin which of 3 devices it prefers.',
      'plugin preference | took | Took 1 of the 2 ids the plugin prefers.',
      'complete | satisfied | All 3 devices are chosen.',
    ]);
    expect(JSON.parse(JSON.stringify(plan.trace))).toEqual(plan.trace);
  });

  it('has a sentence for each refusal', () => {
    const last = (ledger: Ledger, wanted: PlanRequest): string | undefined => {
      const plan = ledger.plan(wanted);
      plan.next(false);
      return plan.trace.rules.at(-1)?.sentence;
    };
    const ledger = ledgerWith('D1', 'D2:U');
    ledger.replaceDevices('example.com/sick', devices('S:U'));
    ledger.restore([recorded('p', 'c', R, ['D2'])]);
    expect([
      last(ledger, request('p', 3)),
      last(ledger, request('p', 1)),
      last(ledger, request('q', 5)),
      last(ledger, request('q', 0)),
      last(ledger, request('q', 1, { resource: 'example.com/none' })),
      last(ledger, request('q', 1, { resource: 'example.com/sick' })),
    ]).toEqual([
      'The container has a record of 1 device and now asks for 3.',
      '1 of the 1 recorded are not healthy any more.',
      '5 devices still needed, and 1 free.',
      'The container asks for no device.',
      'No plugin is registered for the resource.',
      'None of the 1 listed is healthy.',
    ]);
  });
});
