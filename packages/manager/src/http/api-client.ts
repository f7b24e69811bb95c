import {
  DevmgrError,
  type Event,
  type Explanation,
  type Node,
  type ObjectList,
  type Pod,
  type Status,
  type WatchEvent,
} from '@devmgr/core';
import type {
  DeviceView,
  LeaseMessage,
  LeaseRequest,
  LogOptions,
  PluginView,
  ReleaseView,
  ResourceView,
} from '../ports.ts';
import { parseJsonLines } from './json-lines.ts';
import { openResponse, readChunks, readText, type SocketRequest } from './socket-request.ts';
import { errorOf, isStatus } from './status-map.ts';

/** How long a manager may take for an answer that is not a stream. */
const ANSWER_TIMEOUT_MS = 30_000;

/** What `GET /devmgr/v1/version` answers. */
export interface ManagerVersion extends Record<string, unknown> {
  readonly version: string;
  readonly nodeVersion: string;
  readonly platform: string;
  readonly pid: number;
  readonly startedAt: string;
}

export type ApplyOutcome = 'created' | 'unchanged' | 'configured';

/**
 * A manager's API, typed. Every method rejects with a `DevmgrError`: the manager's own, or MANAGER_UNREACHABLE when none
 * answers or it goes away in the middle. Streams end when the manager closes them in good order; leaving their loop closes
 * the connection; when their signal aborts they reject with its reason.
 */
export interface ApiClient {
  listPods(namespace?: string): Promise<ObjectList<Pod>>;
  getPod(namespace: string, name: string): Promise<Pod>;
  createPod(namespace: string, manifest: unknown): Promise<Pod>;
  /** Creates the pod named in the manifest, or changes nothing when it is there already. */
  applyPod(namespace: string, manifest: unknown): Promise<{ pod: Pod; outcome: ApplyOutcome }>;
  deletePod(namespace: string, name: string, options?: { gracePeriodSeconds?: number }): Promise<Pod>;
  watchPods(namespace: string | undefined, signal: AbortSignal): AsyncIterable<WatchEvent<Pod>>;
  podLogs(namespace: string, name: string, options: LogOptions): AsyncIterable<Uint8Array>;
  listNodes(): Promise<ObjectList<Node>>;
  getNode(name: string): Promise<Node>;
  watchNodes(signal: AbortSignal): AsyncIterable<WatchEvent<Node>>;
  listEvents(namespace?: string): Promise<ObjectList<Event>>;
  watchEvents(namespace: string | undefined, signal: AbortSignal): AsyncIterable<WatchEvent<Event>>;
  resources(): Promise<readonly ResourceView[]>;
  devices(resource?: string): Promise<readonly DeviceView[]>;
  plugins(): Promise<readonly PluginView[]>;
  /** Devices that were given back and are not free yet. */
  releases(): Promise<readonly ReleaseView[]>;
  /** Gives a release up: its devices are free without it. */
  deleteRelease(name: string): Promise<void>;
  /** Why a pod got its devices or not. */
  explainPod(namespace: string, name: string): Promise<Explanation>;
  /** Whether a container that asks for this would get it now. */
  explainLimits(limits: Readonly<Record<string, number>>): Promise<Explanation>;
  /** The whole list at once, and again whenever it differs. */
  watchResources(signal: AbortSignal): AsyncIterable<readonly ResourceView[]>;
  watchDevices(resource: string | undefined, signal: AbortSignal): AsyncIterable<readonly DeviceView[]>;
  watchPlugins(signal: AbortSignal): AsyncIterable<readonly PluginView[]>;
  watchReleases(signal: AbortSignal): AsyncIterable<readonly ReleaseView[]>;
  /** `granted` is yielded only when the lease is certain: leaving the loop before gives it up, after does not. */
  lease(request: LeaseRequest, signal: AbortSignal): AsyncIterable<LeaseMessage>;
  attachLease(uid: string, process: { pid: number; startTime: number }): Promise<void>;
  endLease(uid: string, exitCode: number | undefined): Promise<void>;
  version(): Promise<ManagerVersion>;
}

