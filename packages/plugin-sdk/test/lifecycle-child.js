// A plugin for the tests that kill it. Each hook it was told to have (HOOKS) appends its name to `calls` in WORK_DIR,
// then goes on only once a file of that name with `.go` is there.
import { existsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { consoleLog, servePlugin, terminationSignal } from '@devmgr/plugin-sdk';

const { PLUGIN_DIR, WORK_DIR, HOOKS = '' } = process.env;
const wanted = new Set(HOOKS.split(','));

async function step(name, signal) {
  await appendFile(join(WORK_DIR, 'calls'), `${name}\n`);
  while (!existsSync(join(WORK_DIR, `${name}.go`))) await delay(10, undefined, { signal });
}

const command = [
  'sh',
  '-c',
  'echo $$ >> "$1/pids"; echo progress 50 half; while [ -d "$1" ] && [ ! -e "$1/install.go" ]; do sleep 0.05; done',
  'installer',
  WORK_DIR,
];
const hooks = {
  run: { install: { key: 'v1', run: ({ signal }) => step('install', signal) } },
  command: { install: { key: 'v1', command } },
  init: { init: (_device, { signal }) => step('init', signal) },
  released: { released: (_devices, { signal }) => step('released', signal) },
  reset: { reset: (_devices, { signal }) => step('reset', signal) },
  before: { resetWhen: 'before' },
};

servePlugin({
  resource: 'example.com/gpu',
  devices: ['a'],
  pluginDir: PLUGIN_DIR,
  timing: { pollMs: 100, retryFirstMs: 20, retryMaxMs: 200 },
  lifecycle: Object.assign(
    { stateDir: join(WORK_DIR, 'state'), limits: { retryFirstMs: 20, holderPollMs: 20, settleMs: 0 } },
    ...Object.entries(hooks).map(([name, hook]) => (wanted.has(name) ? hook : {})),
  ),
  signal: terminationSignal(),
  log: consoleLog({ debug: true }),
});
