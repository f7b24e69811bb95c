import { commandLauncher, containerLauncher, findEngine, type PluginLauncher } from '@devmgr/conformance';
import { note } from '../context.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { findCommand } from '../run/find-command.ts';
import { shellWord } from './deliver.ts';
import type { TestOptions } from './test-options.ts';

/** How the plugin under test comes about. */
export interface WayToPlugin {
  /** Undefined when it runs already. */
  readonly launcher: PluginLauncher | undefined;
  /** The same, as words of the command line. */
  readonly target: string;
}

/** What the command line says about the plugin; an exit code when there is no such command, which is said then. */
export function wayToPlugin(command: readonly string[], options: TestOptions): WayToPlugin | number {
  const words = command.map(shellWord).join(' ');
  if (options.attach !== undefined) return { launcher: undefined, target: `--attach ${shellWord(options.attach)}` };
  if (options.image === undefined) {
    return commandProblem(command[0] ?? '') ?? { launcher: commandLauncher(command), target: `-- ${words}` };
  }
  const { image, engine, engineOption = [] } = options;
  const target = [
    ...['--image', image],
    ...(engine === undefined ? [] : ['--engine', engine]),
    ...engineOption.flatMap((option) => ['--engine-option', option]),
    ...(command.length === 0 ? [] : ['--', ...command]),
  ];
  return {
    launcher: containerLauncher({
      engine: findEngine(engine),
      image,
      args: command,
      runOptions: engineOption.flatMap(optionWords),
    }),
    target: target.map(shellWord).join(' '),
  };
}

/** `--device /dev/x` are two words, `--device=/dev/x` is one; the value keeps its spaces in both. */
function optionWords(option: string): readonly string[] {
  const [, name, value] = /^([^\s=]+)\s+(.*)$/s.exec(option) ?? [];
  return name === undefined || value === undefined ? [option] : [name, value];
}

function commandProblem(program: string): number | undefined {
  const found = findCommand(program, process.env['PATH']);
  if (found.found) return undefined;
  const missing = found.problem === 'missing';
  note(`error: ${program}: ${missing ? 'command not found' : 'cannot be executed'}`);
  note(missing ? 'Check its name and PATH.' : 'Make it executable (chmod +x), or name its interpreter.');
  return EXIT_CODES.usage;
}
