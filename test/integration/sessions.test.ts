import { until, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { ManagerBench, pod, type BenchOptions } from './manager-bench.ts';

const R = 'example.com/r';
let bench: ManagerBench;
async function start(options: BenchOptions = {}): Promise<void> {
  bench = await ManagerBench.start(options);
}
afterEach(async () => {
  await bench.close();
});
const U = (id: string): { id: string; health: string } => ({ id, health: 'Unhealthy' });

describe('sessions of a resource', () => {
  it.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])(
    'scenarios 9, 10, 11: a later plugin takes over, options %s %s',
    async (preStartRequired, getPreferredAllocationAvailable) => {
      await start();
      const script = { options: () => ({ preStartRequired, getPreferredAllocationAvailable }) };
      await bench.plugin(R, ['D1', 'D2'], { endpoint: 'one.sock', script });
      expect(bench.node(R)).toBe('2/2');
      await bench.plugin(R, ['D1', 'D2'], { endpoint: 'two.sock', script });
      expect(bench.node(R)).toBe('2/2');
      await bench.plugin(R, ['D3'], { endpoint: 'three.sock', script });
      await bench.waitForNode(R, '1/1');
      expect(bench.inventory.devices(R).map(({ id }) => id)).toEqual(['D3']);
    },
  );

  it('scenario 12: the same through plugins_registry', async () => {
    await start();
    const registry = async (endpoint: string, devices: string[]): Promise<ScriptedPlugin> => {
      const { startScriptedPlugin } = await import('@devmgr/plugin-sdk/testing');
      return startScriptedPlugin({ pluginDir: bench.registryDir, resource: R, devices, endpoint, registry: true });
    };
    const plugins = [await registry('one.sock', ['D1', 'D2'])];
    await bench.waitForNode(R, '2/2');
    plugins.push(await registry('two.sock', ['D1', 'D2']));
    await plugins[1]!.waitForStreams();
    expect(bench.node(R)).toBe('2/2');
    plugins.push(await registry('three.sock', ['D3']));
    await bench.waitForNode(R, '1/1');
    await Promise.all(plugins.map((plugin) => plugin.close()));
  });

  it('scenarios 16, 33: a plugin whose options fail never appears; one whose list fails shows 0/0 and is not asked again', async () => {
    await start();
    await expect(
      bench.plugin('example.com/a', undefined, { script: { options: () => Promise.reject(new Error('boom')) } }),
    ).rejects.toThrow(/failed to get device plugin options.*boom/s);
    expect(bench.node('example.com/a')).toBe('absent');
    const failing = await bench.plugin('example.com/b', undefined, {
      script: { streamOpened: () => Promise.reject(new Error('no list')) },
    });
    await bench.waitForNode('example.com/b', '0/0');
    expect(failing.calls.map(({ method }) => method)).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
    // Asked for now, it is not "unknown": only its devices are missing.
    expect(await bench.outcome(pod('p', [{ 'example.com/b': 1 }]))).toBe(
      'no healthy devices present; cannot allocate unhealthy devices example.com/b',
    );
    expect(failing.calls).toHaveLength(2);
  });

  it('scenario 17: options of the Register request are ignored', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1'], {
      script: { options: () => ({ preStartRequired: true, getPreferredAllocationAvailable: false }) },
    });
    await plugin.register({ options: { preStartRequired: false, getPreferredAllocationAvailable: true } });
    await until('both registered', () => bench.inventory.plugins().length > 0);
    expect(bench.inventory.plugins().every((view) => view.preStartRequired && !view.preferredAllocation)).toBe(true);
  });

  it('scenario 18: Register returns before the first list, and nothing shows until then', async () => {
    await start();
    const plugin = await bench.plugin(R, undefined);
    expect(bench.node(R)).toBe('absent');
    expect(bench.inventory.plugins()).toMatchObject([{ state: 'Connecting' }]);
    plugin.list(['D1']);
    await bench.waitForNode(R, '1/1');
  });

  it('scenarios 8, 34, 35, 37: a stream that ends leaves capacity without allocatable, and the resource goes after the grace period', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1', 'D2', U('D3')]);
    expect(bench.node(R)).toBe('2/3');
    plugin.endStreams();
    await bench.waitForNode(R, '0/3');
    expect(plugin.calls.map(({ method }) => method)).toEqual(['GetDevicePluginOptions', 'ListAndWatch']);
    expect(bench.inventory.resources()[0]).toMatchObject({
      healthy: 0,
      unhealthy: 3,
      plugin: { state: 'Disconnected' },
    });
    bench.clock.leap(5 * 60_000 - 5_000);
    expect(bench.node(R)).toBe('0/3');
    bench.clock.leap(10_000);
    expect(bench.node(R)).toBe('absent');
    expect(bench.events.map(({ reason }) => reason)).toEqual(
      expect.arrayContaining(['PluginConnected', 'PluginDisconnected', 'ResourceRemoved']),
    );
    await until('the removal on record', () => bench.state.records.at(-1)?.type === 'resource-removed');
  });

  it('scenario 36: calls on an ended session fail at once', async () => {
    await start();
    const script = { options: () => ({ preStartRequired: true, getPreferredAllocationAvailable: false }) };
    const plugin = await bench.plugin(R, ['D1'], { script });
    const session = bench.manager.session(R)!;
    await plugin.kill();
    await until('the end', () => !session.live);
    await expect(session.allocate(['D1'], { timeoutMs: 1000 })).rejects.toThrow(/has been stopped/);
    await expect(session.preStart(['D1'], { timeoutMs: 1000 })).rejects.toThrow(/has been stopped/);
  });

  it('scenarios 49, 50: another resource is untouched when one goes, and within the grace period nothing is removed', async () => {
    await start();
    const one = await bench.plugin('example.com/a', ['D1']);
    const two = await bench.plugin('example.com/b', ['E1', 'E2', 'E3']);
    one.endStreams();
    await bench.waitForNode('example.com/a', '0/1');
    bench.clock.leap(5 * 60_000 + 10_000);
    expect(bench.node('example.com/a')).toBe('absent');
    expect(bench.node('example.com/b')).toBe('3/3');
    two.endStreams();
    await bench.waitForNode('example.com/b', '0/3');
    expect(bench.inventory.resources()).toHaveLength(1);
  });

  it('scenario 42: a second Register on the same socket supersedes the first without a gap', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1', 'D2']);
    const seen = new Set<string>();
    bench.inventory.onChange(() => seen.add(bench.node(R)));
    await plugin.register();
    await plugin.waitForCalls('ListAndWatch', 2);
    await plugin.waitForStreams(1);
    plugin.list(['D1', 'D2', 'D4']);
    await bench.waitForNode(R, '3/3');
    expect([...seen].every((value) => value === '2/2' || value === '3/3')).toBe(true);
    expect(bench.inventory.plugins()).toMatchObject([{ state: 'Connected' }]);
  });

  it('scenarios 44, 45: a rolling upgrade on another socket never lowers allocatable', async () => {
    await start();
    const v1 = await bench.plugin(R, ['D1', 'D2'], { endpoint: 'v1.sock' });
    expect(await bench.outcome(pod('before', [{ [R]: 1 }]))).toBe('admitted');
    const seen = new Set<string>();
    bench.inventory.onChange(() => seen.add(bench.node(R)));
    const v2 = await bench.plugin(R, ['D1', 'D2'], { endpoint: 'v2.sock' });
    await v2.waitForStreams();
    await until('the new one to own the list', () => bench.manager.session(R)?.socketPath === v2.socketPath);
    await v1.close();
    await until('the old one to be gone', () => bench.inventory.plugins().length === 1);
    expect(await bench.outcome(pod('after', [{ [R]: 1 }]))).toBe('admitted');
    expect(v2.callsOf('Allocate')).toHaveLength(1);
    expect([...seen].every((value) => value === '2/2')).toBe(true);
    expect(bench.held('before', 'c0', R)).toEqual(['D1']);
    expect(bench.held('after', 'c0', R)).toEqual(['D2']);
  });

  it('scenarios 38, 39, 41: as long as one of several plugins is left the devices stay, and calls go to it', async () => {
    await start();
    const plugins = new Map<string, ScriptedPlugin>();
    const owner = (): string => bench.manager.session(R)?.socketPath ?? 'nobody';
    for (const endpoint of ['a.sock', 'b.sock', 'c.sock']) {
      const plugin = await bench.plugin(R, ['D1', 'D2', 'D3'], { endpoint });
      plugins.set(plugin.socketPath, plugin);
      await until(`${endpoint} to own the list`, () => owner() === plugin.socketPath);
    }
    const seen = new Set<string>();
    bench.inventory.onChange(() => seen.add(bench.node(R)));
    for (const [left, podName] of [
      [2, 'p'],
      [1, 'q'],
    ] as const) {
      const primary = owner();
      await plugins.get(primary)!.kill();
      await until('its end to be seen', () => bench.inventory.plugins().length === left);
      plugins.delete(primary);
      expect(await bench.outcome(pod(podName, [{ [R]: 1 }]))).toBe('admitted');
      const asked = [...plugins].filter(([, plugin]) => plugin.callsOf('Allocate').length > 0);
      expect(asked.map(([path]) => path)).toEqual([owner()]);
    }
    expect([...seen]).toEqual(['3/3']);

    await plugins.get(owner())!.kill();
    await bench.waitForNode(R, '0/3');
    expect(owner()).toBe('nobody');
    expect(await bench.outcome(pod('r', [{ [R]: 1 }]))).toBe(
      `no healthy devices present; cannot allocate unhealthy devices ${R}`,
    );
  });

  it('keeps devices for a while when the owner ends before its successor has listed', async () => {
    await start();
    const v1 = await bench.plugin(R, ['D1'], { endpoint: 'v1.sock' });
    const v2 = await bench.plugin(R, undefined, { endpoint: 'v2.sock' });
    await v1.close();
    await until('the old one to be gone', () => bench.inventory.plugins().length === 1);
    expect(bench.node(R)).toBe('1/1');
    bench.clock.leap(11_000);
    expect(bench.node(R)).toBe('0/1');
    v2.list(['D1']);
    await bench.waitForNode(R, '1/1');
  });
});

