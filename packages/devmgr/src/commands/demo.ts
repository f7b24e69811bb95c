import type { Command } from 'commander';
import { createContext } from '../context.ts';
import { newCommand } from '../new-command.ts';

/** `devmgr demo`: the device manager at work, in a few seconds, with nothing to install and nothing left behind. */
export function demoCommand(): Command {
  return newCommand('demo', 'see a device manager at work, with nothing to install', [
    { command: 'devmgr demo', purpose: 'a short story, then it stays up for you to try things' },
    { command: 'devmgr demo --once', purpose: 'the story alone' },
  ])
    .option('--once', 'leave after the story')
    .addHelpText(
      'after',
      '\nIt uses a fresh temporary directory, whatever DEVMGR_ROOT_DIR says; --root-dir names another.',
    )
    .action(async (options: { once?: boolean }, command: Command) => {
      const context = createContext(command, { ignoreEnvironment: true });
      const [{ runDemo }, { runCommandLine }] = await Promise.all([
        import('../demo/demo.ts'),
        import('../command-line.ts'),
      ]);
      await runDemo({
        rootDir: context.rootDirFlag,
        once: options.once === true,
        style: context.stdoutStyle,
        runCommand: (words) => runCommandLine([process.execPath, 'devmgr', ...words]),
      });
    });
}
