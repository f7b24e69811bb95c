import { watch, type FSWatcher } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Logger } from '../ports.ts';
import type { PluginConnector } from './plugin-connector.ts';
import type { RecordNodeEvent } from './registration-server.ts';
import { scanRegistry } from './registry-scan.ts';
import { WATCHER_LIMITS, registerWatched, type WatcherLimits } from './watched-registration.ts';
import { WatchedSocket } from './watched-socket.ts';

/** The kubelet's interval between two looks. Hints of the file system make a look come sooner. */
const RECONCILE_MS = 1_000;
/** A hint waits so long for its companions: a plugin that starts makes several changes at once. */
const HINT_MS = 50;

export interface PluginWatcherOptions {
  /** `plugins_registry`; made (0755) unless it is there. */
  readonly registryDir: string;
  readonly connector: PluginConnector;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: RecordNodeEvent;
  readonly maxReceiveBytes: number;
  readonly limits?: WatcherLimits;
}

/** One sample of the kubelet's gauge `plugin_manager_total_plugins`. */
export interface PluginTotal {
  readonly socketPath: string;
  readonly state: 'actual_state_of_world' | 'desired_state_of_world';
  readonly count: number;
}

/**
 * Registers the plugins whose sockets lie in the registry directory, and closes their sessions when the sockets go.
 * The truth is what a look at the directory finds; the file system's notifications only make the look come sooner.
 * (kubelet: plugin manager, plugin watcher and reconciler)
 */
export class PluginWatcher {
  readonly #options: PluginWatcherOptions;
  readonly #sockets = new Map<string, WatchedSocket>();
  readonly #watchers = new Map<string, FSWatcher>();
  #cancelNext: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #hinted = false;
  #watchFailed = false;
  #closed = false;

  constructor(options: PluginWatcherOptions) {
    this.#options = options;
  }

  /** Makes the directory and takes the first look; plugins found are registered in the background. Never rejects. */
  async start(): Promise<void> {
    const { registryDir, log } = this.#options;
    await mkdir(registryDir, { recursive: true, mode: 0o755 }).catch((error: unknown) => {
      log.warn({ registryDir, err: String(error) }, 'The plugin registry directory cannot be made');
    });
    await this.#look();
  }

  /** Samples for sockets that lie there or are registered. */
  totals(): readonly PluginTotal[] {
    const totals: PluginTotal[] = [];
    for (const [socketPath, socket] of this.#sockets) {
      if (socket.actual) totals.push({ socketPath, state: 'actual_state_of_world', count: 1 });
      if (socket.desired) totals.push({ socketPath, state: 'desired_state_of_world', count: 1 });
    }
    return totals;
  }

  /** Stops looking, ends what is under way and closes the sessions. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelNext?.();
    await this.#looking;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await Promise.all([...this.#sockets.values()].map((socket) => socket.close()));
    this.#sockets.clear();
  }

  #look(): Promise<void> {
    this.#hinted = false;
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
      this.#scheduleNext(this.#hinted ? HINT_MS : RECONCILE_MS);
    });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    const { registryDir } = this.#options;
    let found = await scanRegistry(registryDir);
    // Watch before looking again, so that nothing falls between.
    if (this.#watchDirectories(found.directories)) found = await scanRegistry(registryDir);
    if (this.#closed) return;
    for (const path of found.sockets.keys()) {
      if (!this.#sockets.has(path)) this.#sockets.set(path, this.#watchedSocket(path));
    }
    for (const [path, socket] of this.#sockets) {
      socket.observe(found.sockets.get(path));
      if (socket.idle) this.#sockets.delete(path);
    }
  }

  #watchedSocket(path: string): WatchedSocket {
    const { connector, clock, log, events, maxReceiveBytes, limits = WATCHER_LIMITS } = this.#options;
    return new WatchedSocket({
      path,
      clock,
      log,
      events,
      register: (signal, onEnded) =>
        registerWatched({ socketPath: path, connector, clock, limits, maxReceiveBytes, signal, onEnded }),
    });
  }

  /** Returns whether a directory is watched that was not before. */
  #watchDirectories(directories: ReadonlySet<string>): boolean {
    for (const [directory, watcher] of this.#watchers) {
      if (directories.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    let added = false;
    for (const directory of directories) {
      if (this.#closed || this.#watchers.has(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (event, name) => {
          if (event === 'rename' && name !== null) this.#sockets.get(join(directory, name))?.touch();
          this.#hint();
        });
        watcher.on('error', () => {
          watcher.close();
          if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory);
        });
        this.#watchers.set(directory, watcher);
        added = true;
      } catch (error) {
        // Out of watches, or gone again: looking every second does without.
        if (!this.#watchFailed) this.#options.log.warn({ directory, err: String(error) }, 'Cannot watch a directory');
        this.#watchFailed = true;
      }
    }
    return added;
  }

  #hint(): void {
    if (this.#hinted) return;
    this.#hinted = true;
    if (this.#looking === undefined) this.#scheduleNext(HINT_MS);
  }

  #scheduleNext(delayMs: number): void {
    this.#cancelNext?.();
    if (this.#closed) return;
    this.#cancelNext = this.#options.clock.setTimeout(() => {
      void this.#look();
    }, delayMs);
  }
}
