// Runs the conformance suite on good plugins again and again while every processor is busy. Any complaint is a false alarm.
//   node scripts/false-alarms.js [--runs 100] [--at-once 4] [--load 2] [--full] [--plugin good] [-- COMMAND…]
// --plugin names one of those of test/conformance/plugin, by default each in turn; a COMMAND is another plugin to test.
// Exit code 1 when there was a false alarm.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Bench, commandLauncher, runChecks, selectChecks } from '../packages/conformance/dist/index.js';

const PLUGIN = fileURLToPath(new URL('../test/conformance/plugin/plugin.js', import.meta.url));
const GOOD = ['good', 'good-plain', 'good-two-resources', 'good-flapping', 'good-many', 'good-found'];
const SPIN = 'for (;;);';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '100' },
    'at-once': { type: 'string', default: '4' },
    load: { type: 'string', default: String(availableParallelism()) },
    full: { type: 'boolean', default: false },
    plugin: { type: 'string' },
  },
});
const runs = Number(values.runs);
const plugins = values.plugin === undefined ? GOOD : [values.plugin];
const { checks } = selectChecks({ level: values.full ? 'full' : 'quick', only: [], skip: [] });

async function run(number) {
  const plugin = plugins[number % plugins.length];
  const command = positionals.length > 0 ? positionals : [process.execPath, PLUGIN, plugin];
  const rootDir = mkdtempSync(join(tmpdir(), 'dm'));
  const change = async (direction) =>
    writeFileSync(join(rootDir, 'missing-gadgets'), direction === 'remove' ? 'gadget-3' : '');
  const bench = new Bench({
    rootDir,
    launcher: commandLauncher(command),
    timeoutMs: 30_000,
    hardware: positionals.length > 0 ? undefined : { change },
    signal: new AbortController().signal,
  });
  try {
    const { checks: results, summary } = await runChecks({ bench, checks });
    const alarms = results.filter(({ status }) => status === 'fail' || status === 'warn');
    const name = positionals.length > 0 ? command.join(' ') : plugin;
    console.log(`${number + 1} ${name}: ${summary.pass} passed, ${alarms.length} alarms, ${summary.seconds} s`);
    for (const { id, message, seen } of alarms) console.log(`  ${id}: ${message}: ${seen.replaceAll('\n', '; ')}`);
    return alarms.length;
  } finally {
    await bench.close();
    rmSync(rootDir, { recursive: true, force: true });
  }
}

const spinners = Array.from({ length: Number(values.load) }, () => new Worker(SPIN, { eval: true }));
let next = 0;
let alarms = 0;
async function work() {
  while (next < runs) {
    const number = next;
    next += 1;
    alarms += await run(number);
  }
}
await Promise.all(Array.from({ length: Number(values['at-once']) }, work));
await Promise.all(spinners.map((spinner) => spinner.terminate()));
console.log(`${runs} runs, ${alarms} false alarms`);
process.exitCode = alarms === 0 ? 0 : 1;
