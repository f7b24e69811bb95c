import { Command, Option, type Argument } from 'commander';
import { OUTPUT_FORMATS, type OutputFormat } from './output/format.ts';

/** One example: what to type, and what for. */
export interface Example {
  readonly command: string;
  readonly purpose: string;
}

/** A command with what all commands have: the global options (anywhere on its line), sorted help, and examples. */
export function newCommand(name: string, description: string, examples: readonly Example[]): Command {
  const command = new Command(name).description(description).helpOption('-h, --help', 'show this help');
  addGlobalOptions(command);
  const width = Math.max(...examples.map((example) => example.command.length));
  const lines = examples.map((example) => `  ${example.command.padEnd(width)}   # ${example.purpose}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

/** `--root-dir` and `--no-color`, on the program and on each command so that they may stand before or after its name. */
export function addGlobalOptions(command: Command): Command {
  return command
    .option('--root-dir <dir>', 'directory of sockets and state (DEVMGR_ROOT_DIR; see "devmgr start --help")')
    .option('--no-color', 'plain text even on a terminal (NO_COLOR)');
}

/** `-o`; of all formats those that make sense for the command. */
export function outputOption(formats: readonly OutputFormat[] = OUTPUT_FORMATS): Option {
  return new Option('-o, --output <format>', 'how to show it').choices(formats).default('table');
}

/** `-n` and, where lists are shown, `-A`. */
export function namespaceOption(): Option {
  return new Option('-n, --namespace <name>', 'namespace of the pods').default('default');
}

/** For options that may be given several times. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}

/** Words that completion offers for an argument or option that understands more than those. */
export function suggest<T extends Argument | Option>(argument: T, words: readonly string[]): T {
  argument.argChoices = [...words];
  return argument;
}
