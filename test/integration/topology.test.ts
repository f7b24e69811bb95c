import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodesOf, NumaMachine, type ResourceHints, type TopologyRules, type TopologyScope } from '@devmgr/core';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdmissionOptions } from '../../packages/manager/src/admission.ts';
import type { TopologySettings } from '../../packages/manager/src/topology/topology-manager.ts';
import { DaemonBench } from './daemon-bench.ts';
import { ManagerBench, pod, type BenchOptions } from './manager-bench.ts';

const R = 'example.com/r';
const S = 'example.com/s';
const REFUSED = 'Resources cannot be allocated with Topology locality';
const ALIVE = new AbortController().signal;

let bench: ManagerBench;
/** What was counted: `ok` or `failed` for each pod that had its turn. */
let turns: string[];
const aligned: string[] = [];
const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  aligned.length = 0;
});

/** Two devices on each of so many nodes, named a0, a1, b2, b3, … by node. */
function devicesOn(nodes: readonly number[], each = 2): { id: string; numaNodes: number[] }[] {
  return nodes.flatMap((node, place) =>
    Array.from({ length: each }, (_, index) => ({
      id: `${String.fromCharCode(97 + place)}${String(place * each + index)}`,
      numaNodes: [node],
    })),
  );
}

/** Nodes 0, 1 and 2, of which 1 and 2 are neighbours. */
const DISTANCES = [
  [10, 30, 30],
  [30, 10, 11],
  [30, 11, 10],
];

async function start(
  policy: TopologyRules['policy'],
  {
    scope = 'container',
    closest = false,
    nodes = 2,
    ...more
  }: { scope?: TopologyScope; closest?: boolean; nodes?: number } & BenchOptions = {},
): Promise<ManagerBench> {
  const alignment: TopologySettings = {
    policy,
    scope,
    options: { preferClosestNumaNodes: closest },
    machine: new NumaMachine(
      Array.from({ length: nodes }, (_, id) => ({ id, distances: DISTANCES[id]?.slice(0, nodes) ?? [] })),
    ),
    onAligned: (of, ok) => aligned.push(`${of} ${ok ? 'aligned' : 'refused'}`),
  };
  turns = [];
  const onAllocation: AdmissionOptions['onAllocation'] = (failed) => turns.push(failed ? 'failed' : 'ok');
  const started = await ManagerBench.start({ alignment, onAllocation, ...more });
  closing.push(() => started.close());
  bench = started;
  return started;
}

/** Nodes of the devices a container holds, one letter a device. */
function nodesHeld(uid: string, container: string, resource = R): string {
  return bench
    .held(uid, container, resource)
    .map((id) => id[0])
    .join('');
}

/** Nothing of the pod is left. */
function expectNothingOf(uid: string): void {
  expect(bench.manager.ledger.podAllocations(uid)).toEqual([]);
  expect(bench.topology?.stored(uid, 'c0')).toBeUndefined();
}

function shown(hints: ResourceHints | undefined): unknown {
  return [...(hints ?? [])].map(([resource, list]) => [
    resource,
    list?.map(({ mask, preferred }) => `${nodesOf(mask ?? 0n).join('')}${preferred ? 'p' : 'n'}`) ?? null,
  ]);
}

