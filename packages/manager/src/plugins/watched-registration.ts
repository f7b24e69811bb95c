import { isAbsolute, join, dirname } from 'node:path';
import { checkResourceName } from '@devmgr/core';
import { goErrorText, pluginregistration } from '@devmgr/wire';
import type { Clock, PluginSession } from '../ports.ts';
import { dial } from './dial.ts';
import type { PluginConnector } from './plugin-connector.ts';
import { API_VERSION } from './registration.ts';

/** The plugin kind this manager handles; `CSIPlugin` and `DRAPlugin` exist too. */
const DEVICE_PLUGIN = 'DevicePlugin';

/** The kubelet's time limits for registration through the watched directory. */
export const WATCHER_LIMITS = { dialTimeoutMs: 10_000, infoTimeoutMs: 1_000, notifyTimeoutMs: 5_000 } as const;
export type WatcherLimits = { readonly [K in keyof typeof WATCHER_LIMITS]: number };

export interface WatchedRegistration {
  readonly socketPath: string;
  readonly connector: PluginConnector;
  readonly clock: Clock;
  readonly limits: WatcherLimits;
  readonly maxReceiveBytes: number;
  readonly signal: AbortSignal;
  /** Called when the session is over. */
  readonly onEnded: () => void;
}

/**
 * Registers the plugin behind one socket of the registry directory: asks who it is, checks that, connects as Register
 * does, and tells the plugin how it went. Resolves to the session, or undefined when another connection to the same plugin
 * was made meanwhile. Rejects with the kubelet's text; nothing is left open then.
 * (kubelet: plugin manager, operation executor, RegisterPlugin)
 */
export async function registerWatched(registration: WatchedRegistration): Promise<PluginSession | undefined> {
  const { socketPath, limits, clock, signal } = registration;
  const client = await dial(pluginregistration.RegistrationService, {
    socketPath,
    timeoutMs: limits.dialTimeoutMs,
    maxReceiveBytes: registration.maxReceiveBytes,
    clock,
    signal,
  }).catch((error: unknown) => {
    const cause = goErrorText(error);
    throw problem(`dial failed at socket ${socketPath}, err: failed to dial socket ${socketPath}, err: ${cause}`);
  });

  /** Tells the plugin; a failure of that replaces the error. */
  const notify = async (error: string): Promise<void> => {
    const status = { pluginRegistered: error === '', error };
    await client.notifyRegistrationStatus(status, { timeoutMs: limits.notifyTimeoutMs, signal });
  };
  const refuse = async (error: Error): Promise<never> => {
    await notify(error.message).catch((cause: unknown) => {
      throw problem(`failed to send error at socket ${socketPath}, err: ${goErrorText(cause)}`);
    });
    throw error;
  };

  try {
    const info = await client.getInfo({}, { timeoutMs: limits.infoTimeoutMs, signal }).catch((error: unknown) => {
      throw problem(`failed to get plugin info using RPC GetInfo at socket ${socketPath}, err: ${goErrorText(error)}`);
    });
    if (info.type !== DEVICE_PLUGIN) {
      await refuse(problem(`no handler registered for plugin type: ${info.type} at socket ${socketPath}`));
    }
    const invalid = checkPluginInfo(info);
    if (invalid !== undefined) await refuse(problem(`plugin validation failed with err: ${invalid}`));

    let session: PluginSession | undefined;
    try {
      session = await registration.connector.connect({
        resource: info.name,
        socketPath: endpointOf(info.endpoint, socketPath),
        origin: 'watcher',
        signal,
        onEnded: registration.onEnded,
      });
    } catch (error) {
      return await refuse(problem(`plugin registration failed with err: ${goErrorText(error)}`));
    }
    try {
      await notify('');
    } catch (error) {
      session?.close();
      throw problem(`failed to send registration status at socket ${socketPath}, err: ${goErrorText(error)}`);
    }
    return session;
  } finally {
    client.close();
  }
}

/** What is wrong with the answer to GetInfo of a device plugin, in the kubelet's words; undefined when nothing is. */
export function checkPluginInfo(
  info: Pick<pluginregistration.PluginInfo, 'name' | 'supportedVersions'>,
): string | undefined {
  if (!info.supportedVersions.includes(API_VERSION)) {
    const offered = info.supportedVersions.join(' ');
    return `manager version, ${API_VERSION}, is not among plugin supported versions [${offered}]`;
  }
  const name = checkResourceName(info.name);
  return name.ok ? undefined : `invalid name of device plugin socket: ${name.message}`;
}

/** An empty endpoint means that the registry socket serves DevicePlugin too. Plugins give absolute paths otherwise. */
function endpointOf(endpoint: string, socketPath: string): string {
  if (endpoint === '') return socketPath;
  return isAbsolute(endpoint) ? endpoint : join(dirname(socketPath), endpoint);
}

function problem(what: string): Error {
  return new Error(`RegisterPlugin error -- ${what}`);
}
