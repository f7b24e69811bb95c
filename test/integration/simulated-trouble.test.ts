/** A real daemon and a simulated plugin that does everything a bad one can. */
import { join } from 'node:path';
import type { ApiClient } from '@devmgr/manager';
import { simulatedPlugin } from '@devmgr/plugin-sdk';
import type { SimulatedPlugin } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DevmgrProcess, makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

const GPU = 'example.com/gpu';
let rootDir: string;
let manager: DevmgrProcess;
let api: ApiClient;
let gpus: SimulatedPlugin;

async function shows(quantities: string): Promise<void> {
  await until(quantities, async () => {
    const view = (await api.resources()).find(({ name }) => name === GPU);
    return view !== undefined && `${String(view.healthy)} of ${String(view.capacity)}` === quantities;
  });
}

/** Runs a pod that asks for GPUs to its end and answers what became of it. */
async function outcome(name: string, count: number): Promise<string> {
  await api.createPod('default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      containers: [{ name: 'main', command: ['true'], resources: { limits: { [GPU]: count } } }],
    },
  });
  const pod = await until(`${name} to end`, async () => {
    const now = await api.getPod('default', name);
    return now.status?.phase === 'Succeeded' || now.status?.phase === 'Failed' ? now : undefined;
  });
  return [pod.status?.phase, pod.status?.message].filter((part) => part !== undefined).join(': ');
}

beforeAll(async () => {
  rootDir = makeRootDir();
  ({ manager, api } = await startManager(rootDir));
  gpus = simulatedPlugin(
    { resource: GPU, count: 4, preferredAllocation: true },
    { pluginDir: join(rootDir, 'device-plugins') },
  );
  await shows('4 of 4');
});

afterAll(async () => {
  await gpus.close();
  expect(await manager.end()).toBe(0);
  removeRootDir(rootDir);
});

test('a plugin that answers for no container fails the pod, and the devices are free again', async () => {
  gpus.lie('allocate');
  expect(await outcome('unanswered', 2)).toMatch(/^Failed: .*no containers return in allocation response/i);
  gpus.calm();
  expect(await outcome('answered', 4)).toBe('Succeeded');
});

test('a preference for devices that are not there does no harm', async () => {
  gpus.lie('preferredAllocation');
  expect(await outcome('preferred', 2)).toBe('Succeeded');
  gpus.calm();
});

test('health nobody knows is no health', async () => {
  gpus.lie('health');
  await shows('0 of 4');
  gpus.calm();
  await shows('4 of 4');
});

test('a flood of lists and one that is very long are taken, and the truth after them', async () => {
  gpus.flood({ perSecond: 500 });
  gpus.setHealth('gpu-0', 'Unhealthy');
  await shows('3 of 4');
  gpus.calm();
  gpus.oversize(5 * 2 ** 20);
  await until('a long list', async () => ((await api.resources())[0]?.capacity ?? 0) > 60_000);
  gpus.setHealth('gpu-0', 'Healthy');
  gpus.oversize(0);
  await shows('4 of 4');
});

test('a plugin that dies loses its health, and has it again under other ids', async () => {
  await gpus.die();
  await shows('0 of 4');
  await gpus.restart({ idPrefix: 'card-' });
  await shows('4 of 4');
  expect((await api.devices()).map(({ id }) => id)).toEqual(['card-0', 'card-1', 'card-2', 'card-3']);
  expect(await outcome('again', 4)).toBe('Succeeded');
});
