/** The same suite that runs against devmgr, against the device manager of a real kubelet. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { servePlugin } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import { describe, expect, inject, it } from 'vitest';
import { PeerProcess } from '../oracle/differential/peer-process.ts';
import type { AdmitAnswer, AllocatableAnswer } from '../oracle/protocol.ts';
import { sdkPluginSuite } from '../support/sdk-plugin-suite.ts';

const peers = inject('peers');
const R = 'example.com/widget';

function startKubelet(skip: (why: string) => never): PeerProcess {
  const peer = peers['kubelet'];
  if (peer === undefined || 'skipped' in peer) return skip(peer?.skipped ?? 'the kubelet is unknown');
  const [program = '', ...args] = peer.command;
  return new PeerProcess(program, args);
}

sdkPluginSuite('the kubelet', startKubelet);

describe('a plugin of the SDK that wants to hear of releases, and the kubelet', () => {
  it('learns from PodResources that a pod is gone; until its hook succeeds the kubelet is not offered the device', async ({
    skip,
  }) => {
    const root = await mkdtemp(join(tmpdir(), 'sr-'));
    const kubelet = startKubelet(skip);
    const pluginDir = join(root, 'device-plugins');
    const podResources = join(root, 'pod-resources', 'kubelet.sock');
    await Promise.all([mkdir(pluginDir), mkdir(dirname(podResources))]);
    let releases = 0;
    let fails = true;
    const plugin = servePlugin({
      resource: R,
      devices: ['a', 'b'],
      pluginDir,
      timing: { pollMs: 100 },
      lifecycle: {
        stateDir: join(root, 'state'),
        released: (devices, { pod }) => {
          expect([devices.map(({ id }) => id), pod?.name]).toEqual([['a'], 'one']);
          releases += 1;
          if (fails) throw new Error('still warm');
        },
        limits: { holderPollMs: 50, settleMs: 0, retryFirstMs: 50, retryMaxMs: 100, quarantineAfter: 1_000 },
      },
      preferredAllocation: ({ available, size }) => [...available].sort().slice(0, size),
    });
    try {
      await kubelet.do({ op: 'start', dir: `${pluginDir}/` });
      await kubelet.do({ op: 'pod-resources', socket: podResources });
      await untilOffered(kubelet, 'a,b');
      expect(await admit(kubelet, 'one', 1)).toMatchObject({ admit: true, devices: { c: { [R]: ['a'] } } });
      const state = join(root, 'state', 'example.com_widget.json');
      await until('the pod to be known', async () => (await readFile(state, 'utf8')).includes('"one"'));
      await kubelet.do({ op: 'remove', uid: 'one' });
      await until('the hook to be called again and again', () => releases > 2);
      expect(plugin.devices[0]).toMatchObject({
        id: 'a',
        phase: 'Releasing',
        reason: 'ReleaseFailed',
        progress: undefined,
      });
      await untilOffered(kubelet, 'b');
      expect((await admit(kubelet, 'two', 2)).admit, 'only b is left').toBe(false);
      fails = false;
      await untilOffered(kubelet, 'a,b');
      expect((await admit(kubelet, 'three', 2)).admit).toBe(true);
    } finally {
      await plugin.close();
      await kubelet.close();
      await rm(root, { recursive: true });
    }
  });
});

async function admit(kubelet: PeerProcess, uid: string, count: number): Promise<AdmitAnswer> {
  const pod = { uid, containers: [{ name: 'c', limits: { [R]: String(count) } }] };
  return (await kubelet.do({ op: 'admit', pod })) as AdmitAnswer;
}

async function untilOffered(kubelet: PeerProcess, ids: string): Promise<void> {
  await until(`${ids} to be offered`, async () => {
    const answer = (await kubelet.do({ op: 'allocatable' })) as AllocatableAnswer;
    return (
      Object.keys(answer[R] ?? {})
        .sort()
        .join() === ids
    );
  });
}