describe('container scope', () => {
  it('scenario 137: the second container is refused under restricted, and the first gives its devices back', async () => {
    await start('restricted');
    const plugin = await bench.plugin(R, devicesOn([0, 1]));
    expect(await bench.admit(pod('p', [{ [R]: 2 }, { [R]: 1 }, { [R]: 1 }]))).toEqual({ ok: true });
    expect([nodesHeld('p', 'c0'), nodesHeld('p', 'c1'), nodesHeld('p', 'c2')]).toEqual(['aa', 'b', 'b']);
    await bench.admission.release('p');
    expectNothingOf('p');
    for (const [uid, count] of [
      ['q', 2],
      ['r', 1],
    ] as const)
      expect(await bench.admit(pod(uid, [{ [R]: count }]))).toEqual({ ok: true });
    await bench.admission.release('q');
    // Two are free on node 0 and one on node 1: the first container takes one of node 0, and two of one node are no more.
    const before = plugin.callsOf('Allocate').length;
    expect(await bench.admit(pod('s', [{ [R]: 1 }, { [R]: 2 }]))).toEqual({
      ok: false,
      reason: 'TopologyAffinityError',
      message: REFUSED,
    });
    expect(plugin.callsOf('Allocate')).toHaveLength(before + 1);
    expectNothingOf('s');
    expect(bench.inventory.resources()).toMatchObject([{ allocated: 1 }]);
    expect(turns).toEqual(['ok', 'ok', 'ok', 'failed']);
    expect(await bench.admit(pod('t', [{ [R]: 2 }, { [R]: 1 }]))).toEqual({ ok: true });
    expect([nodesHeld('t', 'c0'), nodesHeld('t', 'c1')]).toEqual(['aa', 'b']);
  });

  it('takes a single node for all resources, or refuses', async () => {
    await start('single-numa-node');
    await bench.plugin(R, devicesOn([0, 1]));
    await bench.plugin(S, [...devicesOn([0], 1), { id: 'b1', numaNodes: [1] }, { id: 'b2', numaNodes: [1] }]);
    expect(await bench.outcome(pod('p', [{ [R]: 1, [S]: 2 }]))).toBe('admitted');
    expect([nodesHeld('p', 'c0'), nodesHeld('p', 'c0', S)]).toEqual(['b', 'bb']);
    expect(await bench.outcome(pod('q', [{ [R]: 2, [S]: 1 }]))).toBe('admitted');
    expect([nodesHeld('q', 'c0'), nodesHeld('q', 'c0', S)]).toEqual(['aa', 'a']);
    expect(await bench.outcome(pod('r', [{ [R]: 3 }]))).toBe(REFUSED);
    await bench.admission.release('q');
    // One of R is left on node 1 and two are on node 0, where S has one.
    expect(await bench.outcome(pod('s', [{ [R]: 1, [S]: 2 }]))).toBe(REFUSED);
    expect(await bench.outcome(pod('t', [{}]))).toBe('admitted');
    expect(bench.topology?.stored('t', 'c0')).toEqual({ mask: null, preferred: true });
    expect(aligned).toEqual([
      'container aligned',
      'container aligned',
      'container refused',
      'container refused',
      'container aligned',
    ]);
  });

  it('prefers, and refuses nobody, under best-effort', async () => {
    await start('best-effort');
    await bench.plugin(R, devicesOn([0, 1]));
    await bench.plugin(S, devicesOn([1]));
    expect(await bench.outcome(pod('p', [{ [R]: 1, [S]: 1 }]))).toBe('admitted');
    expect(nodesHeld('p', 'c0')).toBe('b');
    expect(await bench.outcome(pod('q', [{ [R]: 3 }]))).toBe('admitted');
    expect(nodesHeld('q', 'c0')).toBe('aab');
    expect(await bench.outcome(pod('r', [{ [R]: 1 }]))).toBe(
      `requested number of devices unavailable for ${R}. Requested: 1, Available: 0`,
    );
  });

  it('keeps what an init container left within the hint', async () => {
    await start('restricted');
    await bench.plugin(R, devicesOn([0, 1]));
    // The sidecar keeps one of node 0; what the init container had is used again, where it is.
    expect(await bench.outcome(pod('p', [{ [R]: 2 }], [{ [R]: 2 }]))).toBe('admitted');
    expect([nodesHeld('p', 'i0'), nodesHeld('p', 'c0')]).toEqual(['aa', 'aa']);
    expect(bench.held('p', 'c0', R)).toEqual(bench.held('p', 'i0', R));
    expect(await bench.outcome(pod('q', [{ [R]: 2 }], [{ [R]: 1 }]))).toBe('admitted');
    expect(nodesHeld('q', 'c0')).toBe('bb');
  });

  it('counts limits of zero, as the kubelet does', async () => {
    await start('restricted');
    await bench.plugin(R, devicesOn([0]));
    await bench.plugin(S, devicesOn([1]));
    expect(shown(bench.topology?.containerHints(pod('p', [{ [R]: 1, [S]: 0 }]), 'c0'))).toEqual([
      [R, ['0p']],
      [S, ['1p']],
    ]);
    expect(await bench.outcome(pod('p', [{ [R]: 1, [S]: 0 }]))).toBe(REFUSED);
    expect(await bench.outcome(pod('q', [{ [R]: 1 }]))).toBe('admitted');
  });

  it('takes the closer nodes where told to', async () => {
    await start('best-effort', { nodes: 3, closest: true });
    await bench.plugin(R, devicesOn([0, 1, 2]));
    expect(await bench.outcome(pod('p', [{ [R]: 3 }]))).toBe('admitted');
    expect(nodesOf(bench.topology?.stored('p', 'c0')?.mask ?? 0n)).toEqual([1, 2]);
    expect(nodesHeld('p', 'c0')).toMatch(/^bbc$|^bcc$/);
  });

  it('takes the lower nodes where not told to', async () => {
    await start('best-effort', { nodes: 3 });
    await bench.plugin(R, devicesOn([0, 1, 2]));
    expect(await bench.outcome(pod('p', [{ [R]: 3 }]))).toBe('admitted');
    expect(nodesOf(bench.topology?.stored('p', 'c0')?.mask ?? 0n)).toEqual([0, 1]);
  });

  it('decides on what is free when the turn has come', async () => {
    await start('restricted');
    const plugin = await bench.plugin(R, devicesOn([0, 1]));
    const release = plugin.hangAllocate();
    const first = bench.outcome(pod('p', [{ [R]: 2 }]));
    await plugin.waitForCalls('Allocate');
    const others = ['q', 'r'].map((uid) => bench.outcome(pod(uid, [{ [R]: 2 }])));
    release();
    expect(await Promise.all([first, ...others])).toEqual(['admitted', 'admitted', REFUSED]);
    expect([nodesHeld('p', 'c0'), nodesHeld('q', 'c0')]).toEqual(['aa', 'bb']);
  });
});

