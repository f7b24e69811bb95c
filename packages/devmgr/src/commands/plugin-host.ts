import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import type { BusSelection, HostDevice, HostDeviceOptions, ResponsePiece } from '@devmgr/plugin-sdk';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { createContext, note, type CommandContext } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import { collect, newCommand } from '../new-command.ts';
import { readTextFile } from '../text-file.ts';

interface PluginHostOptions {
  readonly filename?: string;
  readonly device?: readonly string[];
  readonly usb?: readonly string[];
  readonly pci?: readonly string[];
  readonly resource: string;
  readonly count: number;
  readonly permissions: string;
  readonly mount?: readonly string[];
  readonly env?: readonly string[];
  readonly allowNonDevices?: boolean;
  readonly sysDir: string;
  readonly devDir: string;
}

/** Flags that say what a file says too. */
const DESCRIPTION = ['device', 'usb', 'pci', 'resource', 'count', 'permissions', 'mount', 'env', 'allowNonDevices'];

/** `devmgr plugin host --device PATH…`: real devices of this machine as a resource. */
export function pluginHostCommand(): Command {
  return newCommand('host', 'offer devices of this machine as a resource', [
    { command: 'devmgr plugin host --device /dev/null --device /dev/zero', purpose: 'two devices of devmgr.io/host' },
    {
      command: "devmgr plugin host --resource lab.io/tty --device '/dev/serial/by-id/*'",
      purpose: 'boards as they are plugged in',
    },
    { command: 'devmgr plugin host --resource lab.io/ftdi --usb 0403:6001', purpose: 'USB devices by vendor:product' },
    {
      command: 'devmgr plugin host --resource lab.io/gpu --pci 10de:*,class=03',
      purpose: 'PCI devices by vendor:device, class, driver',
    },
    { command: 'devmgr plugin host --device /dev/kvm --count 10', purpose: 'one device that ten pods may share' },
    { command: 'devmgr plugin host -f examples/plugins/host-devices.yaml', purpose: 'several resources' },
  ])
    .addOption(
      new Option('-f, --filename <file>', 'file that describes resources (YAML or JSON)').conflicts(DESCRIPTION),
    )
    .option('--device <path>', 'device node or pattern; may be repeated', collect)
    .option('--usb <vendor:product[:serial]>', 'USB devices; may be repeated', collect)
    .option('--pci <vendor:device>', 'PCI devices, also by class=… or driver=…; may be repeated', collect)
    .option('--resource <name>', 'extended resource to offer them as', 'devmgr.io/host')
    .addOption(new Option('--count <number>', 'how many containers may share each').argParser(wholeNumber).default(1))
    .option('--permissions <rwm>', 'what a container may do with them', 'rw')
    .option('--mount <host[:container][:ro]>', 'something more to mount; may be repeated', collect)
    .option('--env <name=value>', 'a variable to set; may be repeated', collect)
    .option('--allow-non-devices', 'accept files, sockets and directories too')
    .option('--sys-dir <dir>', 'where sysfs is', '/sys')
    .option('--dev-dir <dir>', 'where the nodes of USB and PCI devices are', '/dev')
    .action(async (options: PluginHostOptions, command: Command) => {
      await host(options, createContext(command));
    });
}

async function host(options: PluginHostOptions, context: CommandContext): Promise<void> {
  const sdk = await import('@devmgr/plugin-sdk');
  const resources =
    options.filename === undefined
      ? [fromFlags(options, sdk)]
      : sdk.parseHostDeviceFile(await readTextFile(options.filename, 'CONFIG_INVALID'), options.filename);
  const interruption = new Interruption();
  const { sysDir, devDir } = options;
  const pluginDir = join(context.rootDir, 'device-plugins');
  const plugins = resources.map((resource) =>
    sdk.hostDevicePlugin({ ...resource, sysDir, devDir, pluginDir, log: sdk.consoleLog() }),
  );
  for (const { resource, devices } of resources) {
    note(`offering ${devices.map(nameOf).join(', ')} as ${resource} in ${context.rootDir}; Ctrl-C stops`);
  }
  await interruption.requested;
  await Promise.all(plugins.map((plugin) => plugin.close()));
  interruption.stop();
}

function fromFlags(options: PluginHostOptions, sdk: typeof import('@devmgr/plugin-sdk')): HostDeviceOptions {
  const { device = [], usb = [], pci = [], resource, count, permissions, allowNonDevices = false } = options;
  const choices: BusSelection[] = [...usb.map((text) => ({ usb: text })), ...pci.map((text) => ({ pci: text }))];
  const devices: HostDevice[] = [...device, ...choices];
  if (devices.length === 0) {
    throw new DevmgrError('USAGE', 'plugin host needs to know which devices', {
      remedy: 'Give --device, --usb or --pci, or a file with -f.',
    });
  }
  const extras: ResponsePiece[] = [
    ...(options.mount ?? []).map((text) => {
      const [hostPath = '', ...rest] = text.split(':');
      const readOnly = rest.at(-1) === 'ro';
      const [containerPath] = readOnly ? rest.slice(0, -1) : rest;
      return sdk.mount(hostPath, { containerPath, readOnly });
    }),
    ...(options.env ?? []).map((text) => {
      const at = text.indexOf('=');
      if (at > 0) return sdk.env({ [text.slice(0, at)]: text.slice(at + 1) });
      throw new DevmgrError('USAGE', `--env ${text}: expected NAME=VALUE`, { remedy: 'Give a name and a value.' });
    }),
  ];
  return { resource, devices, count, permissions, allowNonDevices, extras };
}

function nameOf(device: HostDevice): string {
  if (typeof device === 'string') return device;
  if ('paths' in device) return device.paths.join('+');
  return device.usb === undefined ? `PCI ${device.pci}` : `USB ${device.usb}`;
}

function wholeNumber(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is not a whole number above zero.');
}
