import { homedir } from 'node:os';
import type { Command } from 'commander';
import type { ApiClient } from '@devmgr/manager';
import { connectManager } from './connect.ts';
import { createStyle, type Style } from './output/style.ts';
import { resolveRootDir } from './root-dir.ts';

/** Options every command takes. */
export interface GlobalOptions {
  readonly rootDir?: string;
  readonly color?: boolean;
}

/** What a command works with: the root directory it speaks about, and how it shows things. */
export interface CommandContext {
  readonly rootDir: string;
  /** `--root-dir` when it was given, absolute. */
  readonly rootDirFlag: string | undefined;
  readonly stderrStyle: Style;
  readonly stdoutStyle: Style;
  /** The manager of the root directory. Nothing is connected before the first request. */
  manager(): Promise<ApiClient>;
}

/** Reads the global options wherever they stood on the command line. Throws what `resolveRootDir` throws. */
export function createContext(command: Command, { ignoreEnvironment = false } = {}): CommandContext {
  const options = globalOptions(command);
  const rootDir = resolveRootDir({
    flag: options.rootDir,
    env: ignoreEnvironment ? {} : process.env,
    uid: process.geteuid?.(),
    homeDir: homedir(),
  });
  const noColor = options.color === false;
  return {
    rootDir,
    rootDirFlag: options.rootDir === undefined ? undefined : rootDir,
    stdoutStyle: createStyle({ isTerminal: process.stdout.isTTY, env: process.env, noColor }),
    stderrStyle: createStyle({ isTerminal: process.stderr.isTTY, env: process.env, noColor }),
    manager: () => connectManager(rootDir),
  };
}

/** The innermost value wins; `--no-color` counts wherever it stands. */
function globalOptions(command: Command): GlobalOptions {
  let rootDir: string | undefined;
  let color = true;
  for (let current: Command | null = command; current !== null; current = current.parent) {
    const options = current.opts<GlobalOptions>();
    rootDir ??= options.rootDir;
    color &&= options.color !== false;
  }
  return { ...(rootDir === undefined ? {} : { rootDir }), color };
}

/** Data for whoever reads the command's output. */
export function print(text: string): void {
  process.stdout.write(text);
}

/** Progress and hints for people: never part of the data. */
export function note(text: string): void {
  process.stderr.write(text.endsWith('\n') ? text : `${text}\n`);
}
