// Appends records without end, a few at a time, with snapshots in between, and says which are acknowledged: `issued N` when
// the N-th is handed over, `acked N` when its append resolved. Arguments: device plugin directory, state directory, first N.
import { writeSync } from 'node:fs';
import { StateStore } from '../../src/checkpoint/state-store.ts';
import { quietLog, realClock, recordNumber } from './workload.ts';

const [devicePluginDir = '', stateDir = '', first] = process.argv.slice(2);
const { store } = await StateStore.open({ devicePluginDir, stateDir, clock: realClock, log: quietLog, bootId: 'b' });
store.onProblem = (message) => writeSync(1, `problem ${message}\n`);
let healthyIds: string[] = [];
store.bind({
  resources: () => [{ resource: 'example.com/r0', healthyIds, endpoint: '/live.sock', preStartRequired: true }],
});

let next = Number(first);
async function worker(): Promise<never> {
  for (;;) {
    const n = next++;
    writeSync(1, `issued ${String(n)}\n`);
    await store.append(recordNumber(n));
    writeSync(1, `acked ${String(n)}\n`);
  }
}
async function snapshots(): Promise<never> {
  for (;;) {
    healthyIds = Array.from({ length: (next * 13) % 500 }, (_, index) => `dev-${String(index)}`);
    await store.snapshot();
    await new Promise((resolve) => setTimeout(resolve, next % 7));
  }
}
await Promise.all([worker(), worker(), worker(), snapshots()]);
