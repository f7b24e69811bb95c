import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { listenUnix, type UnixServer } from '@devmgr/wire';
import type { Clock, EventReason, Logger, PodResourcesMetrics, PodResourcesSource } from '../ports.ts';
import { PodResources } from './pod-resources.ts';
import { podResourcesServices } from './pod-resources-services.ts';

/** How long after a failure the next attempt to listen follows. */
const RETRY_MS = 10_000;
/** Requests name a pod at most. (gRPC's default) */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;

export interface PodResourcesServerOptions {
  readonly rootDir: string;
  readonly source: PodResourcesSource;
  readonly metrics: PodResourcesMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Records something about the node. */
  readonly events: (type: 'Normal' | 'Warning', reason: EventReason, message: string) => void;
}

/** A running PodResources API. */
export interface PodResourcesEndpoint {
  readonly socketPath: string;
  /** Why nobody can ask at the moment; undefined while it serves and after `close`. */
  health(): string | undefined;
  /** Stops serving and removes the socket. Idempotent, never rejects. */
  close(): Promise<void>;
}

/**
 * Serves the PodResources API on `<root>/pod-resources/kubelet.sock`, in place of whatever was there and without a moment
 * with no listener. Where the kubelet exits when it cannot listen, or cannot go on, this is an event, a log line and a
 * failing health check, and is tried again every ten seconds: who monitors devices must not be able to take them away.
 * Never rejects. (kubelet: podresources, ListenAndServePodResources)
 */
export async function startPodResources(options: PodResourcesServerOptions): Promise<PodResourcesEndpoint> {
  const endpoint = new Endpoint(options);
  await endpoint.open();
  return endpoint;
}

/** Invariant: at most one of `#server`, an attempt in flight and `#cancelRetry` is there. */
class Endpoint implements PodResourcesEndpoint {
  readonly socketPath: string;
  readonly #options: PodResourcesServerOptions;
  readonly #answers: PodResources;
  #server: UnixServer | undefined;
  #problem: string | undefined;
  #cancelRetry: (() => void) | undefined;
  #opening: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(options: PodResourcesServerOptions) {
    this.#options = options;
    this.#answers = new PodResources(options.source);
    this.socketPath = join(options.rootDir, 'pod-resources', 'kubelet.sock');
  }

  health(): string | undefined {
    return this.#problem;
  }

  open(): Promise<void> {
    return (this.#opening = this.#open());
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #open(): Promise<void> {
    const { metrics, clock } = this.#options;
    try {
      await mkdir(dirname(this.socketPath), { recursive: true, mode: 0o750 });
      const server = await listenUnix({
        path: this.socketPath,
        maxReceiveBytes: MAX_REQUEST_BYTES,
        services: podResourcesServices({ answers: this.#answers, metrics, clock }),
        onFailure: (error) => {
          if (this.#server === server) this.#lost(server, error);
        },
      });
      this.#server = server;
      if (this.#problem !== undefined) this.#options.log.info({ socketPath: this.socketPath }, 'Serving PodResources');
      this.#problem = undefined;
    } catch (error) {
      this.#failed(error);
    }
  }

  #lost(server: UnixServer, error: Error): void {
    this.#server = undefined;
    void this.#end(server);
    this.#failed(error);
  }

  #failed(error: unknown): void {
    const cause = error instanceof Error ? error.message : String(error);
    const problem = `the PodResources API cannot be served on ${this.socketPath}: ${cause}`;
    if (problem !== this.#problem) {
      this.#options.log.error({ socketPath: this.socketPath, err: cause }, 'PodResources cannot be served');
      this.#options.events('Warning', 'PodResourcesUnavailable', problem);
    }
    this.#problem = problem;
    if (this.#closed !== undefined) return;
    this.#cancelRetry = this.#options.clock.setTimeout(() => {
      this.#cancelRetry = undefined;
      void this.open();
    }, RETRY_MS);
  }

  async #close(): Promise<void> {
    this.#cancelRetry?.();
    await this.#opening;
    if (this.#server !== undefined) await this.#end(this.#server);
    this.#server = undefined;
    this.#problem = undefined;
  }

  async #end(server: UnixServer): Promise<void> {
    await server.close(0).catch((error: unknown) => {
      this.#options.log.warn({ socketPath: this.socketPath, err: String(error) }, 'PodResources did not stop cleanly');
    });
  }
}
