import {
  concludeExplanation,
  explainCheckpoint,
  explainResource,
  explainTrace,
  explainWish,
  Ledger,
  MAX_EXPLAINED_IDS,
  needsOf,
  parseCheckpoint,
  parseResourceLimits,
  someIds,
  type CheckpointData,
  type Explanation,
  type ExplainedRuleName,
  type ExplanationFacts,
} from '@devmgr/core';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { admit, devices, devicesOn, recorded } from './ledger-kit.ts';

const GPU = 'example.com/gpu';

/** A question put to a ledger, as a manager concludes it. */
function ask(ledger: Ledger, limits: Readonly<Record<string, number>>): Explanation {
  const now = explainWish(ledger, new Map(Object.entries(limits)));
  const refused = now.some(({ outcome }) => outcome === 'Refused');
  return conclude(ledger, { verdict: refused ? 'WouldBeRefused' : 'WouldFit', requests: now, now });
}

function conclude(
  ledger: Ledger,
  facts: Pick<ExplanationFacts, 'verdict' | 'requests' | 'now'> & Partial<ExplanationFacts>,
): Explanation {
  const names = [...new Set(facts.now.map(({ resource }) => resource))];
  return concludeExplanation({
    source: 'now',
    pod: null,
    reason: null,
    message: null,
    decidedAt: null,
    topology: null,
    fitsNow: null,
    resources: names.map((name) => explainResource(ledger, name)),
    knownResources: ledger.resourceNames(),
    ...facts,
  });
}

/** Eight devices; gpu-7 is unhealthy, pod `a` holds two and pod `b` three. */
function ledgerInUse(): Ledger {
  const ledger = new Ledger();
  ledger.replaceDevices(GPU, devices('g0', 'g1', 'g2', 'g3', 'g4', 'g5', 'g6', 'g7:U'));
  admit(ledger, { pod: 'a', resource: GPU, count: 2 });
  admit(ledger, { pod: 'b', resource: GPU, count: 3 });
  return ledger;
}

describe('a wish', () => {
  test('that fits names the devices and the rules, and leaves nothing behind', () => {
    const ledger = ledgerInUse();
    const before = { capacity: ledger.capacity(GPU), allocations: ledger.allocations() };
    const [wish] = explainWish(ledger, new Map([[GPU, 2]]));
    expect(wish).toMatchObject({ outcome: 'Fits', refusedBy: null, deviceIds: ['g5', 'g6'], holders: [] });
    expect(wish?.counts).toEqual({ listed: 8, healthy: 7, held: 5, reserved: 0, free: 2, reusable: 0 });
    expect(wish?.rules.map(({ rule, outcome }) => `${rule}: ${outcome}`)).toEqual([
      'unchanged request: passed',
      'resource registered: passed',
      'healthy devices present: passed',
      'enough devices: passed',
      'devices without affinity: took',
      'complete: satisfied',
    ]);
    expect({ capacity: ledger.capacity(GPU), allocations: ledger.allocations() }).toEqual(before);
    expect(ask(ledger, { [GPU]: 2 })).toMatchObject({ summary: `It would get g5, g6 of ${GPU}.`, advice: [] });
  });

  test('that is refused names the rule, the holders, and what would help, the least first', () => {
    const explanation = ask(ledgerInUse(), { [GPU]: 4 });
    expect(explanation.requests[0]).toMatchObject({ outcome: 'Refused', refusedBy: 'enough devices', deviceIds: [] });
    expect(explanation.requests[0]?.holders.map(({ pod, deviceIds }) => `${pod}: ${deviceIds.join()}`)).toEqual([
      'a: g0,g1',
      'b: g2,g3,g4',
    ]);
    expect(explanation.summary).toBe(`4 devices of ${GPU}: 4 devices still needed, and 2 free.`);
    expect(explanation.advice).toEqual([
      `Get the unhealthy device of ${GPU} healthy: g7.`,
      `End a (2): then 4 of ${GPU} are free.`,
      `Ask for at most 2 of ${GPU}: so many are free.`,
    ]);
  });

  test.each([
    [5, `End b (3): then 5 of ${GPU} are free.`],
    [6, `End b (3), a (2): then 7 of ${GPU} are free.`],
  ])('for %i names the fewest pods whose end frees enough', (count, sentence) => {
    expect(ask(ledgerInUse(), { [GPU]: count }).advice).toContain(sentence);
  });

  test('for more than can ever be free names no pods', () => {
    expect(ask(ledgerInUse(), { [GPU]: 8 }).advice.join(' ')).not.toContain('End ');
    expect(ask(ledgerInUse(), { [GPU]: 9 }).advice).toEqual([`Ask for at most 8 of ${GPU}: this node has no more.`]);
  });

  test('for a name nobody registered names those that are', () => {
    const explanation = ask(ledgerInUse(), { 'example.com/gpuu': 1 });
    expect(explanation.requests[0]?.refusedBy).toBe('resource registered');
    expect(explanation.advice).toEqual([
      `Start the device plugin of example.com/gpuu, or correct the name: registered are ${GPU}.`,
    ]);
    expect(ask(new Ledger(), { [GPU]: 1 }).advice).toEqual([
      `Start the device plugin of ${GPU}, or correct the name: no resource is registered.`,
    ]);
  });

  test('for devices of which none is healthy', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(GPU, devices('g0:U', 'g1:lost'));
    const explanation = ask(ledger, { [GPU]: 1 });
    expect(explanation.requests[0]?.refusedBy).toBe('healthy devices present');
    expect(explanation.advice).toEqual([`Get the 2 unhealthy devices of ${GPU} healthy: g0, g1.`]);
    ledger.replaceDevices(GPU, []);
    expect(ask(ledger, { [GPU]: 1 }).advice).toEqual([
      `The plugin of ${GPU} lists no device: look at its log and at the hardware.`,
    ]);
  });

  test('for what others have reserved is told to try again', () => {
    const ledger = new Ledger();
    ledger.replaceDevices(GPU, devicesOn(0, 1, 2));
    const plan = ledger.plan({ podUid: 'p', container: 'c', kind: 'app', resource: GPU, count: 2 });
    plan.next(false);
    expect(ask(ledger, { [GPU]: 1 }).advice).toEqual([
      `Try again in a moment: 2 devices of ${GPU} reserved by admissions in flight.`,
    ]);
    plan.release();
    expect(ask(ledger, { [GPU]: 1 }).verdict).toBe('WouldFit');
  });
});

