import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Bench, commandLauncher, runChecks, type Check, type Outcome, type Report } from '../src/index.ts';
import { MINIMAL_PLUGIN } from './support.ts';

let rootDir: string;
let bench: Bench;
beforeEach(() => {
  rootDir = mkdtempSync(join(tmpdir(), 'dmc-'));
  bench = new Bench({
    rootDir,
    launcher: commandLauncher([process.execPath, MINIMAL_PLUGIN]),
    timeoutMs: 20_000,
    hardware: undefined,
    signal: new AbortController().signal,
  });
});
afterEach(async () => {
  await bench.close();
  rmSync(rootDir, { recursive: true });
});

function check(name: string, run: Check['run'], extra: Partial<Check> = {}): Check {
  const text = 'Text.';
  return {
    id: `manners/${name}`,
    level: 'quick',
    severity: 'error',
    title: text,
    why: text,
    remedy: text,
    run,
    ...extra,
  };
}

const fine: Outcome = { verdict: 'good', message: 'fine' };

/** The plugin ends although the bench has not asked for it. */
async function goDown(on: Bench): Promise<Outcome> {
  await on.ready();
  on.plugin?.terminate();
  await on.pause(20_000);
  return fine;
}

function statuses({ checks }: Report): Record<string, string> {
  return Object.fromEntries(checks.map(({ id, status }) => [id.replace('manners/', ''), status]));
}

test('a crash fails the check it happens in, with the log, and the next one gets a new instance', async () => {
  const report = await runChecks({
    bench,
    checks: [
      check('goes-down', goDown, { severity: 'warning' }),
      check('is-there-again', async (on) => {
        await on.ready();
        return fine;
      }),
      check('goes-down-by-our-doing', goDown, { severity: 'warning', stage: 'destructive' }),
    ],
  });
  expect(statuses(report)).toEqual({ 'goes-down': 'fail', 'is-there-again': 'pass', 'goes-down-by-our-doing': 'warn' });
  expect(report.checks[0]).toMatchObject({ message: 'the plugin ended by itself (exit code 0)' });
  expect(report.checks[0]?.seen).toContain('info');
});

test('what was tried once is not tried again, and what depends on it is skipped', async () => {
  let tries = 0;
  const attempt = {
    what: 'going down',
    make: async (on: Bench) => {
      tries += 1;
      return goDown(on);
    },
  };
  const report = await runChecks({
    bench,
    checks: [check('first', (on) => on.observe(attempt)), check('second', (on) => on.observe(attempt))],
  });
  expect(statuses(report)).toEqual({ first: 'fail', second: 'skip' });
  expect(report.checks[1]?.message).toBe('not tested: something went wrong while going down');
  expect(tries).toBe(1);
});

test('a failed call fails its check with the text of the call', async () => {
  const report = await runChecks({
    bench,
    checks: [
      check('asks-for-nonsense', async (on) => {
        const [session] = await on.ready();
        await session?.allocate(['no such device']);
        return fine;
      }),
    ],
  });
  expect(report.checks).toMatchObject([
    { status: 'fail', seen: 'rpc error: code = NotFound desc = no device "no such device"' },
  ]);
});

test('checks run by stage and are reported in their order; each of the last two stages has a new instance', async () => {
  const order: string[] = [];
  const instances = new Set<unknown>();
  const noting = (name: string): Check['run'] => {
    return async (on) => {
      await on.ready();
      order.push(name);
      instances.add(on.plugin);
      return fine;
    };
  };
  const report = await runChecks({
    bench,
    checks: [
      check('destructive', noting('destructive'), { stage: 'destructive' }),
      check('fresh', noting('fresh'), { stage: 'fresh' }),
      check('drill', noting('drill'), { stage: 'drill' }),
      check('observe', noting('observe')),
    ],
  });
  expect(order).toEqual(['observe', 'drill', 'fresh', 'destructive']);
  expect(report.checks.map(({ id }) => id)).toEqual(
    ['destructive', 'fresh', 'drill', 'observe'].map((name) => `manners/${name}`),
  );
  expect(instances.size).toBe(3);
});

test('all that passed between manager and plugin is there, as bytes and in order', async () => {
  const [session] = await bench.ready();
  await session?.allocate(['w0']);
  const methods = bench.traffic.messages.map(({ method, from }) => `${from} ${method.replace('/v1beta1.', '')}`);
  expect(methods.slice(0, 3)).toEqual([
    'plugin Registration/Register',
    'manager DevicePlugin/GetDevicePluginOptions',
    'plugin DevicePlugin/GetDevicePluginOptions',
  ]);
  expect(methods).toEqual(
    expect.arrayContaining([
      'manager Registration/Register',
      'manager DevicePlugin/ListAndWatch',
      'plugin DevicePlugin/ListAndWatch',
    ]),
  );
  expect(methods.slice(-2)).toEqual(['manager DevicePlugin/Allocate', 'plugin DevicePlugin/Allocate']);
});
