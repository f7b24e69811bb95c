// The checks of devmgr test as tests of vitest, one each. Run it with
//   npx vitest run --root examples/conformance
// PLUGIN is the command of the plugin; without it, the minimal one beside this file.
import { afterAll, test } from 'vitest';
import { openPluginSuite } from '@devmgr/conformance';

const minimal = new URL('../plugins/minimal.js', import.meta.url).pathname;
const plugin = process.env.PLUGIN?.split(' ') ?? [process.execPath, minimal];
const suite = openPluginSuite({ plugin, level: 'quick' });
afterAll(() => suite.close());

for (const check of suite.tests) {
  test(check.name, { timeout: suite.limitMs }, async ({ skip }) => {
    const { status, message } = await check.run();
    if (status === 'skip') skip(message);
    if (status === 'warn') console.warn(`warning: ${message}`);
  });
}
