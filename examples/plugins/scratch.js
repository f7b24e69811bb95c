// Scratch directories with the whole life of a device: a driver that is installed, devices that are initialised, watched,
// and wiped before the next pod gets them. Needs no root:
//   SCRATCH_DIR=/tmp/scratch node examples/plugins/scratch.js
// PLUGIN_DIR is the plugin directory of a manager; without it, the kubelet's.
import { access, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { consoleLog, env, mount, servePlugin, terminationSignal } from '@devmgr/plugin-sdk';

const { PLUGIN_DIR, SCRATCH_DIR = '/tmp/scratch' } = process.env;
const driver = join(SCRATCH_DIR, 'driver');
const home = ({ id }) => join(SCRATCH_DIR, 'disks', id);
const label = (device) => join(home(device), '.label');

// Stands for whatever a real driver needs: a package, a module that is built, firmware that is loaded.
const installer = `
  mkdir -p "$1"; echo progress 20 unpacking; sleep 0.3
  echo progress 70 building; sleep 0.3
  echo 1.0 > "$1/version.new"; mv "$1/version.new" "$1/version"`;

async function format(device) {
  const dir = home(device);
  await mkdir(dir, { recursive: true });
  for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true });
  await writeFile(label(device), device.id);
}

servePlugin({
  resource: 'example.com/scratch',
  devices: ['s0', 's1', 's2'],
  allocate: (ids) => [
    env({ SCRATCH: ids.map((id) => home({ id })).join(':') }),
    ...ids.map((id) => mount(home({ id }), { containerPath: `/scratch/${id}` })),
  ],
  lifecycle: {
    stateDir: join(SCRATCH_DIR, 'state'),
    // Is the driver there, and which?
    ready: () =>
      readFile(join(driver, 'version'), 'utf8').then(
        (version) => version.trim(),
        () => false,
      ),
    install: { key: '1.0', command: ['sh', '-ec', installer, 'install', driver] },
    init: (device) => format(device),
    health: (device) => access(label(device)),
    // After use, so that the next pod finds nothing of the one before.
    reset: ([device]) => format(device),
  },
  pluginDir: PLUGIN_DIR,
  signal: terminationSignal(),
  log: consoleLog(),
});
