/**
 * The kubelet's device manager and devmgr side by side: the same Go plugin, the same commands, taken in turns, so that
 * whatever else the machine does meets both. Prints a table of ratios; see docs/performance.md.
 *
 * `--rounds N` (3), `--sizes 8,1000,10000,60000`, `--alone 100000,1000000` (devmgr only), `--quick`.
 */
import { existsSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureInventory, measureTopology, median, type Effort, type Figures, type Programs } from './measure.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    sizes: { type: 'string', default: '8,1000,10000,60000' },
    alone: { type: 'string', default: '100000,1000000' },
    quick: { type: 'boolean', default: false },
  },
});
const ORACLE = fileURLToPath(new URL('../../../../test/oracle', import.meta.url));
const peers: Record<'kubelet' | 'devmgr', Programs> = {
  kubelet: { manager: join(ORACLE, '.build', 'kubelet-oracle'), plugin: join(ORACLE, '.build', 'benchplugin') },
  devmgr: { manager: join(ORACLE, 'devmgr-driver'), plugin: join(ORACLE, '.build', 'benchplugin') },
};
for (const program of [peers.kubelet.manager, peers.kubelet.plugin, peers.devmgr.manager]) {
  if (!existsSync(program)) {
    console.error(`SKIPPED: ${program} is missing; "npm run build:oracle" makes it and needs Go`);
    process.exit(0);
  }
}

const rounds = values.quick ? 1 : Number(values.rounds);
const list = (text: string): number[] => text.split(',').filter(Boolean).map(Number);
/** Fewer repetitions where each costs the kubelet a rewrite of megabytes. */
const effortFor = (devices: number): Effort =>
  values.quick
    ? { admissions: 50, flips: 3, pods: 100 }
    : devices > 20_000
      ? { admissions: 100, flips: 5, pods: 1000 }
      : { admissions: 300, flips: 9, pods: 1000 };
const format = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** Measures both in turns and prints kubelet, devmgr and their ratio, as median and range over the rounds. */
async function compare(title: string, measure: (programs: Programs) => Promise<Figures>): Promise<void> {
  const found = { kubelet: [] as Figures[], devmgr: [] as Figures[] };
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (['kubelet', 'devmgr'] as const) : (['devmgr', 'kubelet'] as const);
    for (const name of order) found[name].push(await measure(peers[name]));
  }
  for (const figure of found.devmgr[0]?.keys() ?? []) {
    const of = (name: 'kubelet' | 'devmgr'): number[] =>
      found[name].map((figures) => figures.get(figure) ?? Number.NaN);
    const ratios = of('kubelet').map((value, index) => value / (of('devmgr')[index] ?? Number.NaN));
    const range = `${format(Math.min(...ratios))}–${format(Math.max(...ratios))}`;
    console.log(
      `| ${title} | ${figure} | ${format(median(of('kubelet')))} | ${format(median(of('devmgr')))} | ${format(median(ratios))} (${range}) |`,
    );
  }
}

console.log(
  `${cpus()[0]?.model ?? 'unknown processor'}, ${String(cpus().length)} cores, ${String(Math.round(totalmem() / 2 ** 30))} GiB, Node ${process.version}; ${String(rounds)} rounds\n`,
);
console.log('| inventory | figure (ms unless said) | kubelet 1.37.2 | devmgr | kubelet / devmgr (range) |');
console.log('| --- | --- | --- | --- | --- |');
for (const size of list(values.sizes)) {
  await compare(`${size.toLocaleString('en')} devices`, (programs) =>
    measureInventory(programs, size, effortFor(size)),
  );
}
for (const nodes of [2, 4, 8]) {
  const admissions = nodes === 8 ? 1 : 10;
  await compare('3 × 64 devices', (programs) => measureTopology(programs, nodes, 3, admissions));
}
for (const size of values.quick ? [] : list(values.alone)) {
  const figures = await measureInventory(peers.devmgr, size, effortFor(size));
  for (const [figure, value] of figures)
    console.log(`| ${size.toLocaleString('en')} devices | ${figure} | – | ${format(value)} | |`);
}
