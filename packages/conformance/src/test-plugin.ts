import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { Bench } from './bench/bench.ts';
import type { HardwareSwitch } from './bench/hardware-switch.ts';
import { commandLauncher, type PluginLauncher } from './bench/running-plugin.ts';
import { selectChecks, type Selection } from './catalogue.ts';
import type { Report } from './report/report.ts';
import { runChecks, type SuiteOptions } from './suite.ts';

export interface TestPluginOptions extends Partial<Selection>, Pick<SuiteOptions, 'onStart' | 'onResult'> {
  /** The words of the plugin's command, or another way to start it. */
  readonly plugin: readonly string[] | PluginLauncher;
  /** Of the command. Default: this process's. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** The longest wait for anything the plugin has to do. Default: 30 s. */
  readonly timeoutMs?: number | undefined;
  readonly hardware?: HardwareSwitch | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tests a plugin in a directory of its own and leaves nothing behind. Rejects with DevmgrError USAGE when a check is named
 * that there is not, and when the plugin cannot be started at all.
 */
export async function testPlugin(options: TestPluginOptions): Promise<Report> {
  const { checks, unknown } = selectChecks({
    level: options.level ?? 'quick',
    only: options.only ?? [],
    skip: options.skip ?? [],
  });
  if (unknown.length > 0) throw new DevmgrError('USAGE', `there is no check or group "${unknown.join('", "')}"`);
  const launcher = 'launch' in options.plugin ? options.plugin : commandLauncher(options.plugin, { env: options.env });
  const rootDir = await temporaryRoot();
  const bench = new Bench({
    rootDir,
    launcher,
    timeoutMs: options.timeoutMs ?? 30_000,
    hardware: options.hardware,
    signal: options.signal ?? new AbortController().signal,
  });
  try {
    return await runChecks({ bench, checks, onStart: options.onStart, onResult: options.onResult });
  } finally {
    await bench.close();
    await rm(rootDir, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** A new directory to stand for /var/lib/kubelet: a short one, since sockets lie below it. */
async function temporaryRoot(): Promise<string> {
  return mkdtemp(join(Buffer.byteLength(tmpdir()) <= 12 ? tmpdir() : '/tmp', 'dmt-'));
}
