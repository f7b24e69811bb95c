// A good plugin that uses all of the API: two resources, preference, preparation, mounts, annotations, CDI, hot-plug.
// THOROUGH_DEVICES is a directory: a device for each file in it. THOROUGH_WAY: "register" (default) or "registry".
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import {
  annotations,
  cdiDevice,
  consoleLog,
  deviceNode,
  env,
  mount,
  servePlugin,
  terminationSignal,
} from '@devmgr/plugin-sdk';

const directory = process.env.THOROUGH_DEVICES;
const shared = { registration: process.env.THOROUGH_WAY, signal: terminationSignal(), log: consoleLog() };

servePlugin({
  ...shared,
  resource: 'thorough.example/card',
  devices: { everyMs: 100, scan: () => readdirSync(directory).map((id) => ({ id, numaNodes: [0] })) },
  allocate: (ids) => [env({ CARDS: ids.join(',') }), deviceNode('/dev/null'), mount('/tmp', { readOnly: true })],
  preferredAllocation: ({ available, mustInclude, size }) => {
    const others = available.filter((id) => !mustInclude.includes(id));
    return [...mustInclude, ...others].slice(0, size);
  },
  preStart: () => undefined,
});

const CDI_DIRECTORY = '/run/cdi';
const ids = ['a', 'b'];
mkdirSync(CDI_DIRECTORY, { recursive: true });
const spec = {
  cdiVersion: '0.6.0',
  kind: 'thorough.example/named',
  devices: ids.map((name) => ({ name, containerEdits: { env: [`NAMED=${name}`] } })),
};
writeFileSync(`${CDI_DIRECTORY}/thorough.json`, JSON.stringify(spec));
servePlugin({
  ...shared,
  resource: 'thorough.example/named',
  devices: ids,
  allocate: (names) => [
    annotations({ 'thorough.example/ids': names.join(',') }),
    ...names.map((name) => cdiDevice(`thorough.example/named=${name}`)),
  ],
});
