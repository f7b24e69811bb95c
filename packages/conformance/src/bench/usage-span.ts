import type { Bench } from './bench.ts';

/** What a plugin spent in a stretch of time. Undefined where it is not ours to look at. */
export interface UsageSpan {
  readonly seconds: number;
  readonly cpuMs: number | undefined;
  readonly logLines: number | undefined;
}

export interface UsageMark {
  readonly atMs: number;
  readonly cpuMs: number | undefined;
  readonly logLines: number | undefined;
}

/** The present reading of the meters. */
export async function usageMark({ plugin, traffic }: Bench): Promise<UsageMark> {
  return { atMs: traffic.nowMs(), cpuMs: (await plugin?.usage())?.cpuMs, logLines: plugin?.log.lines };
}

/** What was spent since. */
export async function usageSince(bench: Bench, mark: UsageMark): Promise<UsageSpan> {
  const now = await usageMark(bench);
  const difference = (later: number | undefined, earlier: number | undefined): number | undefined =>
    later === undefined || earlier === undefined ? undefined : Math.max(0, later - earlier);
  return {
    seconds: (now.atMs - mark.atMs) / 1000,
    cpuMs: difference(now.cpuMs, mark.cpuMs),
    logLines: difference(now.logLines, mark.logLines),
  };
}
