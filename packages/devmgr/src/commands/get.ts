import { Argument, type Command } from 'commander';
import { createContext, note, print } from '../context.ts';
import { untilInterrupted } from '../interrupt.ts';
import { kindView, type KindView, type Selection } from '../kind-view.ts';
import type { ApiClient } from '@devmgr/manager';
import { namespaceOption, newCommand, outputOption, suggest } from '../new-command.ts';
import { formatObject, type OutputFormat } from '../output/format.ts';
import { kindWords, parseTarget, type Kind } from '../output/kinds.ts';
import { alignRows, columnWidths, formatTable, oneLine } from '../output/table.ts';

interface GetOptions {
  readonly output: OutputFormat;
  readonly watch?: boolean;
  readonly namespace: string;
  readonly allNamespaces?: boolean;
  readonly headers: boolean;
}

/** `devmgr get KIND [NAME…]`: what is there, as kubectl shows it. */
export function getCommand(): Command {
  return newCommand('get', `show ${kindWords().join(', ')}`, [
    { command: 'devmgr get pods', purpose: 'pods of the namespace "default"' },
    {
      command: 'devmgr get devices example.com/gpu -o wide',
      purpose: 'the devices of one resource and who holds them',
    },
    { command: 'devmgr get resources -w', purpose: 'follow what changes' },
    { command: 'devmgr get node -o json', purpose: 'the v1 Node with capacity and allocatable' },
  ])
    .addArgument(suggest(new Argument('<kind>', 'kind, or kind/name'), kindWords()))
    .argument('[names...]', 'only these')
    .addOption(outputOption())
    .option('-w, --watch', 'follow changes until interrupted')
    .addOption(namespaceOption())
    .option('-A, --all-namespaces', 'all namespaces')
    .option('--no-headers', 'leave the header line out')
    .action(async (kindWord: string, names: readonly string[], options: GetOptions, command: Command) => {
      const target = parseTarget(kindWord, names);
      const selection: Selection = {
        namespace: options.allNamespaces === true ? undefined : options.namespace,
        names: target.names,
      };
      const manager = await createContext(command).manager();
      if (options.watch === true) await watch(manager, target.kind, selection, options);
      else await get(manager, target.kind, selection, options);
    });
}

async function get(manager: ApiClient, kind: Kind, selection: Selection, options: GetOptions): Promise<void> {
  const view = kindView(kind, { withNamespace: options.allNamespaces === true });
  const items = await view.list(manager, selection);
  const { output } = options;
  if (output === 'json' || output === 'yaml') {
    const single = selection.names.length === 1 && items.length === 1;
    print(formatObject(single ? items[0] : view.toList(items), output));
    return;
  }
  if (output === 'name') {
    print(items.map((item) => `${view.nameOf(item)}\n`).join(''));
    return;
  }
  if (items.length === 0) {
    note(emptyText(kind, selection.namespace));
    return;
  }
  print(renderTable(view, items, { headers: options.headers, wide: output === 'wide' }));
}

/** A kind's table, as `get` prints it. */
export function renderTable<T>(
  view: KindView<T>,
  items: readonly T[],
  options: { headers?: boolean; wide?: boolean } = {},
): string {
  return formatTable(view.columns, items, { nowMs: Date.now(), ...options });
}

function emptyText(kind: Kind, namespace: string | undefined): string {
  if (kind === 'pod' || kind === 'event') {
    return namespace === undefined ? 'No resources found' : `No resources found in ${namespace} namespace.`;
  }
  if (kind === 'resource' || kind === 'plugin' || kind === 'device')
    return 'No resources found: no device plugin has registered yet.';
  if (kind === 'release') return 'No resources found: every device that was given back is free.';
  return 'No resources found';
}

/** One line for each state an item takes, under a header that is printed once. */
async function watch(manager: ApiClient, kind: Kind, selection: Selection, options: GetOptions): Promise<void> {
  const view = kindView(kind, { withNamespace: options.allNamespaces === true });
  const { output } = options;
  const columns = view.columns.filter((column) => output === 'wide' || column.wide !== true);
  const headers = columns.map((column) => column.header);
  let widths: readonly number[] = [];
  let headersDue = options.headers;
  await untilInterrupted(async (signal) => {
    for await (const item of view.watch(manager, selection, signal)) {
      if (output === 'json' || output === 'yaml') {
        print((output === 'yaml' ? '---\n' : '') + formatObject(item, output));
      } else if (output === 'name') print(`${view.nameOf(item)}\n`);
      else {
        const rows = [columns.map((column) => oneLine(column.cell(item, Date.now())))];
        if (headersDue) rows.unshift(headers);
        headersDue = false;
        widths = columnWidths(rows, widths);
        print(alignRows(rows, widths));
      }
    }
  });
}
