/**
 * Builds the kubelet's half of the oracle (test/oracle/kubelet, Go) into test/oracle/.build. Without Go, or without the
 * modules, it says so and ends well: what needs the peer skips itself then.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../test/oracle/kubelet/', import.meta.url));
const output = fileURLToPath(new URL('../test/oracle/.build/', import.meta.url));

const version = spawnSync('go', ['version'], { encoding: 'utf8' });
if (version.error !== undefined || version.status !== 0) {
  console.log('oracle: SKIPPED the kubelet peer: no Go here (https://go.dev/dl)');
  process.exit(0);
}
mkdirSync(output, { recursive: true });
for (const [binary, target] of [
  ['kubelet-oracle', '.'],
  ['benchplugin', './plugin'],
]) {
  const startedAt = performance.now();
  const built = spawnSync('go', ['build', '-o', `${output}${binary}`, target], { cwd: source, encoding: 'utf8' });
  if (built.status !== 0) {
    console.log(`oracle: FAILED to build ${binary}:\n${built.stderr}`);
    process.exit(1);
  }
  console.log(`oracle: built ${binary} (${String(Math.round((performance.now() - startedAt) / 1000))} s)`);
}