describe('device state on the node', () => {
  it('scenarios 47, 48, 52, 53, 57, 58: lists are the whole truth', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1', 'D2', U('D3')]);
    const other = await bench.plugin('example.com/other', ['E1']);
    const shown = async (devices: Parameters<ScriptedPlugin['list']>[0], expected: string): Promise<void> => {
      plugin.list(devices);
      await bench.waitForNode(R, expected);
      expect(bench.node('example.com/other')).toBe('1/1');
    };
    expect(bench.node(R)).toBe('2/3');
    await shown(['D1', 'D2'], '2/2');
    await shown(['D1', U('D2'), U('D3')], '1/3');
    await shown([U('D2'), U('D3')], '0/2');
    await shown(['D1'], '1/1');
    await shown([U('D1')], '0/1');
    await shown(['D1'], '1/1');
    await shown(['A', 'B', 'C', 'D'], '4/4');
    await shown([U('A'), 'B', 'C', 'D'], '3/4');
    await shown(['A', 'B', 'C', 'D'], '4/4');
    await shown([U('A'), U('B'), 'C', 'D'], '2/4');
    await shown([U('A'), 'B', 'C', 'D'], '3/4');
    await shown(['A', 'B', 'C', 'D'], '4/4');
    await shown(
      ['healthy', '', 'UNHEALTHY', 'Degraded'].map((health, index) => ({ id: `H${String(index)}`, health })),
      '0/4',
    );
    await shown(['X', U('X')], '0/1');
    await shown([U('X'), 'X'], '1/1');
    await shown([], '0/0');
    await other.close();
  });

  it('scenario 54: allocation leaves allocatable alone, and an unhealthy device stays with its pod', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1']);
    expect(await bench.outcome(pod('p', [{ [R]: 1 }]))).toBe('admitted');
    expect(bench.node(R)).toBe('1/1');
    plugin.list([U('D1')]);
    await bench.waitForNode(R, '0/1');
    expect(bench.held('p', 'c0', R)).toEqual(['D1']);
    await bench.admission.release('p');
    expect(bench.node(R)).toBe('0/1');
  });

  it('scenario 60: a vanished device stays with its pod and is not given away when it returns', async () => {
    await start();
    const plugin = await bench.plugin(R, ['D1', 'D2']);
    await bench.outcome(pod('p', [{ [R]: 1 }]));
    plugin.list(['D2']);
    await bench.waitForNode(R, '1/1');
    expect(bench.inventory.devices(R)).toMatchObject([
      { id: 'D1', state: 'Vanished', pod: 'default/p', health: 'Unknown' },
      { id: 'D2', state: 'Free' },
    ]);
    plugin.list(['D1', 'D2']);
    await bench.waitForNode(R, '2/2');
    expect(await bench.outcome(pod('q', [{ [R]: 2 }]))).toBe(
      `requested number of devices unavailable for ${R}. Requested: 2, Available: 1`,
    );
    await bench.admission.release('p');
    expect(await bench.outcome(pod('q', [{ [R]: 2 }]))).toBe('admitted');
  });

  it('scenario 46: lists of 8 MiB and of 100,000 devices are accepted', async () => {
    await start();
    const plugin = await bench.plugin(
      R,
      Array.from({ length: 100_000 }, (_, index) => `device-${String(index)}`),
    );
    expect(bench.node(R)).toBe('100000/100000');
    plugin.list(Array.from({ length: 2_000 }, (_, index) => `${String(index)}-${'x'.repeat(4_200)}`));
    await bench.waitForNode(R, '2000/2000');
    expect(await bench.outcome(pod('p', [{ [R]: 4 }]))).toBe('admitted');
  });
});
