/**
 * Plugins that ask for releases, as a process that tests can kill: `release-plugin.js PLUGIN_DIR RESOURCE SDK_RESOURCE COUNT
 * LOG`. RESOURCE is served by hand: its plugin registers whenever its stream is gone; SDK_RESOURCE by the SDK. Both have
 * devices `d0`, `d1`, …, fail a third of the releases, and append `released DEVICE POD_UID` to the log before they agree to
 * one.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { env, servePlugin } from '@devmgr/plugin-sdk';
import { fail, ScriptedPlugin } from '@devmgr/plugin-sdk/testing';

const [pluginDir = '', resource = '', sdkResource = '', count = '1', log = ''] = process.argv.slice(2);
const devices = Array.from({ length: Number(count) }, (_, index) => `d${index}`);

async function release(name, deviceIds, podUid) {
  await delay(Math.random() * 30);
  if (Math.random() < 0.33) fail('not this time')();
  appendFileSync(log, deviceIds.map((id) => `released ${name}/${id} ${podUid}\n`).join(''));
}

servePlugin({
  resource: sdkResource,
  pluginDir,
  devices,
  allocate: (ids) => env({ SCRIPTED_DEVICES: ids.join(',') }),
  timing: { pollMs: 50, retryFirstMs: 20, retryMaxMs: 200 },
  lifecycle: {
    stateDir: join(pluginDir, '..', 'sdk-plugin'),
    released: (released, { pod }) =>
      release(
        sdkResource,
        released.map(({ id }) => id),
        pod?.uid ?? '',
      ),
    limits: { quarantineAfter: 1000, retryFirstMs: 10, retryMaxMs: 50 },
  },
});

const plugin = new ScriptedPlugin({
  pluginDir,
  resource,
  endpoint: 'released.sock',
  devices,
  script: {
    options: () => ({ preStartRequired: false, getPreferredAllocationAvailable: false, releaseRequired: true }),
    released: async ({ deviceIds, podUid }) => {
      await release(resource, deviceIds, podUid);
      return {};
    },
  },
});

for (;;) {
  if (plugin.streams === 0) {
    try {
      // A manager that starts removes sockets it does not know.
      if (!existsSync(plugin.socketPath)) {
        await plugin.close();
        await plugin.listen();
      }
      await plugin.register({ timeoutMs: 2_000 });
    } catch {
      // No manager is there.
    }
  }
  await delay(50);
}
