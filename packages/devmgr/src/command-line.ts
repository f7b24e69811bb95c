import { DevmgrError } from '@devmgr/core';
import { CommanderError } from 'commander';
import { note } from './context.ts';
import { EXIT_CODES, exitCodeOf } from './exit-codes.ts';
import { ExitWith } from './interrupt.ts';
import { oneLine } from './output/table.ts';
import { createStyle } from './output/style.ts';
import { createProgram } from './program.ts';

/** Runs one command line and returns the exit code. Failures are told on stderr: one line, then the remedy. */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  try {
    const program = createProgram();
    if (argv.length <= 2) {
      program.outputHelp();
      return EXIT_CODES.done;
    }
    await program.parseAsync(argv);
    return EXIT_CODES.done;
  } catch (error) {
    return report(error, argv);
  }
}

function report(error: unknown, argv: readonly string[]): number {
  if (error instanceof ExitWith) return error.exitCode;
  if (error instanceof CommanderError) return reportUsage(error, argv);
  if (error instanceof DevmgrError) {
    tell(error.message, error.remedy);
    return exitCodeOf(error.code);
  }
  if (isBrokenPipe(error)) return EXIT_CODES.done;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  tell(
    `devmgr met a state it did not expect: ${error instanceof Error ? error.message : text}`,
    `Please report it with this:\n${text}`,
  );
  return EXIT_CODES.failed;
}

/** Commander throws for help and version too; those are no failures. */
function reportUsage(error: CommanderError, argv: readonly string[]): number {
  if (error.exitCode === 0) return EXIT_CODES.done;
  // A group without a command: commander has printed its help.
  if (error.code === 'commander.help') return EXIT_CODES.usage;
  const [message = '', ...suggestion] = error.message.replace(/^error: /, '').split('\n');
  const [, meant] = /Did you mean (?:one of )?(.*)\?/.exec(suggestion.join(' ')) ?? [];
  const help = `See "${commandPath(argv)} --help".`;
  tell(message, meant === undefined ? help : `Did you mean ${meant}? ${help}`);
  return EXIT_CODES.usage;
}

/** The command that was meant, as far as it can be told: `devmgr plugin run`. */
function commandPath(argv: readonly string[]): string {
  let command = createProgram();
  let path = command.name();
  for (const word of argv.slice(2)) {
    const child = command.commands.find((candidate) => candidate.name() === word);
    if (child === undefined) continue;
    command = child;
    path += ` ${word}`;
  }
  return path;
}

function tell(message: string, remedy: string): void {
  const noColor = process.argv.includes('--no-color');
  const style = createStyle({ isTerminal: process.stderr.isTTY, env: process.env, noColor });
  note(`${style.red('error:')} ${oneLine(message)}\n${remedy}`);
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EPIPE';
}
