import { DevmgrError } from '@devmgr/core';
import { SocketPathError, type UnixServer } from '@devmgr/wire';
import type { Clock, Logger, PluginHost, PluginReportSink } from '../ports.ts';
import { PluginConnector } from './plugin-connector.ts';
import {
  cleanPluginDirectory,
  findLivingPlugins,
  makePluginDirectory,
  registrationSocketPath,
  type RememberedPlugin,
} from './plugin-directory.ts';
import { PluginWatcher, type PluginTotal } from './plugin-watcher.ts';
import { listenForRegistrations, type RecordNodeEvent } from './registration-server.ts';
import { adoptPlugin } from './remembered-plugins.ts';

/** How long a remembered plugin may take to list its devices. */
const FIRST_LIST_TIMEOUT_MS = 10_000;

export interface PluginLimits {
  /** For the connection to a plugin; the kubelet's is 10 s. */
  readonly dialTimeoutMs: number;
  /** For GetDevicePluginOptions. */
  readonly optionsTimeoutMs: number;
  /** A larger message from a plugin ends its stream. */
  readonly maxReceiveBytes: number;
  /** For the first list of a remembered plugin; 10 s by default. */
  readonly firstListTimeoutMs?: number;
}

export interface PluginEndpointsOptions {
  /** Absolute path of the directory of `kubelet.sock` and of the plugins' sockets. */
  readonly devicePluginDir: string;
  /** `plugins_registry`. */
  readonly registryDir: string;
  readonly host: PluginHost;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: PluginLimits;
  /** Plugins of an earlier run, with absolute socket paths. Those outside the device plugin directory are left to the watcher. */
  readonly remembered: readonly RememberedPlugin[];
  /** Records an event about the node. */
  readonly events: RecordNodeEvent;
  /** Without one, reports are answered UNIMPLEMENTED, as a kubelet does. */
  readonly reports?: PluginReportSink;
}

/** Everything that lets plugins find the manager and the manager find plugins. */
export interface PluginEndpoints {
  /** Where Registration is served. */
  readonly socketPath: string;
  /** What is wrong with the registration server, in the kubelet's words; undefined while it serves and after `close`. */
  health(): string | undefined;
  /** Samples of `plugin_manager_total_plugins`. */
  pluginTotals(): readonly PluginTotal[];
  /** Ends all sessions (the host is told of each), then stops serving and removes the socket. Idempotent, never rejects. */
  close(): Promise<void>;
}

/**
 * Starts, in this order: makes and cleans the device plugin directory, except sockets of remembered plugins that are alive;
 * listens on `kubelet.sock` without a pause in between, since some plugins give up within a second; dials the remembered
 * plugins in the background; watches the registry directory.
 *
 * Rejects with CONFIG_INVALID (the directory is not absolute), PATH_TOO_LONG, ROOT_DIR_UNUSABLE or LISTEN_FAILED; nothing
 * is left open then. (kubelet: device plugin server, Start)
 */
export async function startPlugins(options: PluginEndpointsOptions): Promise<PluginEndpoints> {
  const { devicePluginDir, host, clock, log, events, limits } = options;
  const socketPath = registrationSocketPath(devicePluginDir);
  await makePluginDirectory(devicePluginDir);
  const living = await findLivingPlugins(devicePluginDir, options.remembered);
  await cleanPluginDirectory(devicePluginDir, new Set(living.map(({ endpoint }) => endpoint)), log);

  let health: string | undefined;
  const connector = new PluginConnector({ ...limits, clock, log, host });
  const server = await listen(() =>
    listenForRegistrations({
      socketPath,
      devicePluginDir,
      connector,
      host,
      log,
      events,
      reports: options.reports,
      onFailure: (error) => {
        health = serverFailure(error);
        log.error({ socketPath, err: error.message }, 'The registration server failed');
      },
    }),
  );

  const stopping = new AbortController();
  const adoption = Promise.all(
    living.map((plugin) =>
      adoptPlugin(plugin, {
        connector,
        clock,
        log,
        signal: stopping.signal,
        firstListTimeoutMs: limits.firstListTimeoutMs ?? FIRST_LIST_TIMEOUT_MS,
      }),
    ),
  );
  const { registryDir } = options;
  const watcher = new PluginWatcher({
    registryDir,
    connector,
    clock,
    log,
    events,
    maxReceiveBytes: limits.maxReceiveBytes,
  });
  await watcher.start();

  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    stopping.abort();
    await Promise.all([watcher.close(), connector.close(), adoption]);
    await server.close(0).catch((error: unknown) => {
      log.warn({ socketPath, err: String(error) }, 'The registration server did not stop cleanly');
    });
    health = undefined;
  };
  return {
    socketPath,
    health: () => health,
    pluginTotals: () => watcher.totals(),
    close: () => (closed ??= close()),
  };
}

async function listen(start: () => Promise<UnixServer>): Promise<UnixServer> {
  try {
    return await start();
  } catch (error) {
    const code = error instanceof SocketPathError ? 'PATH_TOO_LONG' : 'LISTEN_FAILED';
    const cause = error instanceof Error ? error.message : String(error);
    throw new DevmgrError(code, cause, { cause: error });
  }
}

/** The kubelet's text of the health check `device-plugin`. */
function serverFailure(error: Error): string {
  const text =
    'device registration error: device plugin registration gRPC server failed and no device plugins can register';
  return error.message === '' ? text : `${text}: ${error.message}`;
}
