import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import type { Command } from '../test/oracle/protocol.ts';
import { PeerProcess } from '../test/oracle/differential/peer-process.ts';
import { BenchPlugin } from './bench-plugin.ts';

/** Figure to value; all in milliseconds unless the name says otherwise. */
export type Figures = Map<string, number>;

export interface Programs {
  readonly manager: string;
  readonly plugin: string;
}

const POLL_MS = 2;
/** Between flips: as devices fail, not as a flood. */
const FLIP_PAUSE_MS = 400;

/** How often things are repeated. */
export interface Effort {
  readonly admissions: number;
  readonly flips: number;
  /** Pods of one device each that stay. */
  readonly pods: number;
}

const RESOURCE = 'bench.example/dev';
const FIRST = 'bench.example/first';
type Topology = Pick<Command, 'numa' | 'distances' | 'policy' | 'scope'>;

interface Capacity {
  readonly capacity: Readonly<Record<string, number>>;
  readonly allocatable: Readonly<Record<string, number>>;
}

/** One manager with one plugin in a directory of its own, for one series of measurements. */
async function withManager<T>(
  programs: Programs,
  topology: Topology,
  work: (peer: PeerProcess, dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'dmb-'));
  const peer = new PeerProcess(programs.manager);
  try {
    await peer.do({ op: 'start', dir, ...topology });
    return await work(peer, dir);
  } finally {
    await peer.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What the process has caused to be written to storage so far. (proc(5): io, write_bytes) */
function bytesWritten(peer: PeerProcess): number {
  const text = readFileSync(`/proc/${String(peer.pid)}/io`, 'utf8');
  return Number(/^write_bytes: (\d+)$/m.exec(text)?.[1]);
}

async function visible(peer: PeerProcess, accept: (now: Capacity) => boolean): Promise<number> {
  for (const deadline = performance.now() + 60_000; performance.now() < deadline;) {
    if (accept((await peer.do({ op: 'capacity' })) as Capacity)) return performance.now();
    await delay(POLL_MS); // questions without a pause would keep the manager from reading
  }
  throw new Error('not visible within a minute');
}

const listed =
  (resource: string, healthy: number) =>
  (now: Capacity): boolean =>
    now.allocatable[resource] === healthy;

/** Lists, flips, admissions, pods that stay, restart, memory, with so many devices on two NUMA nodes. */
export async function measureInventory(programs: Programs, devices: number, effort: Effort): Promise<Figures> {
  const figures: Figures = new Map();
  const topology: Topology = { numa: [0, 1], policy: 'none' };
  await withManager(programs, topology, async (peer, dir) => {
    // The first plugin after a start meets code that has never run, which costs an interpreter more; later ones do not.
    const options = { dir, numa: 2 };
    const first = new BenchPlugin(programs.plugin, { ...options, resource: FIRST, devices: 1, socket: 'first.sock' });
    try {
      const startedAt = performance.now();
      await first.next('registered');
      figures.set('the first plugin, one device', (await visible(peer, listed(FIRST, 1))) - startedAt);
    } finally {
      await first.close();
    }
    const plugin = new BenchPlugin(programs.plugin, { ...options, resource: RESOURCE, devices, socket: 'bench.sock' });
    try {
      const startedAt = performance.now();
      await plugin.next('registered');
      const listedAt = await visible(peer, listed(RESOURCE, devices));
      figures.set('register and first list', listedAt - startedAt);

      const flips: number[] = [];
      for (let flip = 0; flip < effort.flips; flip++) {
        await delay(FLIP_PAUSE_MS);
        const sentAt = plugin.tell('flip 0');
        const healthy = flip % 2 === 0 ? devices - 1 : devices;
        flips.push((await visible(peer, listed(RESOURCE, healthy))) - sentAt);
      }
      if (effort.flips % 2 === 1) {
        plugin.tell('flip 0');
        await visible(peer, listed(RESOURCE, devices));
      }
      figures.set('one health flip', median(flips));

      for (const count of [1, 4]) {
        if (devices < count) continue;
        const before = bytesWritten(peer);
        const answer = (await peer.do({ op: 'bench-admit', n: effort.admissions, resource: RESOURCE, count })) as {
          p50us: number;
          p99us: number;
        };
        figures.set(`admission of ${String(count)}, p50`, answer.p50us / 1000);
        figures.set(`admission of ${String(count)}, p99`, answer.p99us / 1000);
        if (count === 1)
          figures.set('kB written for an admission', (bytesWritten(peer) - before) / 1024 / effort.admissions);
      }
      if (devices >= effort.pods && effort.pods > 0) {
        const answer = (await peer.do({ op: 'bench-fill', n: effort.pods, resource: RESOURCE, count: 1 })) as {
          firstTenthP50us: number;
          lastTenthP50us: number;
        };
        const tenth = String(Math.floor(effort.pods / 10));
        figures.set(`first ${tenth} of ${String(effort.pods)} pods, p50`, answer.firstTenthP50us / 1000);
        figures.set(`last ${tenth} of ${String(effort.pods)} pods, p50`, answer.lastTenthP50us / 1000);
      }
      figures.set('memory, MB', ((await peer.do({ op: 'rss' })) as { rssKB: number }).rssKB / 1024);
      const restartedAt = performance.now();
      await peer.do({ op: 'start', dir, ...topology });
      figures.set('restart', performance.now() - restartedAt);
    } finally {
      await plugin.close();
    }
  });
  return figures;
}

/** Admissions under `restricted` of a pod that asks for several resources, on so many NUMA nodes. */
export async function measureTopology(
  programs: Programs,
  nodes: number,
  resources: number,
  admissions: number,
): Promise<Figures> {
  const figures: Figures = new Map();
  const numa = Array.from({ length: nodes }, (_, node) => node);
  const distances = numa.map((from) => numa.map((to) => (from === to ? 10 : 20)));
  await withManager(programs, { numa, distances, policy: 'restricted', scope: 'container' }, async (peer, dir) => {
    const names = Array.from({ length: resources }, (_, index) => `bench.example/r${String(index)}`);
    const plugins = names.map(
      (resource, index) =>
        new BenchPlugin(programs.plugin, { dir, resource, devices: 64, numa: nodes, socket: `b${String(index)}.sock` }),
    );
    try {
      await visible(peer, (now) => names.every((name) => now.allocatable[name] === 64));
      const durations: number[] = [];
      for (let index = 0; index < admissions; index++) {
        const limits = Object.fromEntries(names.map((name) => [name, '1']));
        const startedAt = performance.now();
        await peer.do({ op: 'admit', pod: { uid: `p${String(index)}`, containers: [{ name: 'c', limits }] } });
        durations.push(performance.now() - startedAt);
        await peer.do({ op: 'remove', uid: `p${String(index)}` });
      }
      figures.set(`restricted, ${String(resources)} resources, ${String(nodes)} NUMA nodes`, median(durations));
    } finally {
      await Promise.all(plugins.map((plugin) => plugin.close()));
    }
  });
  return figures;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