/** A client of the manager whose API socket is at `socketPath`. Connects anew for each call, so it survives restarts of the manager. */
export function createApiClient(socketPath: string): ApiClient {
  const ask = async <T>(method: SocketRequest['method'], path: string, body?: unknown): Promise<T> =>
    (await exchange(socketPath, { method, path, body })).value as T;
  const list = async <T>(path: string): Promise<readonly T[]> =>
    (await ask<{ items: readonly T[] }>('GET', path)).items;
  const watch = <T>(path: string, signal: AbortSignal): AsyncGenerator<WatchEvent<T>, void, undefined> =>
    watchObjects<T>(socketPath, path, signal);

  return {
    listPods: (namespace) => ask('GET', podsPath(namespace)),
    getPod: (namespace, name) => ask('GET', podPath(namespace, name)),
    createPod: (namespace, manifest) => ask('POST', podsPath(namespace), manifest),
    applyPod: async (namespace, manifest) => {
      const path = podPath(namespace, nameOf(manifest));
      const { value, headers } = await exchange(socketPath, { method: 'PUT', path, body: manifest });
      return { pod: value as Pod, outcome: (headers['devmgr-outcome'] ?? 'configured') as ApplyOutcome };
    },
    deletePod: (namespace, name, { gracePeriodSeconds } = {}) =>
      ask('DELETE', podPath(namespace, name) + query({ gracePeriodSeconds })),
    watchPods: (namespace, signal) => watch(podsPath(namespace), signal),
    podLogs: (namespace, name, options) => podLogs(socketPath, podPath(namespace, name), options),
    listNodes: () => ask('GET', '/api/v1/nodes'),
    getNode: (name) => ask('GET', `/api/v1/nodes/${encodeURIComponent(name)}`),
    watchNodes: (signal) => watch('/api/v1/nodes', signal),
    listEvents: (namespace) => ask('GET', namespaced(namespace, 'events')),
    watchEvents: (namespace, signal) => watch(namespaced(namespace, 'events'), signal),
    resources: () => list('/devmgr/v1/resources'),
    devices: (resource) => list(`/devmgr/v1/devices${query({ resource })}`),
    plugins: () => list('/devmgr/v1/plugins'),
    releases: () => list('/devmgr/v1/releases'),
    deleteRelease: async (name) => {
      await ask('DELETE', `/devmgr/v1/releases/${encodeURIComponent(name)}`);
    },
    explainPod: (namespace, name) => ask('GET', `/devmgr/v1/explain${query({ pod: `${namespace}/${name}` })}`),
    explainLimits: (limits) => {
      const wish = Object.entries(limits).map(([resource, count]) => `${resource}=${String(count)}`);
      return ask('GET', `/devmgr/v1/explain${query({ limits: wish.join(',') })}`);
    },
    watchResources: (signal) => watchList(socketPath, `/devmgr/v1/resources${query({ watch: true })}`, signal),
    watchDevices: (resource, signal) =>
      watchList(socketPath, `/devmgr/v1/devices${query({ resource, watch: true })}`, signal),
    watchPlugins: (signal) => watchList(socketPath, `/devmgr/v1/plugins${query({ watch: true })}`, signal),
    watchReleases: (signal) => watchList(socketPath, `/devmgr/v1/releases${query({ watch: true })}`, signal),
    lease: (request, signal) => acquireLease(socketPath, request, signal),
    attachLease: async (uid, process) => {
      await ask('PUT', `/devmgr/v1/leases/${encodeURIComponent(uid)}/process`, process);
    },
    endLease: async (uid, exitCode) => {
      await ask('DELETE', `/devmgr/v1/leases/${encodeURIComponent(uid)}${query({ exitCode })}`);
    },
    version: () => ask('GET', '/devmgr/v1/version'),
  };
}

