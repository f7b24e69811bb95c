import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env, servePlugin } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterEach, expect, it } from 'vitest';
import { DaemonBench } from './daemon-bench.ts';

const R = 'example.com/board';
const limits = { holderPollMs: 50, settleMs: 0, retryFirstMs: 50, retryMaxMs: 200 };
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  while (cleanups.length > 0) await cleanups.pop()?.();
});

it('a device goes to the next pod only after the hook of its release has succeeded', async () => {
  const bench = await DaemonBench.start();
  cleanups.push(() => bench.close());
  const stateDir = await mkdtemp(join(tmpdir(), 'pl-'));
  cleanups.push(() => rm(stateDir, { recursive: true }));
  const story: string[] = [];
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const plugin = servePlugin({
    resource: R,
    devices: ['b0'],
    pluginDir: bench.pluginDir,
    allocate: (ids) => {
      story.push('allocated');
      return env({ BOARDS: ids.join() });
    },
    lifecycle: {
      stateDir,
      limits,
      released: async (_devices, { pod }) => {
        story.push(`release of ${pod?.name ?? 'nobody'} began`);
        await gate;
        story.push('release ended');
      },
    },
  });
  cleanups.push(() => plugin.close());
  await plugin.registered;
  await until('the board', async () => (await bench.api.resources()).some(({ allocatable }) => allocatable === 1));
  await bench.pod('one', { containers: [{ name: 'main', resources: { limits: { [R]: 1 } } }] });
  await bench.phase('one', 'Running');
  const state = join(stateDir, 'example.com_board.json');
  await until('the plugin to remember who has it', async () => (await readFile(state, 'utf8')).includes('"b0"'));
  await bench.remove('one');
  const board = { name: 'main', resources: { limits: { [R]: 1 } } };
  await bench.pod('two', { containers: [board] });
  await until('the release', () => story.length > 1);
  open();
  // It waits for the board, or is refused because there is none; then it is for its owner to ask again.
  await until(
    'the second pod to run',
    async () => {
      const { status } = await bench.api.getPod('default', 'two');
      if (status?.phase === 'Failed') {
        await bench.remove('two');
        await bench.pod('two', { containers: [board] });
      }
      return status?.phase === 'Running';
    },
    25_000,
  );
  expect(story).toEqual(['allocated', expect.stringMatching(/^release of .* began$/), 'release ended', 'allocated']);
});