describe('a refused pod', () => {
  const pod = { namespace: 'default', name: 'p', uid: 'u' };
  const refusal = (ledger: Ledger): Explanation['requests'] => {
    const plan = ledger.plan({ podUid: 'u', container: 'main', kind: 'app', resource: GPU, count: 4 });
    expect(plan.next(false).step).toBe('reject');
    return [explainTrace(plan.trace, 'Refused')];
  };

  test('is told that there is room now, when there is', () => {
    const ledger = ledgerInUse();
    const requests = refusal(ledger);
    ledger.releasePod('a');
    const now = explainWish(ledger, needsOf(requests));
    const explanation = conclude(ledger, {
      source: 'admission',
      pod,
      verdict: 'Refused',
      requests,
      now,
      fitsNow: true,
    });
    expect(explanation.summary).toBe(
      `Container main asks for 4 devices of ${GPU}: 4 devices still needed, and 2 free.`,
    );
    expect(explanation.advice).toEqual([
      'There is room now: delete the pod and apply it again. A refused pod is not tried again by itself.',
    ]);
  });

  test('is told what is missing now, of all its containers together', () => {
    const ledger = ledgerInUse();
    const requests = refusal(ledger);
    const now = explainWish(ledger, needsOf([...requests, { kind: 'app', resource: GPU, asked: 1 }]));
    const explanation = conclude(ledger, {
      source: 'admission',
      pod,
      verdict: 'Refused',
      requests,
      now,
      fitsNow: false,
    });
    expect(explanation.advice).toEqual([
      `Get the unhealthy device of ${GPU} healthy: g7.`,
      `End b (3): then 5 of ${GPU} are free.`,
      `Ask for at most 2 of ${GPU} in all: so many are free.`,
      'Then delete the pod and apply it again: a refused pod is not tried again by itself.',
    ]);
  });

  test('whose plugin failed is sent to the plugin', () => {
    const ledger = ledgerInUse();
    const plan = ledger.plan({ podUid: 'u', container: 'main', kind: 'app', resource: GPU, count: 1 });
    plan.next(false);
    const requests = [explainTrace(plan.trace, 'Failed')];
    plan.release();
    const now = explainWish(ledger, needsOf(requests));
    const explanation = conclude(ledger, {
      source: 'admission',
      pod,
      verdict: 'Refused',
      requests,
      now,
      fitsNow: true,
    });
    expect(explanation.summary).toBe(
      `The rules had chosen g5 of ${GPU} for container main; what came after the choice failed.`,
    );
    expect(explanation.advice).toContain(
      `Look at the plugin of ${GPU} ("devmgr describe plugin") and at its log for that time.`,
    );
  });
});

test('a pod needs the most that it holds at any one time', () => {
  const request = (kind: 'init' | 'sidecar' | 'app', asked: number) => ({ kind, resource: GPU, asked });
  expect(needsOf([request('init', 5), request('sidecar', 1), request('init', 3), request('app', 2)]).get(GPU)).toBe(5);
  expect(needsOf([request('sidecar', 1), request('init', 5), request('app', 2)]).get(GPU)).toBe(6);
  expect(needsOf([request('init', 1), request('app', 2), request('app', 2)]).get(GPU)).toBe(4);
});

