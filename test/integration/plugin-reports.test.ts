import { join } from 'node:path';
import { createClient, lifecycle, RpcCode } from '@devmgr/wire';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type { WaitingForDevices } from '../../packages/manager/src/ports.ts';
import { ManagerBench, pod, type BenchOptions } from './manager-bench.ts';

const R = 'example.com/gpu';
let bench: ManagerBench;
async function start(options: BenchOptions = {}): Promise<void> {
  bench = await ManagerBench.start(options);
}
afterEach(async () => {
  await bench.close();
});

async function report(changes: Partial<lifecycle.PluginReport>): Promise<void> {
  const client = createClient(lifecycle.PluginReportsService, join(bench.pluginDir, 'kubelet.sock'));
  const nothing = { endpoint: '', phase: 'Preparing', reason: '', message: '', driverVersion: '', devices: [] };
  try {
    await client.report({ resourceName: R, ...nothing, progressPercent: undefined, ...changes }, { timeoutMs: 10_000 });
  } finally {
    client.close();
  }
}

const device = (id: string, phase: string, reason = ''): lifecycle.DeviceReport => ({
  ...{ id, phase, reason, message: 'm', sinceMs: 1_700_000_000_000n, progressPercent: undefined },
});
const told = (reason: string): string[] =>
  bench.events.filter((event) => event.reason === reason).map(({ message }) => message);

describe('reports of plugins', () => {
  it('show a resource before its plugin registers, and pods wait for it', async () => {
    await start({ waitForPluginMs: 30_000 });
    const installing = { reason: 'InstallingDriver', message: 'downloading 535.1' };
    await report({ ...installing, progressPercent: 10 });
    await report({ ...installing, progressPercent: 40 });
    expect(bench.inventory.plugins()).toMatchObject([
      {
        name: `${R}@`,
        state: 'Preparing',
        message: 'downloading 535.1',
        report: { phase: 'Preparing', reason: 'InstallingDriver', progressPercent: 40, driverVersion: null },
      },
    ]);
    expect(bench.inventory.resources()).toEqual([]);
    const waiting: WaitingForDevices[] = [];
    const admitted = bench.admit(pod('web', [{ [R]: 1 }]), undefined, waiting);
    await until('the pod to wait', () => waiting.length > 0);
    expect(waiting[0]).toMatchObject({ reason: 'WaitingForDevicePlugin', resources: [R] });
    await bench.plugin(R, ['d0'], { endpoint: 'gpu.sock' });
    expect(await admitted).toEqual({ ok: true });
    await report({ endpoint: 'gpu.sock', phase: 'Serving', driverVersion: '535.1' });
    expect(bench.inventory.plugins()).toMatchObject([
      { state: 'Connected', report: { phase: 'Serving', driverVersion: '535.1' } },
    ]);
    // One event a phase and reason, none for progress.
    expect(told('PluginPreparing')).toEqual([`${R}: Preparing (InstallingDriver): downloading 535.1`]);
    expect(told('PluginServing')).toEqual([`${R}: Serving`]);
    await report({ endpoint: 'gpu.sock', phase: 'Failed', reason: 'NoDriver', message: 'gone' });
    expect(told('PluginFailed')).toEqual([`${R}: Failed (NoDriver): gone`]);
  });

  it('say more about devices than the list does', async () => {
    await start();
    await bench.plugin(R, ['d0', 'd1', 'd2'], { endpoint: 'gpu.sock' });
    await report({
      ...{ endpoint: 'gpu.sock', phase: 'Serving' },
      devices: [device('d0', 'Degraded', 'Hot'), device('d1', 'Degraded', 'Hot'), device('d2', 'Ready')],
    });
    const [first] = bench.inventory.devices(R);
    expect(first?.report).toEqual({
      phase: 'Degraded',
      reason: 'Hot',
      message: 'm',
      progressPercent: null,
      since: '2023-11-14T22:13:20.000Z',
    });
    expect(told('DevicePhaseChanged')).toEqual([`${R}: d0, d1: Degraded (Hot)`]);
    await report({ endpoint: 'gpu.sock', phase: 'Serving', devices: [device('d0', 'Ready')] });
    expect(told('DevicePhaseChanged')).toEqual([`${R}: d0, d1: Degraded (Hot)`, `${R}: d0: Ready`]);
    expect(bench.inventory.devices(R)[1]?.report).toBeUndefined();
  });

  it('are forgotten a minute after the last, but not while the plugin is connected', async () => {
    await start();
    await report({});
    await bench.plugin('example.com/other', ['d0'], { endpoint: 'other.sock' });
    await report({ resourceName: 'example.com/other', endpoint: 'other.sock', phase: 'Serving' });
    bench.clock.leap(61_000);
    await until('the first to be forgotten', () => !bench.manager.isKnown(R));
    expect(bench.inventory.plugins()).toMatchObject([
      { name: 'example.com/other@other.sock', report: { phase: 'Serving' } },
    ]);
    expect(await bench.outcome(pod('web', [{ [R]: 1 }]))).toBe(`cannot allocate unregistered device ${R}`);
  });

  it('that make no sense are refused, and what is kept of the others is bounded', async () => {
    await start();
    const refused = (changes: Partial<lifecycle.PluginReport>) =>
      expect(report(changes)).rejects.toMatchObject({ code: RpcCode.InvalidArgument });
    await refused({ resourceName: 'gpu' });
    await refused({ endpoint: '../other.sock' });
    await refused({ phase: 'not a phase' });
    await refused({ reason: 'two words' });
    await refused({ devices: [device('', 'Ready')] });
    await refused({ devices: [device('x'.repeat(300), 'Ready')] });
    await refused({ devices: [device('d0', '')] });
    await refused({ devices: Array.from({ length: 20_001 }, (_, index) => device(`d${String(index)}`, 'Ready')) });
    expect(bench.inventory.plugins()).toEqual([]);
    await report({
      message: 'x'.repeat(100_000),
      progressPercent: 1_000,
      devices: [{ ...device('d', 'Ready'), sinceMs: -1n }],
    });
    expect(bench.inventory.plugins()).toMatchObject([
      { message: expect.stringMatching(/^x{1023}…$/) as string, report: { progressPercent: 100 } },
    ]);
    expect(bench.manager.reports.device(R, 'd')?.since).toBeNull();
    for (let index = 1; index < 1_000; index += 1) {
      const nothing = lifecycle.PluginReport.decode(new Uint8Array());
      bench.manager.reports.report({ ...nothing, resourceName: `example.com/r${String(index)}`, phase: 'Preparing' });
    }
    await refused({ resourceName: 'example.com/one-too-many' });
    await report({ message: 'those that are known may go on' });
  });
});
