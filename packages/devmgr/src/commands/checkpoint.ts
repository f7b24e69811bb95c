import type { Command } from 'commander';
import { newCommand } from '../new-command.ts';
import { checkpointConvertCommand } from './checkpoint-convert.ts';
import { checkpointShowCommand } from './checkpoint-show.ts';
import { checkpointVerifyCommand } from './checkpoint-verify.ts';

/** `devmgr checkpoint …`: any kubelet's device checkpoint, from the file alone. */
export function checkpointCommand(): Command {
  return newCommand('checkpoint', 'look into the device checkpoint of any kubelet or devmgr, without one running', [
    { command: 'devmgr checkpoint show FILE', purpose: 'who holds which devices' },
    { command: 'devmgr checkpoint verify FILE', purpose: 'whether a kubelet would take it, and what is wrong' },
    { command: 'devmgr checkpoint convert FILE --to v1', purpose: 'between the layouts of old and new kubelets' },
  ])
    .addCommand(checkpointShowCommand())
    .addCommand(checkpointVerifyCommand())
    .addCommand(checkpointConvertCommand());
}
