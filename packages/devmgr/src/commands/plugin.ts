import type { Command } from 'commander';
import { newCommand } from '../new-command.ts';
import { pluginHostCommand } from './plugin-host.ts';
import { pluginRunCommand } from './plugin-run.ts';

/** `devmgr plugin …`: device plugins, unmodified ones and those that come with devmgr. */
export function pluginCommand(): Command {
  return newCommand('plugin', 'run device plugins', [
    { command: 'devmgr plugin run -- ./my-plugin', purpose: 'any plugin, as it is, without root' },
    { command: 'devmgr plugin host --device /dev/null', purpose: 'offer device nodes of this machine' },
  ])
    .enablePositionalOptions()
    .addCommand(pluginRunCommand())
    .addCommand(pluginHostCommand());
}
