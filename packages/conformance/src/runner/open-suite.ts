import { rm } from 'node:fs/promises';
import { DevmgrError } from '@devmgr/core';
import { Bench } from '../bench/bench.ts';
import type { HardwareSwitch } from '../bench/hardware-switch.ts';
import { commandLauncher, type PluginLauncher } from '../bench/running-plugin.ts';
import { temporaryRoot } from '../bench/temporary-root.ts';
import { CHECKS, selectFrom } from '../catalogue.ts';
import type { Level } from '../check.ts';
import { ManagerBench, findManager } from '../manager/manager-bench.ts';
import { MANAGER_CHECKS } from '../manager/manager-catalogue.ts';
import { runManagerCheck } from '../manager/run-manager-checks.ts';
import { inStages, runCheck } from '../suite.ts';
import { testSuite, type TestSuite } from './test-suite.ts';

/** What to run of a suite, and how. */
export interface OpenSuiteOptions {
  /** Default: `quick`. */
  readonly level?: Level | undefined;
  /** Ids or groups; what is named runs whatever its level. Default: all of the level. */
  readonly only?: readonly string[] | undefined;
  /** Ids or groups. */
  readonly skip?: readonly string[] | undefined;
  /** Warnings fail too. Default: false. */
  readonly strict?: boolean | undefined;
  /** The longest wait for anything the plugin or manager has to do. Default: 30 s. */
  readonly timeoutMs?: number | undefined;
}

export interface PluginSuiteOptions extends OpenSuiteOptions {
  /** The words of the plugin's command, or another way to start it. */
  readonly plugin: readonly string[] | PluginLauncher;
  /** Of the command. Default: this process's. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Makes the hardware change; `hardwareCommand` makes one of a shell command. */
  readonly hardware?: HardwareSwitch | undefined;
}

const TIMEOUT_MS = 30_000;

/**
 * The checks of a device plugin as tests for a runner such as vitest or node:test. Nothing is started before the first
 * test runs.
 *
 * @throws DevmgrError for a check or group that does not exist.
 */
export function openPluginSuite(options: PluginSuiteOptions): TestSuite {
  const { plugin, env, hardware, timeoutMs = TIMEOUT_MS, strict = false } = options;
  const checks = inStages(chosen(CHECKS, options));
  const stop = new AbortController();
  let opened: { readonly bench: Bench; readonly rootDir: string } | undefined;
  const open = (): Bench => {
    const rootDir = temporaryRoot();
    const bench = new Bench({
      rootDir,
      launcher: 'launch' in plugin ? plugin : commandLauncher(plugin, { env }),
      timeoutMs,
      hardware,
      signal: stop.signal,
    });
    opened = { bench, rootDir };
    return bench;
  };
  return testSuite({
    checks,
    timeoutMs,
    strict,
    run: (check) => runCheck(check, opened?.bench ?? open()),
    close: async () => {
      stop.abort();
      await opened?.bench.close();
      if (opened !== undefined) await rm(opened.rootDir, { recursive: true, force: true, maxRetries: 3 });
    },
  });
}

/**
 * The checks of a device manager that runs and serves `dir/device-plugins/kubelet.sock`, or `dir/kubelet.sock`.
 *
 * @throws DevmgrError when no manager answers, or for a check that does not exist.
 */
export async function openManagerSuite(options: OpenSuiteOptions & { readonly dir: string }): Promise<TestSuite> {
  const { dir, timeoutMs = TIMEOUT_MS, strict = false } = options;
  const checks = chosen(MANAGER_CHECKS, options);
  const stop = new AbortController();
  const bench = new ManagerBench({ ...(await findManager(dir)), timeoutMs, signal: stop.signal });
  return testSuite({
    checks,
    timeoutMs,
    strict,
    run: (check) => runManagerCheck(check, bench),
    close: async () => {
      stop.abort();
      await bench.clear();
    },
  });
}

function chosen<C extends Parameters<typeof selectFrom>[0][number]>(
  catalogue: readonly C[],
  { level = 'quick', only = [], skip = [] }: OpenSuiteOptions,
): readonly C[] {
  const { checks, unknown } = selectFrom(catalogue, { level, only, skip });
  if (unknown.length === 0) return checks;
  throw new DevmgrError('USAGE', `there is no check or group "${unknown.join('", "')}"`, {
    remedy: 'docs/checks.md has them all.',
  });
}
