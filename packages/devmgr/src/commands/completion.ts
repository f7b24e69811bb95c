import { Argument, type Command } from 'commander';
import { completionScript } from '../completion-script.ts';
import { print } from '../context.ts';
import { newCommand } from '../new-command.ts';

/** `devmgr completion bash|zsh`: the shell's own completion, made from the command tree. */
export function completionCommand(program: Command): Command {
  return newCommand('completion', 'print a completion script for a shell', [
    { command: 'source <(devmgr completion bash)', purpose: 'in this shell; in ~/.bashrc for all' },
    { command: 'source <(devmgr completion zsh)', purpose: 'the same for zsh' },
  ])
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh']))
    .action((shell: 'bash' | 'zsh') => {
      print(completionScript(program, shell));
    });
}
