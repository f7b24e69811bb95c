import type { DeviceInput } from '@devmgr/plugin-sdk';
import { bad, good, type Outcome } from '../check.ts';
import type { ManagerBench } from './manager-bench.ts';
import type { ManagerCheck } from './run-manager-checks.ts';

/** How long a stream has to stay open to count as kept. */
const KEPT_MS = 700;
/** Of a large list, until it is shown. */
const LARGE_WITHIN_MS = 30_000;

/** 100,000 ids of 40 characters: some 5.5 MiB, where gRPC's own limit is 4. */
const LARGE: readonly DeviceInput[] = Array.from({ length: 100_000 }, (_, index) => String(index).padStart(40, 'd'));

export const LIST_CHECKS: readonly ManagerCheck[] = [
  {
    id: 'manager/silent-stream',
    level: 'quick',
    severity: 'error',
    title: 'Register returns although no list has come yet.',
    why: 'Plugins list when they have found their hardware, often from the same thread that waits for Register. (kubelet: the list is read in the background)',
    remedy: 'Answer Register after the options; read lists apart.',
    async run(bench) {
      const plugin = await bench.registered({ devices: undefined });
      await bench.pause(KEPT_MS);
      if (plugin.streams === 0) return bad('the stream was ended while it was silent');
      plugin.list(['late']);
      if (!bench.hasView) return good('it waits');
      return (await bench.sees(plugin.resource, ['late']))
        ? good('it waits, and takes the late list')
        : bad('the late list was not taken');
    },
  },
  {
    id: 'manager/odd-lists',
    level: 'quick',
    severity: 'error',
    title: 'A manager keeps the stream whatever is listed.',
    why: 'Empty lists, ids twice, unknown health, NUMA nodes that the machine does not have: all of it happens, and ending the session takes the good devices away too.',
    remedy: 'Take from a list what makes sense, and keep the stream.',
    async run(bench) {
      const plugin = await bench.registered();
      const odd: readonly (readonly DeviceInput[])[] = [
        [],
        ['a', 'a'],
        [
          { id: 'a', health: 'Healthy' },
          { id: 'a', health: 'Unhealthy' },
        ],
        [{ id: '' }, { id: 'ü/\u0007 :\\"' }, { id: 'x'.repeat(4_000) }],
        [
          { id: 'a', health: '' },
          { id: 'b', health: 'Degraded' },
        ],
        [
          { id: 'a', numaNodes: [] },
          { id: 'b', numaNodes: [0, 0, 63, 100_000] },
        ],
        ['d0'],
      ];
      for (const list of odd) {
        plugin.list(list);
        await bench.pause(50);
      }
      await bench.pause(KEPT_MS);
      if (plugin.streams === 0) return bad('the stream was ended');
      if (!bench.hasView) return good('the stream lives on');
      return (await bench.sees(plugin.resource, ['d0']))
        ? good('the last list counts')
        : bad('the last list was not taken');
    },
  },
  {
    id: 'manager/large-list',
    level: 'quick',
    severity: 'error',
    title: 'A manager takes a list of more than 4 MiB.',
    why: 'Devices that stand for shares of memory come in tens of thousands; with the default limit of gRPC the stream ends and everything is gone. (kubernetes#109304)',
    remedy: 'Raise the largest message that is received.',
    async run(bench) {
      const plugin = await bench.registered({ devices: LARGE });
      await bench.pause(KEPT_MS);
      if (plugin.streams === 0) return bad('the stream was ended');
      if (!bench.hasView) return good('the stream lives on');
      const shown = async (): Promise<boolean> => (await bench.allocatable(plugin.resource)).size === LARGE.length;
      return (await bench.until(shown, LARGE_WITHIN_MS))
        ? good('all devices are shown')
        : bad('not all devices are shown');
    },
  },
  {
    id: 'manager/list-flood',
    level: 'full',
    severity: 'error',
    title: 'A plugin that lists a thousand times in a row does not keep others waiting.',
    why: 'Plugins with a defect send lists in a loop; the rest of the node has to go on.',
    remedy: 'Do work that grows with what changed, and let newer lists replace those that wait.',
    async run(bench) {
      const plugin = await bench.registered();
      for (let number = 0; number < 1_000; number += 1) plugin.list(['a', ...(number % 2 === 0 ? ['b'] : [])]);
      plugin.list(['last']);
      const startedMs = performance.now();
      await bench.registered();
      const tookMs = Math.round(performance.now() - startedMs);
      if (tookMs > 5_000) return bad(`another plugin waited for ${String(tookMs)} ms`);
      if (plugin.streams === 0) return bad('the stream was ended');
      if (!bench.hasView) return good('another plugin was served meanwhile');
      return (await bench.sees(plugin.resource, ['last'], LARGE_WITHIN_MS))
        ? good('the last list counts')
        : bad('the last list was not taken');
    },
  },
  {
    id: 'manager/shows-healthy',
    level: 'quick',
    severity: 'error',
    title: 'What is offered is exactly the healthy devices, with their NUMA nodes.',
    why: 'Monitors and schedulers read it. (PodResources: GetAllocatableResources)',
    remedy: 'Offer the devices of the last list whose health is Healthy; one entry for each device and node.',
    async run(bench) {
      const plugin = await bench.registered({
        devices: ['plain', { id: 'sick', health: 'Unhealthy' }, { id: 'near', numaNodes: [0] }],
      });
      if (!(await bench.sees(plugin.resource, ['plain', 'near']))) return wrongView(bench, plugin.resource);
      const nodes = (await bench.allocatable(plugin.resource)).get('near')?.join(' ');
      return nodes === '0' ? good('plain, and near on node 0') : bad('the NUMA node is wrong', `near: ${nodes ?? ''}`);
    },
  },
  {
    id: 'manager/health-is-exact',
    level: 'quick',
    severity: 'error',
    title: 'Only the word Healthy is healthy.',
    why: 'A device whose state is written otherwise is in a state nobody knows. (kubelet: health == Healthy)',
    remedy: 'Compare with "Healthy", letter by letter.',
    async run(bench) {
      const others = ['healthy', '', 'UNHEALTHY', 'Degraded', 'Healthy '].map((health, index) => ({
        id: `d${String(index)}`,
        health: health as 'Healthy',
      }));
      const plugin = await bench.registered({ devices: ['good', ...others] });
      return (await bench.sees(plugin.resource, ['good'])) ? good('only that one') : wrongView(bench, plugin.resource);
    },
  },
  {
    id: 'manager/last-entry-counts',
    level: 'quick',
    severity: 'warning',
    title: 'Of an id that is listed twice the last entry counts.',
    why: 'It cannot be healthy and unhealthy at once; offering a device that was just called unhealthy is the worse mistake.',
    remedy: 'Read a list in order, and let later entries replace earlier ones.',
    async run(bench) {
      const plugin = await bench.registered({
        devices: ['good', { id: 'twice', health: 'Healthy' }, { id: 'twice', health: 'Unhealthy' }],
      });
      return (await bench.sees(plugin.resource, ['good'], 3_000))
        ? good('unhealthy')
        : wrongView(bench, plugin.resource);
    },
  },
  {
    id: 'manager/changes',
    level: 'quick',
    severity: 'error',
    title: 'Every list replaces the one before: devices fail, recover, come and go.',
    why: 'ListAndWatch says the whole state each time. (device plugin API: ListAndWatch)',
    remedy: 'Replace, never merge.',
    async run(bench) {
      const plugin = await bench.registered();
      const steps: readonly (readonly [readonly DeviceInput[], readonly string[]])[] = [
        [['d0', { id: 'd1', health: 'Unhealthy' }], ['d0']],
        [
          ['d0', 'd1', 'd2'],
          ['d0', 'd1', 'd2'],
        ],
        [[], []],
        [['d9'], ['d9']],
      ];
      for (const [list, ids] of steps) {
        plugin.list(list);
        if (!(await bench.sees(plugin.resource, ids))) return wrongView(bench, plugin.resource, ids);
      }
      return good(`${String(steps.length)} lists, each as it was`);
    },
  },
  {
    id: 'manager/nobody-holds',
    level: 'quick',
    severity: 'error',
    title: 'A device that no pod asked for is held by none.',
    why: 'Monitors bill and watch by it. (PodResources: List)',
    remedy: 'List what was allocated to containers, and nothing else.',
    async run(bench) {
      const plugin = await bench.registered();
      if (!(await bench.sees(plugin.resource, ['d0', 'd1']))) return wrongView(bench, plugin.resource, ['d0', 'd1']);
      const held = (await bench.held()).filter(({ resourceName }) => resourceName === plugin.resource);
      return held.length === 0
        ? good('none')
        : bad(
            'it is held',
            held.map(({ deviceIds }) => deviceIds.join(' ')),
          );
    },
  },
];

async function wrongView(bench: ManagerBench, resource: string, wanted?: readonly string[]): Promise<Outcome> {
  const ids = [...(await bench.allocatable(resource)).keys()].sort();
  const expected = wanted === undefined ? [] : [`listed:  ${wanted.join(' ') || 'none'}`];
  return bad('other devices are offered than were listed', [
    `offered: ${ids.slice(0, 20).join(' ') || 'none'}`,
    ...expected,
  ]);
}
