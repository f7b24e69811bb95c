/**
 * Unmodified device plugins of other projects and languages, run through `devmgr plugin run` as a user would: they see
 * the kubelet's own directories and do not know that there is none.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiClient, ResourceView } from '@devmgr/manager';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { DevmgrProcess, makeRootDir, removeRootDir, startManager } from '../support/devmgr-process.ts';

const peers = inject('peers');
const SLOW_MS = 60_000;

let rootDir: string;
let api: ApiClient;
let manager: DevmgrProcess;
const plugins: DevmgrProcess[] = [];

beforeAll(async () => {
  rootDir = makeRootDir();
  ({ manager, api } = await startManager(rootDir));
});
afterEach(async () => {
  await Promise.all(plugins.splice(0).map((plugin) => plugin.end()));
  for (const pod of (await api.listPods()).items)
    await api.deletePod('default', pod.metadata.name, { gracePeriodSeconds: 0 });
  await until('all pods to be gone', async () => (await api.listPods()).items.length === 0);
});
afterAll(async () => {
  await manager.end();
  removeRootDir(rootDir);
});

/** Starts a peer, or skips the test aloud. */
function startPeer(
  skip: (why: string) => never,
  name: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): DevmgrProcess {
  const peer = peers[name];
  if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? `${name} is unknown`);
  const plugin = new DevmgrProcess(['plugin', 'run', '--', ...peer.command, ...args], {
    rootDir,
    env: { ...peer.env, ...env },
  });
  plugins.push(plugin);
  return plugin;
}

async function resource(name: string, accept: (view: ResourceView) => boolean): Promise<ResourceView> {
  return until(
    `${name}; the plugins say: ${plugins.map(({ output }) => output.slice(-2000)).join('\n')}`,
    async () => (await api.resources()).find((view) => view.name === name && accept(view)),
    SLOW_MS,
  );
}

/** Runs a pod that shows its environment and answers what it showed. */
async function environmentOf(name: string, limits: Record<string, number>): Promise<string> {
  await api.createPod('default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { restartPolicy: 'Never', containers: [{ name: 'main', command: ['env'], resources: { limits } }] },
  });
  const pod = await until(`pod ${name} to end`, async () => {
    const now = await api.getPod('default', name);
    return now.status?.phase === 'Succeeded' || now.status?.phase === 'Failed' ? now : undefined;
  });
  expect(pod.status).toMatchObject({ phase: 'Succeeded' });
  let text = '';
  for await (const part of api.podLogs('default', name, {
    follow: false,
    previous: false,
    signal: AbortSignal.timeout(10_000),
  }))
    text += Buffer.from(part).toString();
  return text;
}

describe("Kubernetes' sample device plugin (grpc-go 1.82, percent-encoded authority)", () => {
  it('registers, allocates, and is found again after the manager was killed', async ({ skip }) => {
    startPeer(skip, 'k8s-sample');
    await resource('example.com/resource', (view) => view.allocatable === 2 && view.plugin?.state === 'Connected');
    expect((await api.devices('example.com/resource')).map(({ id }) => id)).toEqual(['Dev-1', 'Dev-2']);
    await api.createPod('default', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'holder' },
      spec: {
        containers: [
          { name: 'main', command: ['sleep', '1000'], resources: { limits: { 'example.com/resource': 1 } } },
        ],
      },
    });
    await until('the holder to run', async () => (await api.getPod('default', 'holder')).status?.phase === 'Running');

    await manager.end('SIGKILL');
    ({ manager, api } = await startManager(rootDir));
    // Its socket was remembered and dialled: the plugin itself would need ten seconds to come back.
    await resource('example.com/resource', (view) => view.allocatable === 2 && view.plugin?.state === 'Connected');
    expect((await api.getPod('default', 'holder')).status).toMatchObject({ phase: 'Running' });
    expect((await api.devices('example.com/resource')).map(({ id, pod }) => [id, pod])).toEqual([
      ['Dev-1', 'default/holder'],
      ['Dev-2', null],
    ]);
    await environmentOf('second', { 'example.com/resource': 1 });
  });

  it('registers through plugins_registry as well', async ({ skip }) => {
    const control = mkdtempSync(join(tmpdir(), 'dmi-'));
    writeFileSync(join(control, 'go'), '');
    try {
      startPeer(skip, 'k8s-sample', [], {
        PLUGIN_SOCK_DIR: '/var/lib/kubelet/plugins_registry',
        REGISTER_CONTROL_FILE: join(control, 'go'),
      });
      await resource(
        'example.com/resource',
        (view) => view.allocatable === 2 && (view.plugin?.endpoint.includes('plugins_registry') ?? false),
      );
      await environmentOf('registry', { 'example.com/resource': 2 });
    } finally {
      rmSync(control, { recursive: true });
    }
  });
});

