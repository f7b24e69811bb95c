import { type ExplainedHint, type Explanation, nodeSetText, NumaMachine } from '@devmgr/core';
import { afterEach, describe, expect, it } from 'vitest';
import { MAX_DECISIONS } from '../../packages/manager/src/decision-book.ts';
import { ManagerBench, pod, type BenchOptions } from './manager-bench.ts';

const R = 'example.com/r';
const Q = 'example.com/q';
let bench: ManagerBench;
async function start(options: BenchOptions = {}): Promise<void> {
  bench = await ManagerBench.start(options);
}
afterEach(async () => {
  await bench.close();
});

/** `container resource asked: outcome by rule [devices]` for each request. */
function requests({ requests: explained }: Explanation): string[] {
  return explained.map(
    ({ container, resource, asked, outcome, refusedBy, deviceIds }) =>
      `${container} ${resource} ${String(asked)}: ${outcome}${refusedBy === null ? '' : ` by ${refusedBy}`} [${deviceIds.join()}]`,
  );
}

/** `container verdict: resource asked from sets, …, merged set`, p for preferred. */
function places({ topology }: Explanation): string[] {
  const set = ({ numaNodes, preferred }: ExplainedHint): string => `${nodeSetText(numaNodes)}${preferred ? 'p' : 'n'}`;
  return (topology?.decisions ?? []).map(({ container, admitted, resources, merged }) => {
    const wishes = resources.map(({ resource, asked, hints }) => {
      const from = hints === null ? 'anywhere' : hints.map(set).join(' ') || 'nowhere';
      return `${resource} ${String(asked)} from ${from}`;
    });
    return `${String(container)} ${admitted ? 'admitted' : 'refused'}: ${wishes.join(', ')}, merged ${set(merged)}`;
  });
}

const explain = (name: string): Explanation => bench.explainer.explainPod('default', name);

