import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import {
  Bench,
  badgeJson,
  badgeSvg,
  commandLauncher,
  githubSummary,
  hardwareCommand,
  hasPassed,
  runChecks,
  selectChecks,
  type Check,
  type Level,
  type Report,
} from '@devmgr/conformance';
import { DevmgrError } from '@devmgr/core';
import { probeUnix } from '@devmgr/wire';
import { note, print, type CommandContext } from '../context.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { Interruption } from '../interrupt.ts';
import { formatTable } from '../output/table.ts';
import { findCommand } from '../run/find-command.ts';
import { TestProgress } from './test-progress.ts';
import { fileFormat, render, type ReportFormat } from './render.ts';

export interface TestOptions {
  readonly level: Level;
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly strict?: boolean;
  readonly timeout: number;
  readonly report: ReportFormat;
  readonly output?: string;
  readonly badge?: string;
  readonly attach?: string;
  readonly hardwareChange?: string;
  readonly list?: boolean;
}

/** The checks of a selection, as a table. */
export function listChecks(options: TestOptions): string {
  return formatTable<Check>(
    [
      { header: 'ID', cell: ({ id }) => id },
      { header: 'LEVEL', cell: ({ level }) => level },
      { header: 'SEVERITY', cell: ({ severity }) => severity },
      { header: 'WHAT', cell: ({ title }) => title },
    ],
    select({ ...options, level: 'full' }),
    { nowMs: 0 },
  );
}

/** Tests a plugin and reports; answers the exit code. Whatever it started is gone then. */
export async function testPlugin(
  command: readonly string[],
  options: TestOptions,
  context: CommandContext,
): Promise<number> {
  const checks = select(options);
  checkUsage(command, options);
  const { rootDirFlag } = context;
  if (options.attach !== undefined) await assertNoManager(resolve(options.attach));
  else if (rootDirFlag !== undefined) await assertNoManager(join(rootDirFlag, 'device-plugins'));
  const found = options.attach === undefined ? commandProblem(command[0] ?? '') : undefined;
  if (found !== undefined) return found;
  const interruption = new Interruption();
  const isTemporary = options.attach === undefined && rootDirFlag === undefined;
  const rootDir = options.attach === undefined ? (rootDirFlag ?? temporaryRoot()) : dirname(resolve(options.attach));
  const bench = new Bench({
    rootDir,
    launcher: options.attach === undefined ? commandLauncher(command) : undefined,
    pluginDir: options.attach === undefined ? undefined : resolve(options.attach),
    timeoutMs: options.timeout,
    hardware:
      options.hardwareChange === undefined ? undefined : hardwareCommand(options.hardwareChange, options.timeout),
    signal: interruption.signal,
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
    deliver(report, command, options, context);
    return hasPassed(report, options.strict === true) ? EXIT_CODES.done : EXIT_CODES.failed;
  } catch (error) {
    if (interruption.by === undefined) throw error;
    note('interrupted');
    return interruption.exitCode;
  } finally {
    progress.clear();
    await bench.close();
    interruption.stop();
    if (isTemporary) rmSync(rootDir, { recursive: true, force: true, maxRetries: 3 });
  }
}

function select({ level, only = [], skip = [] }: TestOptions): readonly Check[] {
  const { checks, unknown } = selectChecks({ level, only, skip });
  if (unknown.length > 0) {
    throw new DevmgrError('USAGE', `there is no check or group "${unknown.join('", "')}"`, {
      remedy: 'See "devmgr test --list".',
    });
  }
  if (checks.length === 0) {
    throw new DevmgrError('USAGE', 'no check is left to run', { remedy: 'Leave out --skip, or name others.' });
  }
  return checks;
}

function checkUsage(command: readonly string[], { attach }: TestOptions): void {
  if (attach === undefined && command.length === 0) {
    throw new DevmgrError('USAGE', 'no plugin was named', {
      remedy: 'Write its command at the end, as in: devmgr test -- ./my-plugin; or use --attach.',
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

function commandProblem(program: string): number | undefined {
  const found = findCommand(program, process.env['PATH']);
  if (found.found) return undefined;
  const missing = found.problem === 'missing';
  note(`error: ${program}: ${missing ? 'command not found' : 'cannot be executed'}`);
  note(missing ? 'Check its name and PATH.' : 'Make it executable (chmod +x), or name its interpreter.');
  return EXIT_CODES.usage;
}

/** Short, since sockets lie below it. */
function temporaryRoot(): string {
  const parent = Buffer.byteLength(tmpdir()) <= 12 ? tmpdir() : '/tmp';
  return mkdtempSync(join(parent, 'dmt-'));
}

function deliver(report: Report, command: readonly string[], options: TestOptions, context: CommandContext): void {
  const repeat = (id: string): string => {
    const target =
      options.attach === undefined ? `-- ${command.map(shellWord).join(' ')}` : `--attach ${shellWord(options.attach)}`;
    return `devmgr test --only ${id} ${target}`;
  };
  const { report: format, output, badge, strict = false } = options;
  if (output === undefined || format === 'github') {
    print(render(report, format, { style: context.stdoutStyle, strict, repeat }));
  }
  if (output !== undefined) {
    write('--output', output, render(report, fileFormat(format, output), { style: undefined, strict, repeat }));
  }
  if (badge !== undefined) write('--badge', badge, badge.endsWith('.json') ? badgeJson(report) : badgeSvg(report));
  const summaryFile = process.env['GITHUB_STEP_SUMMARY'];
  if (options.report === 'github' && summaryFile) {
    write('GITHUB_STEP_SUMMARY', summaryFile, `${githubSummary(report, repeat)}\n`, 'a');
  }
}

function write(place: string, path: string, text: string, flag: 'w' | 'a' = 'w'): void {
  try {
    writeFileSync(path, text, { flag });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DevmgrError('USAGE', `${place}: ${why}`, { cause: error, remedy: 'Name a file that can be written.' });
  }
}

/** A word as a shell reads it back. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