describe('pod scope', () => {
  it('aligns all containers as one, and refuses what container scope takes', async () => {
    await start('single-numa-node', { scope: 'pod' });
    await bench.plugin(R, devicesOn([0, 1]));
    expect(await bench.outcome(pod('p', [{ [R]: 1 }, { [R]: 1 }]))).toBe('admitted');
    expect(nodesHeld('p', 'c0') + nodesHeld('p', 'c1')).toBe('aa');
    const apart = pod('q', [{ [R]: 2 }, { [R]: 1 }]);
    expect(await bench.outcome(apart)).toBe(REFUSED);
    expectNothingOf('q');
    expect(aligned).toEqual(['pod aligned', 'pod refused']);
    expect(turns).toEqual(['ok', 'failed']);

    await start('single-numa-node', { scope: 'container' });
    await bench.plugin(R, devicesOn([0, 1]));
    expect(await bench.outcome(apart)).toBe('admitted');
    expect([nodesHeld('q', 'c0'), nodesHeld('q', 'c1')]).toEqual(['aa', 'b']);
  });

  it('asks for as much as runs at once: init containers and app containers one after the other', async () => {
    await start('restricted', { scope: 'pod' });
    await bench.plugin(R, devicesOn([0, 1]));
    expect(await bench.outcome(pod('p', [{ [R]: 1 }, { [R]: 1 }], [{ [R]: 2 }]))).toBe('admitted');
    const nodes = ['i0', 'c0', 'c1'].map((container) => nodesHeld('p', container));
    expect(nodes).toEqual(['aa', 'a', 'a']);
  });
});

