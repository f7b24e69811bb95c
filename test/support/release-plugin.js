/**
 * A plugin that asks for releases, as a process that tests can kill: `release-plugin.js PLUGIN_DIR RESOURCE COUNT LOG`.
 * It serves devices `d0`, `d1`, …, registers whenever its stream is gone, fails a third of the releases, and appends
 * `released DEVICE POD_UID` to the log before it agrees to one.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fail, ScriptedPlugin } from '@devmgr/plugin-sdk/testing';

const [pluginDir = '', resource = '', count = '1', log = ''] = process.argv.slice(2);

const plugin = new ScriptedPlugin({
  pluginDir,
  resource,
  endpoint: 'released.sock',
  devices: Array.from({ length: Number(count) }, (_, index) => `d${index}`),
  script: {
    options: () => ({ preStartRequired: false, getPreferredAllocationAvailable: false, releaseRequired: true }),
    released: async ({ deviceIds, podUid }) => {
      await delay(Math.random() * 30);
      if (Math.random() < 0.33) fail('not this time')();
      appendFileSync(log, deviceIds.map((id) => `released ${resource}/${id} ${podUid}\n`).join(''));
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
