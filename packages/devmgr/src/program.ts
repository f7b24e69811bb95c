import { Command } from 'commander';
import { applyCommand } from './commands/apply.ts';
import { checkpointCommand } from './commands/checkpoint.ts';
import { completionCommand } from './commands/completion.ts';
import { deleteCommand } from './commands/delete.ts';
import { demoCommand } from './commands/demo.ts';
import { describeCommand } from './commands/describe.ts';
import { explainCommand } from './commands/explain.ts';
import { getCommand } from './commands/get.ts';
import { logsCommand } from './commands/logs.ts';
import { pluginCommand } from './commands/plugin.ts';
import { replayCommand } from './commands/replay.ts';
import { runCommand } from './commands/run.ts';
import { simulateCommand } from './commands/simulate.ts';
import { startCommand } from './commands/start.ts';
import { testCommand } from './commands/test.ts';
import { versionCommand } from './commands/version.ts';
import { waitCommand } from './commands/wait.ts';
import { addGlobalOptions } from './new-command.ts';
import { packageVersion } from './version.ts';

/** The whole command tree. Nothing in it ends the process: parsing throws, and `runCommandLine` makes an exit code of it. */
export function createProgram(): Command {
  const program = addGlobalOptions(
    new Command('devmgr')
      .description('A Kubernetes Device Manager that runs anywhere.')
      .helpOption('-h, --help', 'show this help')
      .version(packageVersion(), '--version', 'show the version')
      .enablePositionalOptions(),
  )
    .addHelpText(
      'after',
      `
Examples:
  devmgr demo                                      # see it work: nothing to install, nothing left behind
  devmgr start                                     # a manager; then, in another terminal:
  devmgr plugin host --device /dev/null            # a plugin that offers a device
  devmgr run --limits devmgr.io/host=1 -- env      # a command that gets it

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused by admission, 5 no manager answers, 124 timed out;
"devmgr run" ends with its command's own.`,
    )
    .addCommand(demoCommand())
    .addCommand(startCommand())
    .addCommand(getCommand())
    .addCommand(describeCommand())
    .addCommand(explainCommand())
    .addCommand(applyCommand())
    .addCommand(deleteCommand())
    .addCommand(logsCommand())
    .addCommand(waitCommand())
    .addCommand(runCommand())
    .addCommand(pluginCommand())
    .addCommand(testCommand())
    .addCommand(replayCommand())
    .addCommand(simulateCommand())
    .addCommand(checkpointCommand())
    .addCommand(versionCommand());
  program.addCommand(completionCommand(program));
  prepare(program);
  return program;
}

/** Settings that commander does not hand down to commands that were made apart. */
function prepare(command: Command): void {
  command.exitOverride().showSuggestionAfterError(true);
  command.configureOutput({
    // Said once, by `runCommandLine`, with the remedy below it.
    outputError: () => undefined,
    getOutHelpWidth: () => Math.min(process.stdout.columns || 120, 120),
  });
  for (const child of command.commands) prepare(child);
}
