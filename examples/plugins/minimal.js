// A device plugin: four devices, one of which fails and recovers again and again. Run it with
//   node examples/plugins/minimal.js
// PLUGIN_DIR is the plugin directory of a manager; without it, the kubelet's.
import { setTimeout } from 'node:timers/promises';
import { consoleLog, deviceNode, env, servePlugin, terminationSignal } from '@devmgr/plugin-sdk';

async function* devices() {
  for (let health = 'Healthy'; ; health = health === 'Healthy' ? 'Unhealthy' : 'Healthy') {
    yield ['w0', 'w1', { id: 'w2', numaNodes: [1] }, { id: 'w3', health }];
    await setTimeout(5_000, undefined, { ref: false });
  }
}

servePlugin({
  resource: 'example.com/widget',
  devices: devices(),
  allocate: (ids) => [env({ WIDGETS: ids.join(',') }), deviceNode('/dev/null')],
  pluginDir: process.env.PLUGIN_DIR,
  signal: terminationSignal(),
  log: consoleLog(),
});
