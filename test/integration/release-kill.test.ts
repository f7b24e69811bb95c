/**
 * Kills the manager, a plugin, or both with SIGKILL at random instants under load, again and again: no device is used by
 * another pod before the hook of its release has succeeded. Containers and hooks write down what they do, in one file
 * and in order. `KILLS` sets how often.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DevmgrError } from '@devmgr/core';
import type { ApiClient } from '@devmgr/manager';
import { startScriptedPlugin, until, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeRootDir, removeRootDir, startManager, type DevmgrProcess } from '../support/devmgr-process.ts';

/** Half as many as in the other kill test, since each takes twice the time. */
const KILLS = Math.ceil(Number(process.env['KILLS'] ?? 20) / 2);
const PLUGIN_PROGRAM = fileURLToPath(new URL('../support/release-plugin.js', import.meta.url));
/** Released by a plugin that speaks the protocol by hand, by one of the SDK, and by a command of the configuration. */
const BY_PLUGIN = 'example.com/plugin';
const BY_SDK = 'example.com/sdk';
const BY_COMMAND = 'example.com/command';
const DEVICES = 4;
const CLIENTS = 4;

let rootDir: string;
let pluginDir: string;
let log: string;
let config: string;
let manager: DevmgrProcess | undefined;
let api: ApiClient;
let plugin: ChildProcess | undefined;
let plain: ScriptedPlugin | undefined;
let nextPod = 0;

beforeAll(() => {
  rootDir = makeRootDir();
  pluginDir = join(rootDir, 'device-plugins');
  mkdirSync(pluginDir);
  log = join(rootDir, 'log');
  writeFileSync(log, '');
  const hook = join(rootDir, 'hook');
  // A fifth fails; what has begun may be killed at any moment.
  writeFileSync(
    hook,
    `#!/bin/sh\nn=$(($$ % 5))\nsleep 0.0$n\n[ $n = 0 ] && exit 1\nIFS=,\nfor id in $DEVMGR_DEVICE_IDS; do echo "released $DEVMGR_RESOURCE/$id $DEVMGR_POD_UID" >> ${log}; done\n`,
  );
  chmodSync(hook, 0o755);
  const quick = { releaseBackOff: '10ms', releaseBackOffMax: '50ms', quarantineAfter: 1000 };
  config = join(rootDir, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({
      resources: { [BY_PLUGIN]: quick, [BY_SDK]: quick, [BY_COMMAND]: { ...quick, onRelease: [hook] } },
    }),
  );
});
afterAll(async () => {
  await manager?.end();
  await killPlugin();
  await plain?.close();
  removeRootDir(rootDir);
});

function startPlugin(): void {
  const args = [PLUGIN_PROGRAM, pluginDir, BY_PLUGIN, BY_SDK, String(DEVICES), log];
  plugin = spawn(process.execPath, args, { stdio: 'inherit' });
}

async function killPlugin(): Promise<void> {
  const child = plugin;
  plugin = undefined;
  if (child === undefined) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** One pod that writes down what it uses and ends by itself or is deleted, or is refused because the time was up. */
async function onePod(): Promise<void> {
  const name = `p${String(nextPod++)}`;
  // Each plugin sets the same variable, so the pod asks for one resource a container.
  const container = (resource: string) => ({
    name: resource.slice(resource.indexOf('/') + 1),
    command: [
      '/bin/sh',
      '-c',
      `IFS=,; for id in $SCRIPTED_DEVICES; do echo "use ${resource}/$id $POD"; done >> ${log}; exec sleep ${randomInt(2) === 0 ? '0.05' : '1'}`,
    ],
    env: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }],
    resources: { limits: { [resource]: String(randomInt(3)) } },
  });
  await api.createPod('default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [BY_PLUGIN, BY_SDK, BY_COMMAND].map(container),
    },
  });
  const phase = async (): Promise<string | undefined> => (await api.getPod('default', name)).status?.phase;
  for (let waited = 0; (await phase()) === 'Pending' && waited < 300; waited += 1) await delay(5);
  await delay(randomInt(50));
  await api.deletePod('default', name, { gracePeriodSeconds: 0 });
}

/** Pods without end, until the manager is gone. */
async function client(): Promise<void> {
  for (;;) {
    try {
      await onePod();
    } catch (error) {
      if (error instanceof DevmgrError && error.code === 'MANAGER_UNREACHABLE') return;
      if (manager?.running === true) throw error;
      return;
    }
  }
}

/** What was written down so far, against the rule. How many times a device went from one pod to another. */
function checkLog(): number {
  const users = new Map<string, string>();
  const released = new Set<string>();
  let handovers = 0;
  for (const line of readFileSync(log, 'utf8').trim().split('\n')) {
    const [what, device = '', pod = ''] = line.split(' ');
    if (what === 'released') {
      released.add(`${device} ${pod}`);
      continue;
    }
    const before = users.get(device);
    users.set(device, pod);
    if (before === undefined || before === pod) continue;
    handovers += 1;
    expect(released.has(`${device} ${before}`), `${device} went from ${before} to ${pod} without a release`).toBe(true);
  }
  return handovers;
}

function countUses(): number {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('use ')).length;
}

it(
  `hands no device out between its release and the success of the hook, over ${String(KILLS)} kills`,
  async () => {
    startPlugin();
    ({ manager, api } = await startManager(rootDir, ['--config', config]));
    const devices = Array.from({ length: DEVICES }, (_, index) => `d${String(index)}`);
    plain = await startScriptedPlugin({ pluginDir, resource: BY_COMMAND, devices });
    await plain.register();
    await until('the plugins to list', async () => (await api.devices()).length === 3 * DEVICES);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const clients = Promise.all(Array.from({ length: CLIENTS }, client));
      const uses = countUses();
      await until('pods to use devices', () => countUses() >= uses + 4, 60_000);
      await delay(randomInt(400));
      const victims = randomInt(3);
      if (victims !== 0) await killPlugin();
      if (victims !== 1) await manager.end('SIGKILL');
      // The plugin alone is missed while the pods go on.
      else {
        await delay(randomInt(100));
        startPlugin();
        await delay(300 + randomInt(300));
        await manager.end('SIGKILL');
      }
      await clients;
      if (victims === 2) startPlugin();
      ({ manager, api } = await startManager(rootDir, ['--config', config]));
      checkLog();
    }
    for (const { metadata } of (await api.listPods()).items) {
      await api.deletePod('default', metadata.name, { gracePeriodSeconds: 0 }).catch(() => undefined);
    }
    await until('all pods to be gone', async () => (await api.listPods()).items.length === 0, 60_000);
    await until('all devices to be released', async () => (await api.releases()).length === 0, 60_000);
    expect((await api.devices()).map(({ state }) => state)).toEqual(Array(3 * DEVICES).fill('Free'));
    // Otherwise nothing was proved.
    expect(checkLog()).toBeGreaterThan(KILLS);
  },
  120_000 + KILLS * 15_000,
);
