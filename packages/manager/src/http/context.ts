import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type {
  Clock,
  EventService,
  ExplainService,
  InventoryService,
  LeaseService,
  Logger,
  NodeService,
  PodService,
  VersionCounter,
} from '../ports.ts';

/** Metrics as the API needs them. */
export interface MetricsText {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Health as the API needs it. */
export interface HealthReporter {
  report(path: 'healthz' | 'livez' | 'readyz', verbose: boolean): { readonly ok: boolean; readonly text: string };
}

/** What the handlers serve from. */
export interface ApiContext {
  readonly pods: PodService;
  readonly leases: LeaseService;
  readonly inventory: InventoryService;
  readonly explain: ExplainService;
  readonly node: NodeService;
  readonly events: EventService;
  readonly metrics: MetricsText;
  readonly health: HealthReporter;
  readonly versions: VersionCounter;
  /** Version of devmgr. */
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: ApiLimits;
  /** Aborts when the server is closing: streams then end. */
  readonly closing: AbortSignal;
}

export interface ApiLimits {
  /** Longest request body. */
  readonly maxBodyBytes: number;
  /** How many changes may wait for a client of a watch that does not read. */
  readonly maxWaitingChanges: number;
  /** Shortest time between two lists of an inventory watch. */
  readonly inventoryWatchIntervalMs: number;
  /** How long a client that was dropped has to read the reason. */
  readonly dropGraceMs: number;
}

export const DEFAULT_API_LIMITS: ApiLimits = {
  maxBodyBytes: 3 * 1024 * 1024,
  maxWaitingChanges: 5_000,
  inventoryWatchIntervalMs: 100,
  dropGraceMs: 5_000,
};

/** A request on its way through the handlers, with Node's own request and response at hand. */
export type ApiRequest = Context<{ Bindings: HttpBindings }>;

export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type ApiHandler = (request: ApiRequest) => Response | Promise<Response>;

/** One path of the API and what it can do. */
export interface Route {
  readonly path: string;
  readonly handlers: Partial<Record<HttpMethod, ApiHandler>>;
}
