import type { Bench } from './bench.ts';

/** What a plugin spent in a stretch of time. Undefined where it is not ours to look at. */
export interface UsageSpan {
  readonly seconds: number;
  readonly cpuMs: number | undefined;
  /** Wanted a processor and had none. */
  readonly waitingMs: number | undefined;
  readonly logLines: number | undefined;
}

export interface UsageMark {
  readonly atMs: number;
  readonly cpuMs: number | undefined;
  /** Wanted a processor and had none. */
  readonly waitingMs: number | undefined;
  readonly logLines: number | undefined;
}

/** The present reading of the meters. */
export async function usageMark({ plugin, traffic }: Bench): Promise<UsageMark> {
  const usage = await plugin?.usage();
  return { atMs: traffic.nowMs(), cpuMs: usage?.cpuMs, waitingMs: usage?.waitingMs, logLines: plugin?.log.lines };
}

/** What was spent since. */
export async function usageSince(bench: Bench, mark: UsageMark): Promise<UsageSpan> {
  const now = await usageMark(bench);
  const difference = (later: number | undefined, earlier: number | undefined): number | undefined =>
    later === undefined || earlier === undefined ? undefined : Math.max(0, later - earlier);
  return {
    seconds: (now.atMs - mark.atMs) / 1000,
    cpuMs: difference(now.cpuMs, mark.cpuMs),
    waitingMs: difference(now.waitingMs, mark.waitingMs),
    logLines: difference(now.logLines, mark.logLines),
  };
}
