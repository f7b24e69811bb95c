import { readFile, readdir } from 'node:fs/promises';

/** What some processes use, summed over those that live. */
export interface ProcessUsage {
  readonly processes: number;
  /** User and system time spent so far, in milliseconds. */
  readonly cpuMs: number;
  /** Time that threads were ready to run and had no processor, so far; 0 where it is not counted. */
  readonly waitingMs: number;
  readonly residentBytes: number;
  /** Open descriptors; undefined where they may not be counted. */
  readonly descriptors: number | undefined;
}

/** Clock ticks a second in /proc: 100 on every Linux that Node runs on. (Linux: proc(5), USER_HZ) */
const TICK_MS = 10;
const PAGE_BYTES = 4096;

/** Looks at all processes of a group; undefined where there is no /proc or nobody of the group is left. */
export async function usageOfGroup(group: number): Promise<ProcessUsage | undefined> {
  return usageOf((await readStats()).filter((stat) => stat.group === group));
}

/** As `usageOfGroup`, of a process and all that descend from it: a container, by its first process. */
export async function usageOfTree(root: number): Promise<ProcessUsage | undefined> {
  const stats = await readStats();
  const tree = new Set([String(root)]);
  for (let before = 0; before < tree.size;) {
    before = tree.size;
    for (const { pid, parent } of stats) if (tree.has(parent)) tree.add(pid);
  }
  return usageOf(stats.filter(({ pid }) => tree.has(pid)));
}

async function usageOf(stats: readonly Stat[]): Promise<ProcessUsage | undefined> {
  const members = stats.filter(({ zombie }) => !zombie);
  if (members.length === 0) return undefined;
  let cpuMs = 0;
  let waitingMs = 0;
  let residentBytes = 0;
  let descriptors: number | undefined = 0;
  for (const member of members) {
    cpuMs += member.cpuMs;
    waitingMs += await readWaiting(member.pid);
    residentBytes += member.residentBytes;
    const open = await readdir(`/proc/${member.pid}/fd`).catch(() => undefined);
    descriptors = open === undefined || descriptors === undefined ? undefined : descriptors + open.length;
  }
  return { processes: members.length, cpuMs, waitingMs, residentBytes, descriptors };
}

interface Stat {
  readonly pid: string;
  readonly parent: string;
  readonly group: number;
  readonly zombie: boolean;
  readonly cpuMs: number;
  readonly residentBytes: number;
}

async function readStats(): Promise<readonly Stat[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  return (await Promise.all(pids.map((pid) => readStat(pid)))).filter((stat) => stat !== undefined);
}

/** (Linux: proc(5), /proc/pid/stat; the name in parentheses may contain anything.) */
async function readStat(pid: string): Promise<Stat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  if (state === undefined || fields.length < 22) return undefined;
  return {
    pid,
    parent: fields[1] ?? '',
    group: Number(fields[2]),
    zombie: state === 'Z',
    cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    residentBytes: Number(fields[21]) * PAGE_BYTES,
  };
}

/** (Linux: scheduler statistics, /proc/pid/task/tid/schedstat: nanoseconds run, nanoseconds waited, time slices) */
async function readWaiting(pid: string): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const texts = await Promise.all(
    threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').catch(() => '')),
  );
  return texts.reduce((sum, text) => sum + (Number(text.split(' ')[1]) || 0), 0) / 1e6;
}