describe('after a restart', () => {
  it('scenario 146: hints of recorded devices are those they were given by', async () => {
    await start('restricted');
    const list = devicesOn([0, 1]);
    const plugin = await bench.plugin(R, list);
    const running = pod('p', [{ [R]: 1 }, { [R]: 2 }]);
    expect(await bench.outcome(running)).toBe('admitted');
    expect([nodesHeld('p', 'c0'), nodesHeld('p', 'c1')]).toEqual(['a', 'bb']);
    const hints = (): unknown => ['c0', 'c1'].map((name) => shown(bench.topology?.containerHints(running, name)));
    const before = hints();
    expect(before).toEqual([[[R, ['0p', '01n']]], [[R, ['1p', '01n']]]]);
    const recovered = {
      allocations: bench.manager.ledger.allocations(),
      resources: [{ resource: R, endpoint: null, preStartRequired: false }],
    };
    await plugin.close();

    await start('restricted', { recovered });
    expect(hints()).toEqual([[[R, null]], [[R, null]]]); // nothing is known of the devices yet
    await bench.plugin(R, list);
    expect(hints()).toEqual(before);
    // One free device is left, on node 0; what is recorded still holds when the pod is admitted once more.
    expect(await bench.outcome(pod('q', [{ [R]: 2 }]))).toBe(REFUSED);
    expect(await bench.outcome(running)).toBe('admitted');
    expect([nodesHeld('p', 'c0'), nodesHeld('p', 'c1')]).toEqual(['a', 'bb']);
  });

  it('a container whose record is lost is aligned as at its admission, and anew when that was before the restart', async () => {
    await start('single-numa-node');
    await bench.plugin(R, devicesOn([0, 1]));
    const one = pod('p', [{ [R]: 2 }]);
    expect(await bench.outcome(pod('other', [{ [R]: 2 }]))).toBe('admitted');
    expect(await bench.outcome(one)).toBe('admitted');
    expect(nodesHeld('p', 'c0')).toBe('bb');
    bench.manager.ledger.releasePod('other');
    bench.manager.ledger.releasePod('p');
    await bench.admission.prepareStart(one, 'c0', ALIVE);
    expect(nodesHeld('p', 'c0')).toBe('bb');

    bench.topology?.forget('p');
    bench.manager.ledger.releasePod('p');
    await bench.admission.prepareStart(one, 'c0', ALIVE);
    expect(nodesHeld('p', 'c0')).toBe('aa');
    expect(nodesOf(bench.topology?.stored('p', 'c0')?.mask ?? 0n)).toEqual([0]);

    const wide = pod('q', [{ [R]: 1 }]);
    bench.manager.ledger.releasePod('p');
    for (const uid of ['x', 'y']) expect(await bench.outcome(pod(uid, [{ [R]: 2 }]))).toBe('admitted');
    await expect(bench.admission.prepareStart(wide, 'c0', ALIVE)).rejects.toThrow(REFUSED);
  });
});

