import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KUBELET_ROOT_DIR } from '@devmgr/plugin-sdk/running';
import { RpcCode, probeUnix, type RpcError } from '@devmgr/wire';
import { NotReady, PluginEnded } from './bench-errors.ts';
import type { HardwareSwitch } from './hardware-switch.ts';
import type { PluginSession } from './plugin-session.ts';
import type { PluginLauncher, RunningPlugin } from './running-plugin.ts';
import { TestManager, type Registration } from './test-manager.ts';
import { Traffic } from './traffic.ts';

/** After the last sign of a plugin that starts, so long nothing more may come for it to count as complete. */
const SETTLED_AFTER_MS = 300;
/** After a registration that no kubelet would take, so long a better one may follow. */
const HOPELESS_AFTER_MS = 3_000;
const LOOK_EVERY_MS = 10;
const PROBE_MS = 2_000;
/** From the loss of its connection to the end of its process. */
const DEATH_SHOWS_WITHIN_MS = 1_000;

export interface BenchOptions {
  /** What stands for /var/lib/kubelet, in which a launched plugin finds its directories. */
  readonly rootDir: string;
  /** Starts the plugin; undefined when it runs already, somewhere else, and comes to `pluginDir`. */
  readonly launcher: PluginLauncher | undefined;
  /** Default: `device-plugins` in `rootDir`. */
  readonly pluginDir?: string | undefined;
  /** The longest wait for anything that the plugin has to do. */
  readonly timeoutMs: number;
  readonly hardware: HardwareSwitch | undefined;
  readonly signal: AbortSignal;
}

/** Something tried once whose result several checks judge. Made anew only in a bench of its own. */
export interface Observation<T> {
  /** For messages: `while …`. */
  readonly what: string;
  make(bench: Bench): Promise<T>;
}

/** A plugin that ended although nobody had asked it to. */
export interface Crash {
  readonly plugin: RunningPlugin;
  readonly how: string;
  /** Its last lines. */
  readonly log: readonly string[];
  /** A check was told, by a PluginEnded. */
  told: boolean;
}

/**
 * Where a plugin is tested: a manager of the suite's, a plugin in its private view, and what happened between them.
 *
 * Invariants: at most one instance of the plugin runs; what was started is gone after `close`; no method waits longer
 * than a few times `timeoutMs`.
 */
export class Bench {
  readonly manager: TestManager;
  readonly traffic = new Traffic();
  readonly timeoutMs: number;
  readonly hardware: HardwareSwitch | undefined;
  readonly signal: AbortSignal;
  /** Instances that ended by themselves, oldest first. */
  readonly crashes: Crash[] = [];
  readonly #launcher: PluginLauncher | undefined;
  readonly #rootDir: string;
  readonly #observations = new Map<Observation<unknown>, Promise<unknown>>();
  readonly #ending = new WeakSet<RunningPlugin>();
  #plugin: RunningPlugin | undefined;
  #expected = new Set<string>();
  #spoilt = false;
  #failedStarts = 0;
  #lastFailure = '';

