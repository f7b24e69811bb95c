/**
 * Kills the manager with SIGKILL at random instants under load, again and again, and holds what the next one says
 * against everything clients were told before. `KILLS` sets how often (10 unless set; `npm run test:kill` takes 200).
 */
import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { DevmgrError, type Pod } from '@devmgr/core';
import type { ApiClient } from '@devmgr/manager';
import { startScriptedPlugin, until, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeRootDir, removeRootDir, startManager, type DevmgrProcess } from '../support/devmgr-process.ts';

const KILLS = Number(process.env['KILLS'] ?? 10);
const RESOURCES: Readonly<Record<string, number>> = { 'example.com/a': 6, 'example.com/b': 4 };
/** No other process sleeps for so long. */
const SLEEP_SECONDS = String(1_000_000 + randomInt(1_000_000));
const CLIENTS = 4;

/** What clients were told about one pod. */
interface Told {
  readonly limits: Readonly<Record<string, number>>;
  created: boolean;
  /** `resource/id` of what it was seen to hold while it ran. */
  holds: string | undefined;
  refused: boolean;
  deleting: boolean;
  deleted: boolean;
}

const told = new Map<string, Told>();
let rootDir: string;
let manager: DevmgrProcess | undefined;
let api: ApiClient;
const plugins: ScriptedPlugin[] = [];
let nextPod = 0;

beforeAll(() => {
  rootDir = makeRootDir();
});
afterAll(async () => {
  await manager?.end();
  await Promise.all(plugins.map((plugin) => plugin.close()));
  removeRootDir(rootDir);
  expect(sleepers()).toEqual([]);
});

/** Ids of the processes that the pods of this test run. */
function sleepers(): string[] {
  return readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const [program, argument] = readFileSync(join('/proc', entry, 'cmdline'), 'utf8').split('\0');
      return program?.endsWith('sleep') === true && argument === SLEEP_SECONDS;
    } catch {
      return false; // it ended meanwhile
    }
  });
}

function holdings(pod: Pod): string[] {
  return (pod.status?.containerStatuses ?? []).flatMap((status) =>
    (status.allocatedResourcesStatus ?? []).flatMap(({ name, resources }) =>
      resources.map(({ resourceID }) => `${name}/${resourceID}`),
    ),
  );
}

async function getPod(name: string): Promise<Pod | undefined> {
  try {
    return await api.getPod('default', name);
  } catch (error) {
    if (error instanceof DevmgrError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

async function createOne(): Promise<void> {
  const name = `p${String(nextPod++)}`;
  const limits = Object.fromEntries(Object.keys(RESOURCES).map((resource) => [resource, randomInt(3)]));
  const record: Told = { limits, created: false, holds: undefined, refused: false, deleting: false, deleted: false };
  told.set(name, record);
  await api.createPod('default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', command: ['sleep', SLEEP_SECONDS], resources: { limits } }],
    },
  });
  record.created = true;
  for (;;) {
    const pod = await getPod(name);
    if (pod?.status?.phase === 'Running') record.holds = holdings(pod).sort().join(' ');
    else if (pod?.status?.phase === 'Failed') record.refused = true;
    else {
      await delay(5);
      continue;
    }
    return;
  }
}

async function deleteOne(): Promise<void> {
  const names = [...told].filter(([, record]) => record.created && !record.deleting).map(([name]) => name);
  const name = names[randomInt(Math.max(1, names.length))];
  const record = told.get(name ?? '');
  if (name === undefined || record === undefined) return;
  record.deleting = true;
  await api.deletePod('default', name, { gracePeriodSeconds: 0 });
  while ((await getPod(name)) !== undefined) await delay(5);
  record.deleted = true;
}

/** Creates and deletes until the manager is gone. */
async function client(): Promise<void> {
  for (;;) {
    try {
      await (randomInt(100) < 55 ? createOne() : deleteOne());
    } catch (error) {
      if (error instanceof DevmgrError && error.code === 'MANAGER_UNREACHABLE') return;
      if (manager?.running === true && !(error instanceof DevmgrError && error.code === 'NOT_FOUND')) throw error;
      return;
    }
  }
}

