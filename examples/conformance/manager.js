// The checks of devmgr test --manager as tests of node:test. Run it with
//   MANAGER_DIR=/tmp/lab node --test examples/conformance/manager.js
// MANAGER_DIR is the root directory of a manager that runs, or its plugin directory.
import { after, test } from 'node:test';
import { openManagerSuite } from '@devmgr/conformance';

const suite = await openManagerSuite({ dir: process.env.MANAGER_DIR ?? '/var/lib/kubelet' });
after(() => suite.close());

for (const check of suite.tests) {
  test(check.name, { timeout: suite.limitMs }, async (context) => {
    const { status, message } = await check.run();
    if (status === 'skip') context.skip(message);
  });
}
