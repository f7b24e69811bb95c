import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KUBELET_ROOT_DIR, ProcessGroup } from '@devmgr/plugin-sdk/running';
import { assertImage, pidOfContainer, signalContainer } from './container-engine.ts';
import { PluginLog } from './plugin-log.ts';
import { usageOfTree, type ProcessUsage } from './process-usage.ts';
import type { PluginEnd, PluginLauncher, RunningPlugin } from './running-plugin.ts';

export interface ContainerOptions {
  /** The words that call the engine; see `findEngine`. */
  readonly engine: readonly string[];
  readonly image: string;
  /** What follows the image: the arguments of its entrypoint. */
  readonly args?: readonly string[] | undefined;
  /** Further options of `run`, a word each: `--device`, `/dev/x`. */
  readonly runOptions?: readonly string[] | undefined;
}

/** From the order to end to the end: a container may have to be made first, to be ended then. */
const KILL_MS = 20_000;
const KILL_AGAIN_MS = 200;
/** (docker, podman: exit status of run) */
const ENGINE_FAILED = 125;

/**
 * The plugin as a container image, unmodified. The whole of the bench's directory is /var/lib/kubelet in the container,
 * so that what the drills replace below it is replaced there too; there is no network, and nothing is downloaded.
 * Throws DevmgrError USAGE at the first launch when the engine does not have the image.
 */
export function containerLauncher(options: ContainerOptions): PluginLauncher {
  const { engine, image, args = [] } = options;
  let isThere = false;
  return {
    command: [...engine, 'run', image, ...args],
    launch: (rootDir) => {
      if (!isThere) assertImage(engine, image);
      isThere = true;
      for (const name of ['device-plugins', 'plugins_registry']) mkdirSync(join(rootDir, name), { recursive: true });
      return new PluginContainer(options, resolve(rootDir));
    },
  };
}

class PluginContainer implements RunningPlugin {
  readonly log = new PluginLog();
  readonly ended: Promise<PluginEnd>;
  end: PluginEnd | undefined;
  readonly #engine: readonly string[];
  readonly #name = `devmgr-test-${String(process.pid)}-${randomBytes(4).toString('hex')}`;
  readonly #rootDir: string;
  readonly #undertaker: ChildProcess;
  readonly #client: ProcessGroup;
  /** Of the container's first process; null when it is not one of this machine. */
  #pid: number | null | undefined;

  constructor({ engine, image, args = [], runOptions = [] }: ContainerOptions, rootDir: string) {
    this.#engine = engine;
    this.#rootDir = rootDir;
    this.#undertaker = undertaker(engine, this.#name);
    const network = runOptions.some((option) => /^--net(work)?(=|$)/.test(option)) ? [] : ['--network=none'];
    // As in a cluster, where nothing keeps a plugin from its directory: no labels of SELinux between them.
    const fixed = ['--rm', '--pull=never', '--name', this.#name, ...network, '--security-opt', 'label=disable'];
    const mount = ['-v', `${rootDir}:${KUBELET_ROOT_DIR}`];
    this.#client = new ProcessGroup([...engine, 'run', ...fixed, ...mount, ...runOptions, image, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: process.env,
    });
    for (const stream of this.#client.outputs) this.log.follow(stream);
    this.ended = this.#client.ended.then(async ({ exitCode, how }) => {
      const end = { exitCode, how: exitCode === ENGINE_FAILED ? `${how}, of ${engine[0] ?? ''} itself` : how };
      this.end = end;
      await bury(this.#undertaker);
      return end;
    });
  }

  /** To the container's first process. Not by a signal to the client, which need not pass it on before it is attached. */
  terminate(): void {
    void signalContainer(this.#engine, this.#name, 'TERM');
  }

  async kill(): Promise<void> {
    const deadline = performance.now() + KILL_MS;
    while (this.end === undefined && performance.now() < deadline) {
      // It fails while there is no container yet; a client that was killed then could leave a half-made one.
      await signalContainer(this.#engine, this.#name, 'KILL');
      await Promise.race([this.ended, delay(KILL_AGAIN_MS)]);
    }
    this.#client.signal('SIGKILL');
    await this.ended;
  }

  usage(): Promise<ProcessUsage | undefined> {
    const pid = this.#findPid();
    return pid === undefined ? Promise.resolve(undefined) : usageOfTree(pid);
  }

  /** As the container sees it when it has such a file; otherwise the machine's, which is what a runtime would give out. */
  seenAs(path: string): string {
    const pid = this.#findPid();
    const inside = `/proc/${String(pid)}/root${path}`;
    if (pid !== undefined && existsSync(inside)) return inside;
    return path.startsWith(`${KUBELET_ROOT_DIR}/`) ? path.replace(KUBELET_ROOT_DIR, this.#rootDir) : path;
  }

  /** Undefined while there is no process, when it has ended, and where the engine runs it on another machine. */
  #findPid(): number | undefined {
    if (this.end !== undefined) return undefined;
    if (this.#pid === undefined) {
      const pid = pidOfContainer(this.#engine, this.#name) ?? 0;
      if (pid > 0) this.#pid = seesRoot(pid, this.#rootDir) ? pid : null;
    }
    return this.#pid ?? undefined;
  }
}

/** Whether a process of this machine has the directory for /var/lib/kubelet. (Linux: proc(5), /proc/pid/mountinfo) */
function seesRoot(pid: number, rootDir: string): boolean {
  try {
    return readFileSync(`/proc/${String(pid)}/mountinfo`, 'utf8').includes(
      `/${basename(rootDir)} ${KUBELET_ROOT_DIR} `,
    );
  } catch {
    return false;
  }
}

/**
 * Waits for the end of its standard input, which comes when this process closes it or is gone, however it went; then removes
 * the container, if there still is one. Engines keep a container alive when their client is killed.
 */
function undertaker(engine: readonly string[], name: string): ChildProcess {
  const script = `trap '' TERM INT HUP; read -r end; "$@" kill "$0"; exec "$@" rm --force "$0"`;
  const child = spawn('/bin/sh', ['-c', script, name, ...engine], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.on('error', () => undefined); // without a shell the client cannot be started either
  child.stdin.on('error', () => undefined);
  return child;
}

async function bury(child: ChildProcess): Promise<void> {
  const patience = new AbortController();
  const gone = new Promise<void>((resolve) => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) resolve();
    else
      child.once('exit', () => {
        resolve();
      });
  });
  child.stdin?.end();
  await Promise.race([gone, delay(KILL_MS, undefined, { signal: patience.signal }).catch(() => undefined)]);
  patience.abort();
  child.unref(); // an engine that hangs may go on trying
}
