import { rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Bench, CHECKS, Recorder, hardwareCommand, hasPassed, runChecks, temporaryRoot } from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { probeUnix } from '@devmgr/wire';
import { note, type CommandContext } from '../context.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { Interruption } from '../interrupt.ts';
import { deliver } from './deliver.ts';
import { select, type TestOptions } from './test-options.ts';
import { TestProgress } from './test-progress.ts';
import { wayToPlugin } from './way-to-plugin.ts';

/** Tests a plugin and reports; answers the exit code. Whatever it started is gone then. */
export async function testPlugin(
  command: readonly string[],
  options: TestOptions,
  context: CommandContext,
): Promise<number> {
  const checks = select(CHECKS, options);
  checkUsage(command, options);
  const { rootDirFlag } = context;
  if (options.attach !== undefined) await assertNoManager(resolve(options.attach));
  else if (rootDirFlag !== undefined) await assertNoManager(join(rootDirFlag, 'device-plugins'));
  const way = wayToPlugin(command, options);
  if (typeof way === 'number') return way;
  const recorder = options.record === undefined ? undefined : new Recorder(options.record, way.launcher?.command ?? []);
  const interruption = new Interruption();
  const isTemporary = options.attach === undefined && rootDirFlag === undefined;
  const rootDir = options.attach === undefined ? (rootDirFlag ?? temporaryRoot()) : dirname(resolve(options.attach));
  const bench = new Bench({
    rootDir,
    launcher: way.launcher,
    pluginDir: options.attach === undefined ? undefined : resolve(options.attach),
    timeoutMs: options.timeout,
    hardware:
      options.hardwareChange === undefined ? undefined : hardwareCommand(options.hardwareChange, options.timeout),
    signal: interruption.signal,
    recorder,
  });
  // Calls that are under way end with their plugin.
  interruption.signal.addEventListener('abort', () => void bench.close());
  const progress = new TestProgress(checks.length);
  try {
    const report = await runChecks({
      bench,
      checks,
      onStart: (check) => {
        progress.started(check.id);
      },
      onResult: (result) => {
        progress.ended(result);
      },
    });
    progress.clear();
    deliver(report, way.target, options, context);
    return hasPassed(report, options.strict === true) ? EXIT_CODES.done : EXIT_CODES.failed;
  } catch (error) {
    if (interruption.by === undefined) throw error;
    note('interrupted');
    return interruption.exitCode;
  } finally {
    progress.clear();
    await bench.close();
    recorder?.close();
    interruption.stop();
    if (isTemporary) rmSync(rootDir, { recursive: true, force: true, maxRetries: 3 });
  }
}

function checkUsage(command: readonly string[], { attach, image, engine, engineOption }: TestOptions): void {
  if (image === undefined && (engine !== undefined || engineOption !== undefined)) {
    throw new DevmgrError('USAGE', '--engine and --engine-option are about a container image', {
      remedy: 'Name the image with --image.',
    });
  }
  if (image !== undefined && attach !== undefined) {
    throw new DevmgrError('USAGE', '--image starts a plugin, with --attach it runs already', {
      remedy: 'Leave out one of them.',
    });
  }
  if (attach === undefined && image === undefined && command.length === 0) {
    throw new DevmgrError('USAGE', 'no plugin was named', {
      remedy: 'Write its command at the end, as in: devmgr test -- ./my-plugin; or use --image or --attach.',
    });
  }
  if (attach === undefined) return;
  if (command.length > 0) {
    throw new DevmgrError('USAGE', 'with --attach the plugin runs already: a command makes no sense', {
      remedy: 'Leave out one of them.',
    });
  }
  if (statSync(attach, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new DevmgrError('USAGE', `--attach: ${attach} is not a directory`, {
      remedy: 'Name the directory in which the plugin looks for kubelet.sock.',
    });
  }
}

/** The test deletes sockets as a starting kubelet does: not those of a living one. */
async function assertNoManager(pluginDir: string): Promise<void> {
  const socketPath = join(pluginDir, 'kubelet.sock');
  const probe = await probeUnix(socketPath, 2_000);
  if (probe !== 'grpc' && probe !== 'mute') return;
  throw new DevmgrError('MANAGER_ALREADY_RUNNING', `a manager serves ${socketPath}`, {
    remedy: 'Stop it first, or start the plugin with a directory of its own.',
  });
}