test('a resource shows what is free, unhealthy, vanished and held, and no more ids than can be read', () => {
  const ledger = new Ledger();
  ledger.restore([recorded('p', 'c', GPU, { 0: ['g1'], 1: ['gone'] })]);
  ledger.replaceDevices(GPU, devices('g1:H:0', 'g2:H:1', 'g3:U:1'));
  expect(explainResource(ledger, GPU, (uid) => `default/${uid}`)).toEqual({
    name: GPU,
    registered: true,
    plugin: null,
    listed: 3,
    healthy: 2,
    held: 2,
    reserved: 0,
    free: 1,
    freeIds: ['g2'],
    unhealthyIds: ['g3'],
    vanishedIds: ['gone'],
    numa: [
      { numaNodes: [0], listed: 1, free: 0 },
      { numaNodes: [1], listed: 2, free: 1 },
    ],
    holders: [{ pod: 'default/p', podUid: 'p', container: 'c', deviceIds: ['g1', 'gone'] }],
  });
  ledger.replaceDevices(GPU, devicesOn(0, 1, MAX_EXPLAINED_IDS + 5));
  const { free, freeIds } = explainResource(ledger, GPU);
  expect([free, freeIds.length]).toEqual([MAX_EXPLAINED_IDS + 5, MAX_EXPLAINED_IDS]);
  expect(someIds(freeIds, free)).toBe(`Dev1, Dev2, Dev3, Dev4, Dev5, Dev6, Dev7, Dev8 and ${String(free - 8)} more`);
});

describe('a checkpoint alone', () => {
  const data: CheckpointData = {
    entries: [
      {
        podUid: 'p',
        container: 'c',
        resource: GPU,
        devices: new Map([
          [0, ['g0']],
          [1, ['g9']],
        ]),
        response: new Uint8Array(),
      },
    ],
    registered: new Map([
      [GPU, ['g0', 'g1', 'g2']],
      ['a.b/c', []],
    ]),
  };

  test('tells who holds what, and what is healthy and free', () => {
    const explanation = explainCheckpoint(data, new Map());
    expect(explanation).toMatchObject({ verdict: null, summary: '2 resources, 2 devices held.', advice: [] });
    expect(
      explanation.resources.map(({ name, healthy, held, freeIds, vanishedIds }) => [
        name,
        healthy,
        held,
        freeIds.join(),
        vanishedIds.join(),
      ]),
    ).toEqual([
      ['a.b/c', 0, 0, '', ''],
      [GPU, 3, 2, 'g1,g2', 'g9'],
    ]);
  });

  test('answers whether a wish would fit', () => {
    expect(explainCheckpoint(data, new Map([[GPU, 2]]))).toMatchObject({ verdict: 'WouldFit' });
    const refused = explainCheckpoint(data, new Map([[GPU, 3]]));
    expect(refused.verdict).toBe('WouldBeRefused');
    expect(refused.advice).toEqual([
      `End p (1): then 3 of ${GPU} are free.`,
      `Ask for at most 2 of ${GPU}: so many are free.`,
    ]);
    expect(explainCheckpoint(data, new Map([['a.b/c', 1]])).advice).toEqual([
      'When the file was written no device of a.b/c was healthy: look at its plugin.',
    ]);
  });
});

test('a checkpoint of the wrong checksum can be looked at', () => {
  const parsed = parseCheckpoint(new TextEncoder().encode('{"Data":{"RegisteredDevices":{}},"Checksum":7}'));
  expect(parsed).toMatchObject({
    ok: true,
    version: undefined,
    checksum: 7,
    expected: [
      { version: 2, checksum: 3467439661 },
      { version: 1, checksum: 3467439661 },
    ],
  });
});

test('limits are told apart from what is none', () => {
  expect(parseResourceLimits(['example.com/gpu=2,a.b/c=1'])).toEqual({
    ok: true,
    limits: { 'example.com/gpu': 2, 'a.b/c': 1 },
  });
  expect(parseResourceLimits(['__proto__=1']).ok).toBe(false);
});

test('docs/explain.md explains every rule, in the order in which they are tried', () => {
  // The compiler holds this list to be complete.
  const rules: Readonly<Record<ExplainedRuleName, true>> = {
    'topology policy': true,
    'unchanged request': true,
    'something asked': true,
    'resource registered': true,
    'healthy devices present': true,
    'recorded devices healthy': true,
    'already allocated': true,
    'lost devices': true,
    'reuse from init containers': true,
    'enough devices': true,
    'aligned devices': true,
    'plugin preference': true,
    'unaligned devices': true,
    'devices without affinity': true,
    complete: true,
  };
  const page = readFileSync(new URL('../../../docs/explain.md', import.meta.url), 'utf8');
  const section = page.slice(page.indexOf('## The rules, in order'), page.indexOf('## As data'));
  expect([...section.matchAll(/^\| `([^`]+)`/gm)].map(([, rule]) => rule)).toEqual(Object.keys(rules));
});
