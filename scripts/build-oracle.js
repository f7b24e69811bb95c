/**
 * Builds the kubelet's half of the oracle (test/oracle/kubelet, Go) into test/oracle/.build. Without Go, or where its
 * modules cannot be fetched, it says so and ends well: what needs the peer skips itself then.
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
/** What Go says where a module is neither in its cache nor to be had. */
const UNREACHABLE = /dial tcp|no such host|Get "https?:|module lookup disabled/u;

mkdirSync(output, { recursive: true });
for (const [binary, target] of [
  ['kubelet-oracle', '.'],
  ['benchplugin', './plugin'],
]) {
  const startedAt = performance.now();
  // The flags of test/interop, whose Go programs share most packages with these: each is compiled once.
  const flags = ['-trimpath', '-ldflags', '-s -w', '-buildvcs=false'];
  const built = spawnSync('go', ['build', ...flags, '-o', `${output}${binary}`, target], {
    cwd: source,
    encoding: 'utf8',
    env: { ...process.env, CGO_ENABLED: '0' },
  });
  if (built.status !== 0 && UNREACHABLE.test(built.stderr)) {
    console.log(`oracle: SKIPPED the kubelet peer: its Go modules cannot be fetched: ${lastLine(built.stderr)}`);
    process.exit(0);
  }
  if (built.status !== 0) {
    console.log(`oracle: FAILED to build ${binary}:\n${built.stderr}`);
    process.exit(1);
  }
  console.log(`oracle: built ${binary} (${String(Math.round((performance.now() - startedAt) / 1000))} s)`);
}

function lastLine(text) {
  return text.trim().split('\n').at(-1);
}
