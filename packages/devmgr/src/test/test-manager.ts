import { MANAGER_CHECKS, ManagerBench, findManager, hasPassed, runManagerChecks } from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { note, type CommandContext } from '../context.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { Interruption } from '../interrupt.ts';
import { deliver, shellWord } from './deliver.ts';
import { select, type TestOptions } from './test-options.ts';
import { TestProgress } from './test-progress.ts';

/** Tests the manager that serves a directory and reports; answers the exit code. Its own plugins are gone then. */
export async function testManager(dir: string, options: TestOptions, context: CommandContext): Promise<number> {
  const checks = select(MANAGER_CHECKS, options);
  const directories = await findManager(dir);
  const interruption = new Interruption();
  const bench = new ManagerBench({ ...directories, timeoutMs: options.timeout, signal: interruption.signal });
  note(`testing the manager of ${bench.kubeletSocket}`);
  if (!bench.hasView) note('skipped: what needs its view, since nobody answers on pod-resources/kubelet.sock');
  const progress = new TestProgress(checks.length);
  try {
    const report = await runManagerChecks({
      bench,
      checks,
      onStart: ({ id }) => {
        progress.started(id);
      },
      onResult: (result) => {
        progress.ended(result);
      },
    });
    progress.clear();
    deliver(report, `--manager ${shellWord(dir)}`, options, context);
    return hasPassed(report, options.strict === true) ? EXIT_CODES.done : EXIT_CODES.failed;
  } catch (error) {
    if (interruption.by === undefined) throw error;
    note('interrupted');
    return interruption.exitCode;
  } finally {
    progress.clear();
    await bench.clear();
    interruption.stop();
  }
}

/** What makes no sense beside `--manager`. Throws DevmgrError. */
export function checkManagerUsage(command: readonly string[], options: TestOptions): void {
  const others = {
    attach: '--attach',
    image: '--image',
    hardwareChange: '--hardware-change',
    record: '--record',
  } as const;
  for (const [name, flag] of Object.entries(others)) {
    if (options[name as keyof typeof others] === undefined) continue;
    throw new DevmgrError('USAGE', `${flag} is about plugins, --manager tests a manager`, {
      remedy: 'Leave out one of them.',
    });
  }
  if (command.length === 0) return;
  throw new DevmgrError('USAGE', 'with --manager the suite is the plugin: a command makes no sense', {
    remedy: 'Leave out one of them.',
  });
}
