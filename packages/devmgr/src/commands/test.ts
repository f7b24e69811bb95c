import { InvalidArgumentError, Option, type Command } from 'commander';
import { createContext, print, type CommandContext } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { ExitWith } from '../interrupt.ts';
import { collect, newCommand } from '../new-command.ts';
import type { TestOptions } from '../test/test-options.ts';

/** `devmgr test -- CMD`: a verdict on a device plugin. */
export function testCommand(): Command {
  return newCommand('test', 'give a verdict on a device plugin: what a kubelet would make of it', [
    { command: 'devmgr test -- ./my-plugin --its --flags', purpose: 'any plugin, as it is, without root or cluster' },
    { command: 'devmgr test --level full -- ./my-plugin', purpose: 'the slow drills too' },
    { command: 'devmgr test --only restart/registers-again -- ./my-plugin', purpose: 'one check alone' },
    { command: 'devmgr test --report junit --output report.xml -- ./my-plugin', purpose: 'for a CI system' },
    { command: 'devmgr test --attach /tmp/lab/device-plugins', purpose: 'a plugin that runs already and looks there' },
    { command: 'devmgr test --image my-plugin:dev -- --its --flags', purpose: 'an image, with podman or docker' },
    { command: 'devmgr test --record bug.jsonl -- ./my-plugin', purpose: 'all traffic in a file, for "devmgr replay"' },
    { command: 'devmgr test --manager /tmp/lab', purpose: 'the other side: the suite is the plugins of a manager' },
    { command: 'devmgr test --list', purpose: 'the checks there are' },
  ])
    .usage('[options] [--] <command> [args...]')
    .argument('[command...]', 'the plugin and its arguments')
    .addOption(new Option('--level <level>', 'how thorough').choices(['quick', 'full']).default('quick'))
    .option('--only <id>', 'only this check or group, whatever its level; may be repeated', collect)
    .option('--skip <id>', 'not this check or group; may be repeated', collect)
    .option('--strict', 'warnings fail too')
    .addOption(
      new Option('--timeout <duration>', 'the longest wait for anything the plugin has to do')
        .argParser((text) => atLeastASecond(parseDuration(text, '--timeout')))
        .default(30_000, '30s'),
    )
    .addOption(
      new Option('--report <format>', 'how to report').choices(['table', 'json', 'junit', 'github']).default('table'),
    )
    .option(
      '--output <file>',
      'write the report to a file; beside --report github: JUnit when its name ends in .xml, or JSON',
    )
    .option('--badge <file>', 'write a badge too: SVG, or JSON for shields.io when the name ends in .json')
    .option('--attach <dir>', 'serve this plugin directory and wait for a plugin that runs elsewhere')
    .option('--image <ref>', 'the plugin is a container image; what follows -- are its arguments')
    .option('--engine <cmd>', 'of --image: podman, docker, or another that is called alike; options may follow it')
    .option('--engine-option <opt>', 'of --image: an option of "run", as "--device /dev/x"; may be repeated', collect)
    .option('--hardware-change <cmd>', 'makes the hardware change: called with "remove", then with "add"')
    .option('--manager <dir>', 'test the manager that serves DIR/device-plugins/kubelet.sock, or DIR/kubelet.sock')
    .option('--record <file>', 'keep all traffic in a file, for "devmgr replay" and bug reports')
    .option('--list', 'show the checks and end')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
The plugin is started in a private mount namespace (without root in a user namespace too) in which /var/lib/kubelet is a
directory of the test's; nothing of the machine is changed. Where there are no namespaces, in some containers, root can
give the directory itself away: --root-dir /var/lib/kubelet. With --image a container engine starts the plugin instead,
without network, with that directory mounted; the image has to be there, nothing is downloaded. The test is the plugin's
manager: it registers, lists, allocates, restarts. Exit codes: 0 the plugin passed, 1 it failed, 2 wrong usage.
docs/checks.md has every check.`,
    )
    .action(async (words: readonly string[], options: TestOptions, command: Command) => {
      const { listChecks } = await import('../test/test-options.ts');
      const context = createContext(command, { ignoreEnvironment: true });
      if (options.list === true) {
        print(listChecks(options));
        return;
      }
      const exitCode = await runTest(words, options, context);
      if (exitCode !== 0) throw new ExitWith(exitCode);
    });
}

async function runTest(words: readonly string[], options: TestOptions, context: CommandContext): Promise<number> {
  if (options.manager === undefined) {
    const { testPlugin } = await import('../test/test-plugin.ts');
    return testPlugin(words, options, context);
  }
  const { checkManagerUsage, testManager } = await import('../test/test-manager.ts');
  checkManagerUsage(words, options);
  return testManager(options.manager, options, context);
}

function atLeastASecond(durationMs: number): number {
  if (durationMs >= 1_000) return durationMs;
  throw new InvalidArgumentError('A plugin needs a second at least.');
}
