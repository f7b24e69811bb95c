/**
 * Fills what room there is and says what happened, as one JSON object. Arguments: device plugin directory, state directory,
 * a file to fill the disk with (or nothing where file sizes are limited instead).
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { StateStore } from '../../src/checkpoint/state-store.ts';
import type { StateRecord } from '../../src/ports.ts';
import { quietLog, realClock } from './workload.ts';

const [devicePluginDir = '', stateDir = '', filler] = process.argv.slice(2);
// A file that grows beyond the limit also raises a signal, which ends whoever does not handle it.
process.on('SIGXFSZ', () => undefined);

const pod = (uid: string, sizeBytes: number): StateRecord => ({
  type: 'pod',
  pod: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: uid, uid, annotations: { filler: 'x'.repeat(sizeBytes) } },
    spec: { containers: [{ name: 'c' }] },
  },
});
const outcome = async (work: Promise<void>): Promise<string> => {
  try {
    await work;
    return 'ok';
  } catch (error) {
    return error instanceof Error ? `${String((error as { code?: unknown }).code)} ${error.message}` : String(error);
  }
};
const checkpoint = (): string => readFileSync(`${devicePluginDir}/kubelet_internal_checkpoint`, 'utf8');

const { store } = await StateStore.open({ devicePluginDir, stateDir, clock: realClock, log: quietLog, bootId: 'b' });
const problems: string[] = [];
store.onProblem = (message) => problems.push(message);
let ids: string[] = ['dev-1'];
store.bind({
  resources: () => [{ resource: 'example.com/r', healthyIds: ids, endpoint: null, preStartRequired: false }],
});

const first = await outcome(store.append(pod('first', 10)));
const firstSnapshot = await outcome(store.snapshot());
const before = checkpoint();
if (filler !== undefined) {
  try {
    for (let size = 0; ; size += 512) writeFileSync(filler, 'x'.repeat(512), { flag: 'a' });
  } catch {
    // Full.
  }
}
const shared = await Promise.all([
  outcome(store.append(pod('big', 400_000))),
  outcome(store.append({ type: 'released', podUid: 'gone' })),
]);
ids = Array.from({ length: 20_000 }, (_, index) => `dev-${String(index)}`);
const bigSnapshot = await outcome(store.snapshot());
const unchanged = checkpoint() === before;
const leftovers = [...readdirSync(devicePluginDir), ...readdirSync(stateDir)].filter((name) => name.startsWith('.'));
if (filler !== undefined) rmSync(filler);
const after = await outcome(store.append(pod('after', 10)));
ids = ['dev-2'];
const afterSnapshot = await outcome(store.snapshot());
await store.close();
process.stdout.write(
  JSON.stringify({ first, firstSnapshot, shared, bigSnapshot, unchanged, leftovers, after, afterSnapshot, problems }),
);