/** Holds the state after a restart against what was told before. */
async function verify(): Promise<void> {
  await until('the plugins to be found again', async () => {
    const views = await api.resources();
    return Object.entries(RESOURCES).every(([name, count]) =>
      views.some((view) => view.name === name && view.allocatable === count),
    );
  });
  // Pods that were on their way go on by themselves: wait until all are where they will stay.
  const pods = await until('all pods to settle', async () => {
    const { items } = await api.listPods();
    const settled = items.every(
      (pod) =>
        pod.metadata.deletionTimestamp === undefined &&
        (pod.status?.phase === 'Running' || pod.status?.phase === 'Failed'),
    );
    return settled ? items : undefined;
  });
  const byName = new Map(pods.map((pod) => [pod.metadata.name, pod]));

  const holders = new Map<string, string>();
  for (const pod of pods) {
    const { name } = pod.metadata;
    const held = pod.status?.phase === 'Running' ? holdings(pod) : [];
    for (const device of held) {
      expect(holders.get(device), `${device} is with ${name} as well`).toBeUndefined();
      holders.set(device, name);
    }
    if (pod.status?.phase === 'Running') {
      const wanted = Object.values(told.get(name)!.limits).reduce((sum, count) => sum + count, 0);
      expect(held, name).toHaveLength(wanted);
    }
  }
  for (const [name, record] of told) {
    const pod = byName.get(name);
    if (record.deleted) expect(pod, `${name} was deleted`).toBeUndefined();
    else if (record.created && !record.deleting) {
      expect(pod, `${name} was created`).toBeDefined();
      if (record.holds !== undefined) {
        expect(pod?.status?.phase, name).toBe('Running');
        expect(holdings(pod!).sort().join(' '), name).toBe(record.holds);
      }
      if (record.refused) expect(pod?.status?.phase, name).toBe('Failed');
    }
    // What was in doubt is settled now.
    if (pod === undefined) told.delete(name);
    else {
      record.created = true;
      record.deleting = false;
      if (pod.status?.phase === 'Running') record.holds = holdings(pod).sort().join(' ');
      else record.refused = true;
    }
  }
  for (const device of await api.devices()) {
    const key = `${device.resource}/${device.id}`;
    expect(device.pod ?? undefined, key).toBe(holders.has(key) ? `default/${holders.get(key)!}` : undefined);
  }
  const running = pods.filter((pod) => pod.status?.phase === 'Running').length;
  await until(
    `${String(running)} containers, now ${String(sleepers().length)}`,
    () => sleepers().length === running || undefined,
  );
}

it(
  `keeps every promise over ${String(KILLS)} kills`,
  async () => {
    ({ manager, api } = await startManager(rootDir));
    for (const [resource, count] of Object.entries(RESOURCES)) {
      const devices = Array.from({ length: count }, (_, index) => `d${String(index)}`);
      const plugin = await startScriptedPlugin({ pluginDir: join(rootDir, 'device-plugins'), resource, devices });
      plugins.push(plugin);
      await plugin.register();
    }
    for (let kill = 0; kill < KILLS; kill++) {
      await verify();
      const clients = Promise.all(Array.from({ length: CLIENTS }, client));
      await delay(randomInt(400));
      await manager.end('SIGKILL');
      await clients;
      ({ manager, api } = await startManager(rootDir));
    }
    await verify();
    for (const name of told.keys()) await api.deletePod('default', name, { gracePeriodSeconds: 0 });
    await until('all pods to be gone', async () => (await api.listPods()).items.length === 0);
    expect((await api.devices()).every(({ state }) => state === 'Free')).toBe(true);
    expect(sleepers()).toEqual([]);
  },
  60_000 + KILLS * 10_000,
);