describe('the decision about a pod', () => {
  it('is told container by container, with what there was at that moment', async () => {
    await start();
    await bench.plugin(R, ['d1', 'd2', 'd3', { id: 'd4', health: 'Unhealthy' }]);
    expect(await bench.outcome(pod('one', [{ [R]: 1 }], [{ [R]: 2 }]))).toBe('admitted');
    const admitted = explain('one');
    expect(requests(admitted)).toEqual([`i0 ${R} 2: Given [d1,d2]`, `c0 ${R} 1: Given [d1]`]);
    expect(admitted.requests[1]?.counts).toMatchObject({ held: 2, free: 1, reusable: 2 });
    expect(admitted).toMatchObject({ verdict: 'Admitted', reason: null, fitsNow: null, advice: [] });

    expect(await bench.outcome(pod('two', [{ [R]: 1 }, { [R]: 1 }]))).toContain('Requested: 1, Available: 0');
    const refused = explain('two');
    expect(requests(refused)).toEqual([`c0 ${R} 1: Given [d3]`, `c1 ${R} 1: Refused by enough devices []`]);
    expect(refused.requests[1]?.counts).toEqual({ listed: 4, healthy: 3, held: 3, reserved: 0, free: 0, reusable: 0 });
    expect(refused.requests[1]?.holders.map(({ pod: holder, container }) => `${holder} ${container}`)).toEqual([
      'default/one c0',
      'default/one i0',
      'default/two c0',
    ]);
    expect(refused).toMatchObject({ verdict: 'Refused', reason: 'UnexpectedAdmissionError', fitsNow: false });
    expect(refused.resources[0]).toMatchObject({ held: 2, free: 1, unhealthyIds: ['d4'] });

    await bench.admission.release('one');
    expect(explain('two')).toMatchObject({ fitsNow: true, resources: [{ held: 0, free: 3 }] });
  });

  it('names what nobody has registered, and what was never looked at', async () => {
    await start();
    await bench.plugin(R, ['d1']);
    expect(await bench.outcome(pod('p', [{ [R]: 1 }, { [Q]: 1 }]))).toBe(`cannot allocate unregistered device ${Q}`);
    expect(requests(explain('p'))).toEqual([
      `c0 ${R} 1: NotReached []`,
      `c1 ${Q} 1: Refused by resource registered []`,
    ]);
    expect(explain('p').advice[0]).toBe(`Start the device plugin of ${Q}, or correct the name: registered are ${R}.`);
  });

  it('says what is ignored, where unknown resources are', async () => {
    await start({ unknownResources: 'ignore' });
    await bench.plugin(R, ['d1']);
    expect(await bench.outcome(pod('p', [{ [R]: 1, [Q]: 1 }]))).toBe('admitted');
    const explanation = explain('p');
    expect(requests(explanation)).toEqual([`c0 ${R} 1: Given [d1]`, `c0 ${Q} 1: Ignored []`]);
    expect(explanation.summary).toBe(`The pod has what it asks for: d1 of ${R}.`);
    expect(bench.explainer.explainLimits({ [Q]: 1 })).toMatchObject({
      verdict: 'WouldFit',
      summary: 'It would be admitted, without devices.',
    });
  });

  it('says that the plugin failed after the rules had chosen', async () => {
    await start();
    await bench.plugin(R, ['d1', 'd2'], {
      script: {
        allocate: () => {
          throw new Error('firmware is gone');
        },
      },
    });
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toContain('firmware is gone');
    const explanation = explain('p');
    expect(requests(explanation)).toEqual([`c0 ${R} 1: Failed [d1]`]);
    expect(explanation.summary).toContain('The rules had chosen d1');
    expect(explanation.message).toContain('firmware is gone');
  });

  it('does not blame a rule when the decision could not be written down', async () => {
    await start();
    await bench.plugin(R, ['d1']);
    bench.state.full = true;
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toContain('no space left');
    const explanation = explain('p');
    expect(requests(explanation)).toEqual([`c0 ${R} 1: Given [d1]`]);
    expect(explanation.summary).toBe('No rule that was recorded refused it; the message says why.');
  });

  it('names the topology policy, and what the rules would have said', async () => {
    const machine = new NumaMachine([
      { id: 0, distances: [10, 20] },
      { id: 1, distances: [20, 10] },
    ]);
    await start({
      alignment: {
        policy: 'single-numa-node',
        scope: 'container',
        options: { preferClosestNumaNodes: false },
        machine,
      },
    });
    const on = (id: string, node: number) => ({ id, numaNodes: [node] });
    await bench.plugin(R, [on('a0', 0), on('a1', 0), on('b0', 1), on('b1', 1)]);
    expect(await bench.outcome(pod('p', [{ [R]: 2 }, { [R]: 3 }]))).toBe(
      'Resources cannot be allocated with Topology locality',
    );
    const explanation = explain('p');
    expect(requests(explanation)).toEqual([`c0 ${R} 2: Given [a0,a1]`, `c1 ${R} 3: Refused by topology policy []`]);
    // One container had its devices by then.
    expect(explanation.requests[1]?.counts).toMatchObject({ held: 2, free: 2 });
    expect(explanation.requests[1]?.rules.map(({ rule, outcome }) => `${rule} ${outcome}`)).toEqual([
      'topology policy refused',
      'unchanged request passed',
      'resource registered passed',
      'healthy devices present passed',
      'enough devices refused',
    ]);
    expect(explanation.summary).toBe(
      `Policy single-numa-node refuses container c1: no set of NUMA nodes can give 3 of ${R}.`,
    );
    expect(places(explanation)).toEqual([
      `c0 admitted: ${R} 2 from {0}p {1}p {0,1}n, merged {0}p`,
      `c1 refused: ${R} 3 from nowhere, merged anyn`,
    ]);
    expect(explanation).toMatchObject({
      reason: 'TopologyAffinityError',
      topology: { policy: 'single-numa-node', scope: 'container' },
      resources: [
        {
          numa: [
            { numaNodes: [0], free: 2 },
            { numaNodes: [1], free: 2 },
          ],
        },
      ],
    });
    const wish = bench.explainer.explainLimits({ [R]: 3 });
    expect(wish).toMatchObject({ verdict: 'WouldBeRefused', reason: 'TopologyAffinityError' });
    expect(places(wish)).toEqual([`null refused: ${R} 3 from {0,1}p, merged anyn`]);
    expect(wish.summary).toBe(
      `Policy single-numa-node refuses: 3 of ${R} can be had only from NUMA nodes {0,1} together; the policy wants a single node.`,
    );
    // Too few whatever the nodes: the pod would get the same reason, and the number is what there is to mend.
    expect(bench.explainer.explainLimits({ [R]: 5 })).toMatchObject({
      reason: 'TopologyAffinityError',
      requests: [{ refusedBy: 'enough devices' }],
    });
    expect(bench.explainer.explainLimits({ [R]: 2 })).toMatchObject({
      verdict: 'WouldFit',
      requests: [{ affinity: [0], deviceIds: ['a0', 'a1'] }],
    });
  });

  it('says which resources cannot agree on NUMA nodes, of the pod as a whole too', async () => {
    const machine = new NumaMachine([{ id: 0 }, { id: 1 }]);
    const options = { preferClosestNumaNodes: false };
    await start({ alignment: { policy: 'restricted', scope: 'pod', options, machine } });
    await bench.plugin(R, [
      { id: 'r0', numaNodes: [0] },
      { id: 'r1', numaNodes: [0] },
    ]);
    await bench.plugin(Q, [
      { id: 'q0', numaNodes: [1] },
      { id: 'q1', numaNodes: [1] },
    ]);
    expect(await bench.outcome(pod('p', [{ [R]: 1 }, { [R]: 1, [Q]: 1 }]))).toContain('Topology locality');
    const explanation = explain('p');
    expect(places(explanation)).toEqual([`null refused: ${R} 2 from {0}p, ${Q} 1 from {1}p, merged {0,1}n`]);
    expect(explanation.summary).toBe(
      `Policy restricted refuses the pod as a whole: no place is accepted for all of them: 2 of ${R} from {0}; 1 of ${Q} from {1}.`,
    );
  });

  it('is remembered of the latest refused pods, however many are admitted', async () => {
    await start();
    await bench.plugin(R, ['d1']);
    await bench.outcome(pod('refused', [{ [R]: 2 }]));
    for (let index = 0; index <= MAX_DECISIONS; index++) await bench.outcome(pod(`p${String(index)}`, [{}]));
    expect(explain('refused').verdict).toBe('Refused');
    expect(() => explain('p0')).toThrow('no decision about one is remembered');
    expect(explain(`p${String(MAX_DECISIONS)}`)).toMatchObject({
      verdict: 'Admitted',
      summary: 'The pod asks for no devices.',
    });
  });

  it('is not remembered of an admission that was given up', async () => {
    await start({ waitForPluginMs: 60_000, expectedResources: [Q] });
    const controller = new AbortController();
    const admission = bench.admit(pod('p', [{ [Q]: 1 }]), controller.signal);
    controller.abort();
    await expect(admission).rejects.toThrow();
    expect(() => explain('p')).toThrow('not found');
  });
});