  constructor(options: BenchOptions) {
    this.#rootDir = options.rootDir;
    this.#launcher = options.launcher;
    this.timeoutMs = options.timeoutMs;
    this.hardware = options.hardware;
    this.signal = options.signal;
    this.manager = new TestManager({
      pluginDir: options.pluginDir ?? join(options.rootDir, 'device-plugins'),
      registryDir: join(options.rootDir, 'plugins_registry'),
      toOurPath: (path) =>
        path.startsWith(`${KUBELET_ROOT_DIR}/`) ? path.replace(KUBELET_ROOT_DIR, this.#rootDir) : path,
      timeoutMs: options.timeoutMs,
      traffic: this.traffic,
    });
  }

  /** The instance that runs or ran last; undefined when attached and before the first start. */
  get plugin(): RunningPlugin | undefined {
    return this.#plugin;
  }

  /** Whether the suite starts and ends the plugin, or only meets it. */
  get launched(): boolean {
    return this.#launcher !== undefined;
  }

  /** The words of the plugin's command; empty when attached. */
  get command(): readonly string[] {
    return this.#launcher?.command ?? [];
  }

  /** Names of all resources the plugin has ever listed here. */
  get resources(): readonly string[] {
    return [...this.#expected];
  }

  /** The result of an observation, made now if it was not made before. A failure is final too. */
  observe<T>(observation: Observation<T>): Promise<T> {
    const known = this.#observations.get(observation);
    if (known !== undefined) {
      return (known as Promise<T>).catch((error: unknown) => {
        if (error instanceof NotReady) throw error;
        throw new NotReady(`something went wrong while ${observation.what}`, { cause: error });
      });
    }
    const made = observation.make(this);
    this.#observations.set(observation, made);
    return made;
  }

  /**
   * A living plugin that has registered and listed every resource it is known for: the one that runs, or a new instance.
   * Rejects with NotReady when there is none within the time limit.
   */
  async ready(): Promise<readonly PluginSession[]> {
    if (this.#failedStarts >= (this.#expected.size === 0 ? 1 : 2)) throw new NotReady(this.#lastFailure);
    if (this.#launcher !== undefined && (this.#plugin === undefined || this.#plugin.end !== undefined)) {
      return this.fresh();
    }
    if (this.#spoilt || !this.manager.listening || !(await this.#isServed())) return this.fresh();
    return this.#settled();
  }

  /** Whether every resource ever listed here is listed to the present manager. */
  isComplete(): boolean {
    const here = new Set(this.manager.sessions().map(({ resource }) => resource));
    return [...this.#expected].every((resource) => here.has(resource));
  }

  /** What was done to the present instance has left it unusable: the next question gets a new one. */
  spoil(): void {
    this.#spoilt = true;
  }

  /** As `ready`, with a new manager and a new instance of the plugin; the one that runs, when it is attached. */
  async fresh(): Promise<readonly PluginSession[]> {
    await this.startPlugin();
    return this.#settled();
  }

  /** Starts a new instance beside a new manager, or beside none, and does not wait for anything. Attached: only the manager. */
  async startPlugin({ manager = true } = {}): Promise<void> {
    this.#spoilt = false;
    await this.stopPlugin();
    await this.manager.close();
    await mkdir(this.manager.pluginDir, { recursive: true });
    if (this.#launcher !== undefined) await this.manager.removeRegistrySockets();
    if (manager) await this.manager.listen();
    else await this.manager.removeSockets();
    this.#launch();
  }

  /** Kills the present instance and starts a new one beside the same manager; what the old one has left lies where it was. */
  async restartPlugin(): Promise<void> {
    await this.stopPlugin();
    this.#launch();
  }

  #launch(): void {
    if (this.#launcher === undefined) return;
    const plugin = this.#launcher.launch(this.#rootDir);
    this.#plugin = plugin;
    void plugin.ended.then(({ how }) => {
      if (this.#plugin === plugin && !this.#ending.has(plugin)) {
        this.crashes.push({ plugin, how, log: plugin.log.last(12), told: false });
      }
    });
  }

  /** Tells the bench that the present instance is about to end by our doing: its end is no crash. */
  expectEnd(): void {
    if (this.#plugin !== undefined) this.#ending.add(this.#plugin);
  }

  /** Kills the present instance, if any. */
  async stopPlugin(): Promise<void> {
    this.expectEnd();
    await this.#plugin?.kill();
  }

  /** True once the condition holds; false when it does not within the limit. Rejects with PluginEnded when the plugin ends meanwhile. */
  async until(condition: () => boolean | Promise<boolean>, timeoutMs = this.timeoutMs): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (await condition()) return true;
      this.assertAlive();
      if (performance.now() > deadline) return false;
      await delay(LOOK_EVERY_MS, undefined, { signal: this.signal });
    }
  }

  /** Waits; rejects with PluginEnded when the plugin ends meanwhile. */
  async pause(ms: number): Promise<void> {
    await this.until(() => false, ms);
  }

  /** After a failed call: gives a plugin that is going down the time to be gone. Rejects with PluginEnded when it does. */
  async settleAfter({ code }: RpcError): Promise<void> {
    const isLoss = code === RpcCode.Unavailable || code === RpcCode.Internal || code === RpcCode.Canceled;
    if (isLoss && this.#launcher !== undefined) await this.pause(DEATH_SHOWS_WITHIN_MS);
    else this.assertAlive();
  }

  /** Rejects with PluginEnded when the present instance has ended by itself. */
  assertAlive(): void {
    const end = this.#plugin?.end;
    if (end !== undefined && this.#plugin !== undefined && !this.#ending.has(this.#plugin)) {
      for (const crash of this.crashes) crash.told ||= crash.plugin === this.#plugin;
      throw new PluginEnded(end.how, this.#plugin.log.last(12));
    }
  }

  /** The registration that the sessions of a resource came from, newest first. */
  registrationsOf(resource: string): readonly Registration[] {
    return this.manager.registrations.filter((one) => one.resource === resource).reverse();
  }

  /** Ends everything that was started. */
  async close(): Promise<void> {
    await this.stopPlugin();
    await this.manager.close();
  }

  /** Waits until every known resource, or on the first start all that seem to come, has a session with a list. */
  async #settled(): Promise<readonly PluginSession[]> {
    try {
      await this.until(() => this.#isSettled() || this.#isHopeless());
      if (!this.#isSettled()) throw new NotReady(this.#whatIsMissing());
    } catch (error) {
      this.#failedStarts += 1;
      this.#lastFailure = error instanceof Error ? error.message : String(error);
      throw error;
    }
    this.#failedStarts = 0;
    const sessions = this.manager.sessions();
    for (const { resource } of sessions) this.#expected.add(resource);
    return sessions;
  }

  /** Whether the sockets behind streams that have ended are served still; the plugin is half dead otherwise. */
  async #isServed(): Promise<boolean> {
    const ended = this.manager.sessions().filter(({ stream }) => !stream.live);
    const probes = await Promise.all(ended.map(({ socketPath }) => probeUnix(socketPath, PROBE_MS)));
    return probes.every((probe) => probe === 'grpc');
  }

  #isSettled(): boolean {
    if (this.#expected.size > 0) return this.isComplete();
    const sessions = this.manager.sessions();
    if (sessions.length === 0) return false;
    const lastSignMs = Math.max(
      ...this.manager.current.map(({ atMs, session }) => Math.max(atMs, session?.stream.lists[0]?.atMs ?? atMs)),
    );
    const waiting = this.manager.current.some(
      ({ session, refused }) =>
        refused === undefined && session?.stream.latest === undefined && session?.stream.live !== false,
    );
    return !waiting && this.traffic.nowMs() - lastSignMs >= SETTLED_AFTER_MS;
  }

  /** Whether all that registered was refused for what it is, and nothing else seems to come. */
  #isHopeless(): boolean {
    const { current } = this.manager;
    const [first] = current;
    const allRefused = current.every(({ refused, malformed }) => refused !== undefined && malformed === true);
    return first !== undefined && allRefused && this.traffic.nowMs() - first.atMs >= HOPELESS_AFTER_MS;
  }

  #whatIsMissing(): string {
    const within = `within ${String(Math.round(this.timeoutMs / 1000))} s`;
    const { current } = this.manager;
    const refused = current.findLast((one) => one.refused !== undefined);
    if (current.length === 0) return `the plugin did not register ${within}`;
    if (refused !== undefined) return `the plugin's registration was refused: ${refused.refused ?? ''}`;
    const here = new Set(this.manager.sessions().map(({ resource }) => resource));
    const missing = [...this.#expected, ...current.map(({ resource }) => resource)].filter((name) => !here.has(name));
    return `no list of ${[...new Set(missing)].join(', ')} came ${within}`;
  }
}