/** One request and its whole answer. */
async function exchange(
  socketPath: string,
  request: Omit<SocketRequest, 'signal'>,
): Promise<{ value: unknown; headers: Readonly<Record<string, unknown>> }> {
  const timed: SocketRequest = { ...request, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) };
  try {
    const response = await openResponse(socketPath, timed);
    const text = await readText(response, socketPath, timed);
    return { value: JSON.parse(text) as unknown, headers: response.headers };
  } catch (error) {
    if (error instanceof DevmgrError) throw error;
    const { method, path } = request;
    throw timed.signal?.aborted === true
      ? new DevmgrError(
          'DEADLINE_EXCEEDED',
          `${method} ${path}: no answer within ${String(ANSWER_TIMEOUT_MS / 1_000)} s`,
        )
      : new DevmgrError('INTERNAL', `${method} ${path}: the answer is not JSON`, { cause: error });
  }
}

/** JSON lines of a stream; a Status among them is the stream's failure. */
async function* streamLines<T>(socketPath: string, request: SocketRequest): AsyncGenerator<T, void, undefined> {
  const response = await openResponse(socketPath, request);
  for await (const line of parseJsonLines(readChunks(response, socketPath, request))) {
    if (isStatus(line)) throw errorOf(line);
    yield line as T;
  }
}

async function* watchObjects<T>(
  socketPath: string,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  const request: SocketRequest = { method: 'GET', path: path + query({ watch: true }), signal };
  for await (const event of streamLines<WatchEvent<T> | WatchEvent<Status>>(socketPath, request)) {
    if (event.type === 'ERROR') throw errorOf(event.object as Status);
    yield event as WatchEvent<T>;
  }
}

async function* watchList<T>(
  socketPath: string,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<readonly T[], void, undefined> {
  const request: SocketRequest = { method: 'GET', path, signal };
  for await (const { items } of streamLines<{ items: readonly T[] }>(socketPath, request)) yield items;
}

async function* podLogs(
  socketPath: string,
  path: string,
  { container, follow, previous, tailLines, signal }: LogOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const options = query({ container, tailLines, follow: follow || undefined, previous: previous || undefined });
  const request: SocketRequest = { method: 'GET', path: `${path}/log${options}`, signal };
  yield* readChunks(await openResponse(socketPath, request), socketPath, request);
}

async function* acquireLease(
  socketPath: string,
  lease: LeaseRequest,
  signal: AbortSignal,
): AsyncGenerator<LeaseMessage, void, undefined> {
  const request: SocketRequest = { method: 'POST', path: '/devmgr/v1/leases', body: lease, signal };
  // The manager counts a lease as taken once the answer was read to its end, so what is final waits for that.
  let last: LeaseMessage | undefined;
  for await (const message of streamLines<LeaseMessage>(socketPath, request)) {
    if (message.type === 'waiting') yield message;
    else last = message;
  }
  if (last === undefined) {
    throw new DevmgrError('MANAGER_UNREACHABLE', 'the manager ended before it decided about the lease');
  }
  yield last;
}

function namespaced(namespace: string | undefined, kind: string): string {
  return namespace === undefined ? `/api/v1/${kind}` : `/api/v1/namespaces/${encodeURIComponent(namespace)}/${kind}`;
}

function podsPath(namespace: string | undefined): string {
  return namespaced(namespace, 'pods');
}

function podPath(namespace: string, name: string): string {
  return `${podsPath(namespace)}/${encodeURIComponent(name)}`;
}

function query(parameters: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  if (given.length === 0) return '';
  return `?${given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

/** A pod is applied by its name. */
function nameOf(manifest: unknown): string {
  const metadata: unknown =
    typeof manifest === 'object' && manifest !== null && 'metadata' in manifest ? manifest.metadata : undefined;
  const name: unknown =
    typeof metadata === 'object' && metadata !== null && 'name' in metadata ? metadata.name : undefined;
  if (typeof name === 'string' && name !== '') return name;
  throw new DevmgrError('MANIFEST_INVALID', 'metadata.name: Required value: name is required');
}