describe('a question', () => {
  it('calls no plugin and changes nothing', async () => {
    await start();
    await bench.plugin(R, ['d1', 'd2'], {
      script: { options: () => ({ preStartRequired: true, getPreferredAllocationAvailable: true }) },
    });
    expect(bench.explainer.explainLimits({ [R]: 2 })).toMatchObject({ verdict: 'WouldFit' });
    expect(bench.explainer.explainLimits({ [R]: 3 })).toMatchObject({ verdict: 'WouldBeRefused' });
    expect(bench.calls).toEqual([]);
    expect(bench.manager.ledger.capacity(R)).toMatchObject({ reserved: 0, free: 2, allocated: 0 });
    expect(await bench.outcome(pod('p', [{ [R]: 2 }]))).toBe('admitted');
  });

  it('about a resource whose plugin is away would wait', async () => {
    await start({ expectedResources: [Q] });
    const plugin = await bench.plugin(R, ['d1']);
    expect(bench.explainer.explainLimits({ [Q]: 1 })).toMatchObject({ verdict: 'WouldWait' });
    await plugin.close();
    await bench.waitForNode(R, '0/1');
    const explanation = bench.explainer.explainLimits({ [R]: 1 });
    expect(explanation).toMatchObject({ verdict: 'WouldWait', resources: [{ plugin: { state: 'Disconnected' } }] });
    expect(explanation.advice[0]).toContain(`Start the device plugin of ${R} again`);
  });
});