describe("Intel's NPU plugin 0.36 (grpc-go 1.81, authority localhost)", () => {
  let tree: string;
  beforeAll(() => {
    // What the plugin reads of sysfs and /dev, below the prefix it can be given.
    tree = mkdtempSync(join(tmpdir(), 'npu-'));
    for (const index of [0, 1]) {
      const device = join(tree, 'sys', 'class', 'accel', `accel${String(index)}`, 'device');
      mkdirSync(device, { recursive: true });
      writeFileSync(join(device, 'vendor'), '0x8086\n');
      writeFileSync(join(device, 'device'), '0x7d1d\n');
      mkdirSync(join(tree, 'dev', 'accel'), { recursive: true });
      symlinkSync('/dev/null', join(tree, 'dev', 'accel', `accel${String(index)}`));
    }
  });
  afterAll(() => {
    rmSync(tree, { recursive: true });
  });

  it('lists shared devices, again and again, and sees one being unplugged', async ({ skip }) => {
    startPeer(skip, 'intel-npu', ['-prefix', tree, '-shared-dev-num', '2']);
    await resource('npu.intel.com/accel', (view) => view.allocatable === 4);
    await environmentOf('npu', { 'npu.intel.com/accel': 2 });
    rmSync(join(tree, 'dev', 'accel', 'accel1'));
    rmSync(join(tree, 'sys', 'class', 'accel', 'accel1'), { recursive: true });
    await resource('npu.intel.com/accel', (view) => view.capacity === 2);
  });
});

describe('kubevirt/device-plugin-manager (grpc-go 1.32, the raw path as authority)', () => {
  it('registers two resources, prefers, allocates, prepares the start', async ({ skip }) => {
    startPeer(skip, 'dpm', ['-logtostderr']);
    for (const name of ['alpha', 'beta'])
      await resource(`dpm.example.com/${name}`, (view) => view.allocatable === 2 && view.plugin?.state === 'Connected');
    expect((await api.devices('dpm.example.com/alpha')).map(({ id, numaNodes }) => [id, numaNodes])).toEqual([
      ['alpha0', [0]],
      ['alpha1', [1]],
    ]);
    // The plugin prefers the last ones; without asking it would have been the first.
    const environment = await environmentOf('both', { 'dpm.example.com/alpha': 1, 'dpm.example.com/beta': 2 });
    expect(environment).toContain('DEVMGR_DEVICE_PATHS=/dev/null');
    expect(environment).toMatch(/^DPM_IDS=alpha1$/m);
  });
});

describe('a plugin on Python grpcio (C core)', () => {
  it('registers, and its toggling health shows', async ({ skip }) => {
    startPeer(skip, 'python');
    await resource('py.example.com/thing', (view) => view.allocatable === 2 && view.capacity === 2);
    await resource('py.example.com/thing', (view) => view.allocatable === 1 && view.capacity === 2);
    expect(await environmentOf('py', { 'py.example.com/thing': 1 })).toMatch(/^THINGS=thing-0$/m);
  });
});

describe('a plugin on the Rust crate k8s-device-plugin-lib (tonic)', () => {
  it('registers and allocates', async ({ skip }) => {
    startPeer(skip, 'rust');
    await resource('rust.example.com/widget', (view) => view.allocatable === 2);
    expect(await environmentOf('rust', { 'rust.example.com/widget': 2 })).toMatch(/^RUST_WIDGETS=/m);
  });
});
