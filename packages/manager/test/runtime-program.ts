/**
 * A manager reduced to its runtime, to be killed: starts one container after the other, each of which leaves a mark.
 * Arguments: state directory, directory of the marks, how many, prefix of the pod uids. Prints each uid once it runs.
 */
import { ProcessRuntime } from '../src/runtimes/process-runtime.ts';
import { SystemClock } from '../src/system-clock.ts';

const [stateDir = '', marks = '', count = '1', prefix = 'uid'] = process.argv.slice(2);
const silent = (): void => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };
const runtime = new ProcessRuntime({ stateDir, clock: new SystemClock(), log });
const options = {
  envs: new Map(),
  mounts: [],
  devices: [],
  annotations: new Map(),
  cdiDevices: [],
  allocated: new Map(),
};

for (let index = 0; index < Number(count); index += 1) {
  const uid = `${prefix}-${String(index)}`;
  const container = {
    name: 'main',
    command: ['sh', '-c', 'echo "$0" >> "$0"; echo out; exec sleep 1000', `${marks}/${uid}`],
  };
  const pod = {
    apiVersion: 'v1' as const,
    kind: 'Pod' as const,
    metadata: { name: uid, uid },
    spec: { containers: [container] },
  };
  await runtime.start({ pod, container, attempt: 0, options });
  process.stdout.write(`${uid}\n`);
}
// Something must keep the process there to be killed.
setInterval(silent, 1000);
