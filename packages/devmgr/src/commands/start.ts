import { DevmgrError, TOPOLOGY_POLICIES, TOPOLOGY_SCOPES } from '@devmgr/core';
import type { DaemonConfig } from '@devmgr/manager';
import { Option, type Command } from 'commander';
import { createContext, note, print, type CommandContext } from '../context.ts';
import { collect, newCommand } from '../new-command.ts';
import { KUBELET_ROOT_DIR } from '../root-dir.ts';

interface StartOptions {
  readonly manifests?: string;
  readonly runtime?: string;
  readonly nodeName?: string;
  readonly listen?: string;
  readonly config?: string;
  readonly expect?: readonly string[];
  readonly topologyPolicy?: string;
  readonly topologyScope?: string;
  readonly topologyOption?: readonly string[];
  readonly numaFrom?: string;
  readonly keepRunning?: boolean;
  readonly verbose?: number;
}

/** `devmgr start`: the daemon, in the foreground. */
export function startCommand(): Command {
  return newCommand('start', 'run the device manager in the foreground', [
    { command: 'devmgr start', purpose: 'sockets and state in the default root directory' },
    {
      command: 'devmgr start --root-dir /tmp/dm --manifests ./pods',
      purpose: 'elsewhere, and run the pods of a folder',
    },
    { command: 'devmgr start --listen 127.0.0.1:9876 -v', purpose: 'read-only API and metrics over HTTP' },
  ])
    .option('--manifests <dir>', 'follow the pod manifests of a directory')
    .addOption(new Option('--runtime <name>', 'how containers run (default: "process")').choices(['process']))
    .option('--node-name <name>', "name of the node (default: the host's)")
    .option('--listen <host:port>', 'also serve the API read-only over TCP')
    .option('--config <file>', 'YAML or JSON file with these settings and more')
    .option('--expect <resource>', 'a resource whose plugin comes later: pods wait for it; may be repeated', collect)
    .addOption(
      new Option('--topology-policy <name>', 'how devices are aligned to NUMA nodes (default: "none")').choices(
        TOPOLOGY_POLICIES,
      ),
    )
    .addOption(
      new Option('--topology-scope <name>', 'what is aligned as one (default: "container")').choices(TOPOLOGY_SCOPES),
    )
    .option(
      '--topology-option <name=value>',
      'prefer-closest-numa-nodes=true, max-allowable-numa-nodes=N; may be repeated',
      collect,
    )
    .option('--numa-from <dir>', "read the NUMA nodes from a copy of a machine's /sys")
    .option('--keep-running', 'leave containers running at a stop; the next start finds them again')
    .option('-v, --verbose', 'log more; -vv everything', (_: string, level: number | undefined) => (level ?? 0) + 1)
    .addHelpText(
      'after',
      `\nThe root directory is --root-dir, else DEVMGR_ROOT_DIR, else ${KUBELET_ROOT_DIR} for root, else $XDG_RUNTIME_DIR/devmgr,\nelse ~/.devmgr. SIGTERM and SIGINT stop the manager and its containers; a second one ends it at once.`,
    )
    .action(async (options: StartOptions, command: Command) => {
      await start(options, createContext(command));
    });
}

async function start(options: StartOptions, context: CommandContext): Promise<void> {
  // Before anything slow: a signal during the start must not leave half of it behind.
  const stopped = stopRequest();
  const { loadConfig, startDaemon } = await import('@devmgr/manager');
  const expected = (options.expect ?? []).map((resource) => [resource, { expected: true }] as const);
  const config: DaemonConfig = loadConfig({
    rootDir: context.rootDir,
    ...(options.config === undefined ? {} : { file: options.config }),
    flags: {
      manifests: options.manifests,
      runtime: options.runtime,
      nodeName: options.nodeName,
      listen: options.listen,
      topologyPolicy: options.topologyPolicy,
      topologyScope: options.topologyScope,
      topologyOptions: options.topologyOption === undefined ? undefined : namedValues(options.topologyOption),
      numaFrom: options.numaFrom,
      verbosity: options.verbose === undefined ? undefined : Math.min(options.verbose, 2),
      resources: expected.length === 0 ? undefined : Object.fromEntries(expected),
    },
  });
  const daemon = await startDaemon(config);
  const { bold } = context.stdoutStyle;
  const here = process.env['DEVMGR_ROOT_DIR'] === config.rootDir ? '' : `DEVMGR_ROOT_DIR=${config.rootDir} `;
  print(
    [
      bold(`devmgr serves node ${config.nodeName} from ${config.rootDir}`),
      `  plugins register on   ${daemon.sockets.kubelet}`,
      `  API for "devmgr get"  ${daemon.sockets.api}`,
      ...(daemon.sockets.listen === undefined ? [] : [`  read-only over HTTP   ${daemon.sockets.listen}`]),
      ...(config.manifestsDir === undefined ? [] : [`  runs the pods of      ${config.manifestsDir}`]),
      'Next, in another terminal:',
      `  ${here}devmgr plugin host --device /dev/null    # or: devmgr plugin run -- ./your-plugin`,
      `  ${here}devmgr get resources`,
      'Ctrl-C stops it.',
      '',
    ].join('\n'),
  );
  const why = await Promise.race([stopped, daemon.stopped.then(() => undefined)]);
  if (why === undefined) return;
  note(`${why}: stopping (once more stops at once)`);
  await daemon.stop({ keepRunning: options.keepRunning === true });
}

/** `--topology-option name=value`, each once or more; of one name the last counts. */
function namedValues(pairs: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
      if (name === undefined || value === undefined)
        throw new DevmgrError('USAGE', `--topology-option ${pair}: must be NAME=VALUE`);
      return [name, value];
    }),
  );
}

/** Resolves with the first SIGINT or SIGTERM; the second ends the process at once, as the signal itself would. */
function stopRequest(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (!asked) {
        asked = true;
        resolve(signal);
        return;
      }
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
      process.kill(process.pid, signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
