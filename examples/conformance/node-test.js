// The checks of devmgr test as tests of node:test, one each. Run it with
//   node --test examples/conformance/node-test.js
// PLUGIN is the command of the plugin; without it, the minimal one beside this file.
import { after, test } from 'node:test';
import { openPluginSuite } from '@devmgr/conformance';

const minimal = new URL('../plugins/minimal.js', import.meta.url).pathname;
const plugin = process.env.PLUGIN?.split(' ') ?? [process.execPath, minimal];
const suite = openPluginSuite({ plugin, level: 'quick' });
after(() => suite.close());

for (const check of suite.tests) {
  test(check.name, { timeout: suite.limitMs }, async (context) => {
    const { status, message } = await check.run();
    if (status === 'skip') context.skip(message);
    if (status === 'warn') context.diagnostic(`warning: ${message}`);
  });
}
