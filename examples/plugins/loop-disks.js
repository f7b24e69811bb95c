// Small disks made of loop devices, found again after a crash and wiped after use. Needs root and a kernel with loop:
//   LOOP_DIR=/var/tmp/loop node examples/plugins/loop-disks.js
// and, once no pod uses them any more, `… loop-disks.js clean` to take them away.
// PLUGIN_DIR is the plugin directory of a manager; without it, the kubelet's.
import { execFile } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HookError, consoleLog, deviceNode, env, servePlugin, terminationSignal } from '@devmgr/plugin-sdk';

const { PLUGIN_DIR, LOOP_DIR = '/var/tmp/loop' } = process.env;
const SIZE = 4 * 1024 * 1024;
const disks = ['l0', 'l1'];
const run = promisify(execFile);
const image = (id) => join(LOOP_DIR, `${id}.img`);

/** Loop devices that have the image, as the kernel knows them: nothing is remembered here that could be wrong. */
async function nodesOf(id) {
  const { stdout } = await run('losetup', ['--noheadings', '--output', 'NAME', '--associated', image(id)]);
  return stdout.split('\n').filter(Boolean);
}

async function nodeOf(id) {
  const [node] = await nodesOf(id);
  if (node === undefined) throw new HookError('NotAttached', `no loop device has ${image(id)}`);
  return node;
}

async function zero(path, progress) {
  const file = await open(path, 'r+');
  try {
    const block = new Uint8Array(SIZE / 16);
    for (let index = 0; index < 16; index += 1) {
      await file.write(block, 0, block.length, index * block.length);
      progress((index + 1) * 6, 'wiping');
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function clean() {
  for (const id of disks) {
    for (const node of await nodesOf(id)) await run('losetup', ['--detach', node]);
    await rm(image(id), { force: true });
  }
}

function serve() {
  servePlugin({
    resource: 'example.com/loop-disk',
    devices: disks,
    allocate: async (ids) => {
      const nodes = await Promise.all(ids.map(nodeOf));
      return [env({ LOOP_DISKS: nodes.join(':') }), ...nodes.map((node) => deviceNode(node))];
    },
    lifecycle: {
      stateDir: join(LOOP_DIR, 'state'),
      ready: async () => (await run('losetup', ['--version'])).stdout.trim().split(' ').at(-1),
      // Idempotent: after a crash the image may be attached already.
      init: async ({ id }) => {
        await mkdir(LOOP_DIR, { recursive: true });
        const file = await open(image(id), 'a');
        await file.truncate(SIZE);
        await file.close();
        if ((await nodesOf(id)).length === 0) await run('losetup', ['--find', image(id)]);
      },
      health: async ({ id }) => {
        await nodeOf(id);
      },
      reset: async ([{ id }], { progress }) => zero(await nodeOf(id), progress),
    },
    pluginDir: PLUGIN_DIR,
    signal: terminationSignal(),
    log: consoleLog(),
  });
}

// The disks outlive the plugin: pods that use them do, too.
if (process.argv[2] === 'clean') await clean();
else serve();
