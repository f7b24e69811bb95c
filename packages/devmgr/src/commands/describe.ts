import { DevmgrError } from '@devmgr/core';
import { Argument, type Command } from 'commander';
import { createContext, print } from '../context.ts';
import {
  describeDevice,
  describeNode,
  describePlugin,
  describePod,
  describeRelease,
  describeResource,
} from '../describe/index.ts';
import type { ApiClient } from '@devmgr/manager';
import { namespaceOption, newCommand, suggest } from '../new-command.ts';
import { KINDS, parseTarget, type Kind } from '../output/kinds.ts';

/** `devmgr describe KIND NAME`: everything about one object, with its recent events. */
export function describeCommand(): Command {
  return newCommand('describe', 'tell everything about a pod, node, device, plugin, resource or release', [
    { command: 'devmgr describe pod trainer', purpose: 'why it was refused, what it holds, what happened' },
    { command: 'devmgr describe node', purpose: 'capacity, allocatable and allocated of every resource' },
    { command: 'devmgr describe device example.com/gpu/gpu-0', purpose: 'health, place and holder of one device' },
  ])
    .addArgument(suggest(new Argument('<kind>', 'kind, or kind/name'), Object.keys(KINDS).slice(0, -1)))
    .argument('[names...]', 'which; all of the kind when none is given')
    .addOption(namespaceOption())
    .action(async (kindWord: string, names: readonly string[], options: { namespace: string }, command: Command) => {
      const target = parseTarget(kindWord, names);
      const manager = await createContext(command).manager();
      const texts = await describe(manager, target.kind, { namespace: options.namespace, names: target.names });
      print(texts.join('\n\n'));
    });
}

async function describe(
  manager: ApiClient,
  kind: Kind,
  selection: { namespace: string; names: readonly string[] },
): Promise<readonly string[]> {
  switch (kind) {
    case 'pod':
      return describePod(manager, selection);
    case 'node':
      return describeNode(manager, selection);
    case 'device':
      return describeDevice(manager, selection);
    case 'plugin':
      return describePlugin(manager, selection);
    case 'resource':
      return describeResource(manager, selection);
    case 'release':
      return describeRelease(manager, selection);
    case 'event':
      throw new DevmgrError('USAGE', 'events are not described', { remedy: 'Use "devmgr get events -o yaml".' });
  }
}
