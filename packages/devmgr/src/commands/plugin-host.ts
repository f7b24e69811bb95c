import { join } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { createContext, note, type CommandContext } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import { collect, newCommand } from '../new-command.ts';

interface PluginHostOptions {
  readonly device: readonly string[];
  readonly resource: string;
  readonly count: number;
  readonly permissions: string;
  readonly allowNonDevices?: boolean;
}

/** `devmgr plugin host --device PATH…`: real device nodes of this machine as a resource. */
export function pluginHostCommand(): Command {
  return newCommand('host', 'offer device nodes of this machine as a resource', [
    { command: 'devmgr plugin host --device /dev/null --device /dev/zero', purpose: 'two devices of devmgr.io/host' },
    {
      command: "devmgr plugin host --resource lab.io/tty --device '/dev/ttyUSB*'",
      purpose: 'boards as they are plugged in',
    },
    { command: 'devmgr plugin host --device /dev/kvm --count 10', purpose: 'one device that ten pods may share' },
  ])
    .requiredOption('--device <path>', 'device node or pattern; may be repeated', collect)
    .option('--resource <name>', 'extended resource to offer them as', 'devmgr.io/host')
    .addOption(new Option('--count <number>', 'how many containers may share each').argParser(wholeNumber).default(1))
    .option('--permissions <rwm>', 'what a container may do with them', 'rw')
    .option('--allow-non-devices', 'accept files, sockets and directories too')
    .action(async (options: PluginHostOptions, command: Command) => {
      await host(options, createContext(command));
    });
}

async function host(options: PluginHostOptions, context: CommandContext): Promise<void> {
  const { consoleLog, hostDevicePlugin } = await import('@devmgr/plugin-sdk');
  const interruption = new Interruption();
  const plugin = hostDevicePlugin({
    resource: options.resource,
    devices: options.device,
    count: options.count,
    permissions: options.permissions,
    allowNonDevices: options.allowNonDevices === true,
    pluginDir: join(context.rootDir, 'device-plugins'),
    log: consoleLog(),
  });
  note(`offering ${options.device.join(', ')} as ${options.resource} in ${context.rootDir}; Ctrl-C stops`);
  await interruption.requested;
  await plugin.close();
  interruption.stop();
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a whole number above zero.');
}
