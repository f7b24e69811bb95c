import { accessSync, constants } from 'node:fs';
import { DevmgrError } from '@devmgr/core';
import { KUBELET_ROOT_DIR, ProcessGroup, withKubeletView } from '@devmgr/plugin-sdk/running';
import { PluginLog } from './plugin-log.ts';
import { usageOfGroup, type ProcessUsage } from './process-usage.ts';

/** How an instance of the plugin ended. */
export interface PluginEnd {
  readonly exitCode: number;
  /** For people: `exit code 2`, `signal SIGSEGV`. */
  readonly how: string;
}

/** One instance of the plugin under test, started by the suite. */
export interface RunningPlugin {
  readonly log: PluginLog;
  /** How it ended; undefined while it runs. */
  readonly end: PluginEnd | undefined;
  readonly ended: Promise<PluginEnd>;
  /** Asks it to end, as a cluster does. */
  terminate(): void;
  /** Ends it and everything it left behind, at once. */
  kill(): Promise<void>;
  usage(): Promise<ProcessUsage | undefined>;
  /** The name by which this process reads a file that the plugin knows as `path`. */
  seenAs(path: string): string;
}

/** Starts instances of the plugin under test. Tests of the suite and other ways to run plugins bring their own. */
export interface PluginLauncher {
  /** For the report: the words of its command. */
  readonly command: readonly string[];
  /** Starts an instance that takes `rootDir` for /var/lib/kubelet. Throws DevmgrError when it cannot. */
  launch(rootDir: string): RunningPlugin;
}

/** The plugin as a command, unmodified, in a private view in which the kubelet's directories are the bench's. */
export function commandLauncher(
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv | undefined } = {},
): PluginLauncher {
  const env = options.env ?? process.env;
  let prepared: { readonly rootDir: string; readonly command: readonly string[] } | undefined;
  return {
    command,
    launch: (rootDir) => {
      // Whether the system allows the view is tried out once.
      if (prepared?.rootDir !== rootDir) prepared = { rootDir, command: privateView(rootDir, command) };
      return new PluginProcess(prepared.command, rootDir, env);
    },
  };
}

function privateView(rootDir: string, command: readonly string[]): readonly string[] {
  try {
    return withKubeletView(rootDir, command);
  } catch (error) {
    if (!(error instanceof DevmgrError) || error.code !== 'USER_NAMESPACE_UNAVAILABLE') throw error;
    throw new DevmgrError(error.code, error.message, {
      cause: error,
      remedy:
        'Run the test as root; or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, ' +
        'kernel.apparmor_restrict_unprivileged_userns); or start the plugin yourself, with its own flag for the directory ' +
        'if it has one, and use --attach.',
    });
  }
}

class PluginProcess implements RunningPlugin {
  readonly log = new PluginLog();
  readonly ended: Promise<PluginEnd>;
  end: PluginEnd | undefined;
  readonly #group: ProcessGroup;
  readonly #rootDir: string;

  constructor(command: readonly string[], rootDir: string, env: NodeJS.ProcessEnv) {
    this.#rootDir = rootDir;
    this.#group = new ProcessGroup(command, { stdio: ['ignore', 'pipe', 'pipe'], env });
    for (const stream of this.#group.outputs) this.log.follow(stream);
    this.ended = this.#group.ended.then((end) => {
      this.end = end;
      return end;
    });
  }

  terminate(): void {
    this.#group.signal('SIGTERM');
  }

  async kill(): Promise<void> {
    this.#group.signal('SIGKILL');
    await this.ended;
  }

  usage(): Promise<ProcessUsage | undefined> {
    return this.#group.pid === undefined ? Promise.resolve(undefined) : usageOfGroup(this.#group.pid);
  }

  seenAs(path: string): string {
    const inside = `/proc/${String(this.#group.pid)}/root`;
    try {
      accessSync(`${inside}/`, constants.R_OK);
      return `${inside}${path}`;
    } catch {
      // It has ended, or may not be looked into: the machine as it is, but for what is known to be elsewhere.
      return path.startsWith(`${KUBELET_ROOT_DIR}/`) ? path.replace(KUBELET_ROOT_DIR, this.#rootDir) : path;
    }
  }
}
