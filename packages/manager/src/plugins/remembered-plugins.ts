import { unlink } from 'node:fs/promises';
import type { Clock, Logger } from '../ports.ts';
import { pause } from './pause.ts';
import type { PluginConnector } from './plugin-connector.ts';
import type { RememberedPlugin } from './plugin-directory.ts';
import { socketIdentity } from './registry-scan.ts';

export interface AdoptOptions {
  readonly connector: PluginConnector;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** How long after the connection the first list may take. */
  readonly firstListTimeoutMs: number;
}

/**
 * Dials a plugin that an earlier run of the manager knew and whose socket still answers. Plugins that do not notice a new
 * manager are found again this way, and those that do lose nothing. When it does not work out (no connection, no options,
 * the stream ends or stays silent) the socket is deleted after all: many plugins watch for exactly that and register.
 * Never rejects.
 */
export async function adoptPlugin(plugin: RememberedPlugin, options: AdoptOptions): Promise<void> {
  const { resource, endpoint } = plugin;
  const { connector, clock, log, signal } = options;
  const before = await socketIdentity(endpoint);
  if (before === undefined) return;
  const seen = { list: false };
  let session;
  const settled = new AbortController();
  const done = (): void => {
    settled.abort();
  };
  signal.addEventListener('abort', done, { once: true });
  try {
    session = await connector.connect({
      resource,
      socketPath: endpoint,
      origin: 'remembered',
      signal,
      onReported: () => {
        seen.list = true;
        done();
      },
      onEnded: done,
    });
    if (session === undefined) return; // it registered in the meantime
    await pause(clock, options.firstListTimeoutMs, settled.signal);
    if (seen.list || signal.aborted) return;
    log.warn({ resource, socketPath: endpoint }, 'A remembered device plugin did not list its devices');
  } catch (error) {
    if (signal.aborted) return;
    const cause = error instanceof Error ? error.message : String(error);
    log.warn({ resource, socketPath: endpoint, err: cause }, 'A remembered device plugin could not be connected');
  } finally {
    signal.removeEventListener('abort', done);
  }
  // When the plugin has registered by itself meanwhile there is nothing to mend. A silent stream is left alone.
  if (connector.knows(endpoint, session)) return;
  await deleteUnlessReplaced(endpoint, before, log);
}

/** A plugin that came back meanwhile has made a socket of its own at the same path. */
async function deleteUnlessReplaced(path: string, before: string, log: Logger): Promise<void> {
  try {
    if ((await socketIdentity(path)) !== before) return;
    await unlink(path);
    log.info({ socketPath: path }, 'Deleted the socket, so that its plugin notices and registers');
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    log.warn({ socketPath: path, err: cause }, 'Failed to delete the socket of a device plugin');
  }
}