describe('the daemon', () => {
  /** A copy of a machine's tree, in the given form of directories, with rows of distances. */
  function tree(rows: readonly (readonly number[] | undefined)[], below = 'sys/devices/system/node'): string {
    const root = mkdtempSync(join(tmpdir(), 'dm-'));
    closing.push(() => rmSync(root, { recursive: true }));
    for (const [id, row] of rows.entries()) {
      const directory = join(root, below, `node${String(id)}`);
      mkdirSync(directory, { recursive: true });
      if (row !== undefined) writeFileSync(join(directory, 'distance'), `${row.join(' ')}\n`);
    }
    writeFileSync(join(root, below, 'online'), `0-${String(rows.length - 1)}\n`);
    return root;
  }
  async function daemon(flags: Readonly<Record<string, unknown>>): Promise<DaemonBench> {
    const started = await DaemonBench.start(flags);
    closing.push(() => started.close());
    return started;
  }
  const asking = (count: number) => ({ containers: [{ name: 'c', resources: { limits: { [R]: count } } }] });

  it('reads the machine from another root, and tells pod, event and metrics of a refusal', async () => {
    const numaFrom = tree(DISTANCES);
    const started = await daemon({
      numaFrom,
      topologyPolicy: 'restricted',
      topologyOptions: { 'prefer-closest-numa-nodes': 'true' },
      listen: '127.0.0.1:0',
    });
    await started.plugin(R, devicesOn([0, 1, 2]));
    await started.pod('close', { ...asking(3) });
    await started.phase('close', 'Running');
    const held = (await started.api.devices(R)).filter(({ pod: holder }) => holder === 'default/close');
    expect(held.map(({ numaNodes }) => numaNodes[0]).every((node) => node === 1 || node === 2)).toBe(true);
    await started.pod('fits', asking(2));
    await started.phase('fits', 'Running');
    await started.pod('refused', asking(2));
    const failed = await started.phase('refused', 'Failed');
    expect(failed.status).toMatchObject({ reason: 'TopologyAffinityError', message: `Pod was rejected: ${REFUSED}` });
    const events = await started.api.listEvents('default');
    expect(events.items.map(({ reason }) => reason)).toContain('TopologyAffinityError');
    const metrics = await (await fetch(`${started.address}/metrics`)).text();
    for (const line of [
      'kubelet_topology_manager_admission_requests_total 3',
      'kubelet_topology_manager_admission_errors_total 1',
      'kubelet_topology_manager_admission_duration_ms_count 3',
      'kubelet_admission_rejections_total{reason="TopologyAffinityError"} 1',
    ]) {
      expect(metrics).toContain(`${line}\n`);
    }
    await started.remove('fits');
    await started.pod('later', asking(2));
    await started.phase('later', 'Running');
  });

  it('takes the nodes from a directory that has them at once', async () => {
    const started = await daemon({
      numaFrom: tree(
        [
          [10, 20],
          [20, 10],
        ],
        '.',
      ),
      topologyPolicy: 'single-numa-node',
      topologyScope: 'pod',
    });
    await started.plugin(R, devicesOn([0, 1]));
    await started.pod('wide', asking(3));
    expect((await started.phase('wide', 'Failed')).status?.reason).toBe('TopologyAffinityError');
  });

  it('scenario 136: does not start where the policy cannot work, and does without a policy', async () => {
    const nine = tree(Array.from({ length: 9 }, () => undefined));
    const refused = async (flags: Readonly<Record<string, unknown>>): Promise<string> => {
      try {
        await daemon(flags);
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
      return 'started';
    };
    const topologyPolicy = 'best-effort';
    const raised = { 'max-allowable-numa-nodes': '9' };
    expect(await refused({ numaFrom: nine, topologyPolicy })).toBe(
      'unsupported on machines with more than 8 NUMA Nodes',
    );
    expect(await refused({ numaFrom: nine, topologyPolicy, topologyOptions: raised })).toBe('started');
    expect(await refused({ numaFrom: nine })).toBe('started');
    const closest = { 'prefer-closest-numa-nodes': 'true' };
    expect(await refused({ numaFrom: nine, topologyPolicy, topologyOptions: { ...raised, ...closest } })).toBe(
      'cannot discover NUMA topology: error getting NUMA distances from cadvisor',
    );
    expect(await refused({ numaFrom: '/nonexistent', topologyPolicy })).toBe(
      'numaFrom: /nonexistent has no NUMA nodes',
    );
    // This machine, whatever it is.
    expect(await refused({ topologyPolicy, topologyOptions: { 'max-allowable-numa-nodes': '64' } })).toBe('started');
  });

  it('keeps devices and alignment over a restart', async () => {
    const started = await daemon({ numaFrom: tree(DISTANCES), topologyPolicy: 'single-numa-node' });
    await started.plugin(R, devicesOn([0, 1, 2]));
    await started.pod('one', asking(1));
    await started.phase('one', 'Running');
    const before = (await started.api.devices(R)).find(({ pod: holder }) => holder !== null)?.id;
    await started.restart();
    await until('the plugin to be back', async () => {
      const [resource] = await started.api.resources();
      return resource?.healthy === 6;
    });
    const after = (await started.api.devices(R)).find(({ pod: holder }) => holder !== null);
    expect(after).toMatchObject({ id: before, pod: 'default/one' });
    await started.pod('two', asking(2));
    await started.phase('two', 'Running');
    await started.pod('three', asking(2));
    await started.phase('three', 'Running');
    await started.pod('none', asking(2));
    expect((await started.phase('none', 'Failed')).status?.reason).toBe('TopologyAffinityError');
  });
});
