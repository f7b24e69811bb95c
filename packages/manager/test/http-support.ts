import { request, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { concludeExplanation, DevmgrError, type Explanation, type Node, type Pod } from '@devmgr/core';
import { onTestFinished } from 'vitest';
import { startApi, type ApiOptions, type ApiServer } from '../src/http/server.ts';
import type {
  DeviceView,
  ExplainService,
  InventoryService,
  LeaseMessage,
  LeaseRequest,
  LeaseService,
  LogOptions,
  NodeService,
  PluginView,
  ReleaseView,
  PodService,
  ResourceView,
  WatchListener,
} from '../src/ports.ts';
import { EventRecorder } from '../src/events.ts';
import { SystemClock } from '../src/system-clock.ts';
import { createHealth } from '../src/telemetry/health.ts';
import { createVersionCounter } from '../src/version-counter.ts';
import { SilentLog } from './helpers/silent-log.ts';
import { temporaryDirectory } from './helpers/temporary-directory.ts';

/** Who listens to a kind of object. */
class Watchers<T> {
  readonly listeners = new Set<WatchListener<T>>();

  watch(listener: WatchListener<T>): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  tell(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void {
    for (const listener of [...this.listeners]) listener({ type, object });
  }
}

/** Pods in memory: they are Pending for ever and have the log they are given. */
export class MemoryPods implements PodService {
  readonly watchers = new Watchers<Pod>();
  readonly pods = new Map<string, Pod>();
  /** What `logs` yields; the default ends at once. */
  log: (options: LogOptions) => AsyncIterable<Uint8Array> = async function* () {
    // Nothing was written.
  };
  removedWith: { gracePeriodSeconds?: number } | undefined;
  #uids = 0;

  async create(namespace: string, manifest: unknown): Promise<Pod> {
    const given = manifest as Partial<Pod>;
    const name = given.metadata?.name ?? '';
    if (given.kind !== 'Pod' || name === '') throw new DevmgrError('MANIFEST_INVALID', 'metadata.name: Required value');
    if (this.pods.has(`${namespace}/${name}`)) throw new DevmgrError('ALREADY_EXISTS', `pods "${name}" already exists`);
    this.#uids += 1;
    const pod: Pod = {
      ...given,
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...given.metadata, name, namespace, uid: `uid-${String(this.#uids)}`, resourceVersion: '1' },
      spec: given.spec ?? { containers: [] },
      status: { phase: 'Pending' },
    };
    this.put('ADDED', pod);
    return pod;
  }

  async apply(namespace: string, manifest: unknown): Promise<{ pod: Pod; outcome: 'created' | 'unchanged' }> {
    const pod = this.pods.get(`${namespace}/${(manifest as Pod).metadata.name}`);
    if (pod) return { pod, outcome: 'unchanged' };
    return { pod: await this.create(namespace, manifest), outcome: 'created' };
  }

  get(namespace: string, name: string): Pod | undefined {
    return this.pods.get(`${namespace}/${name}`);
  }

  list(namespace?: string): readonly Pod[] {
    return [...this.pods.values()].filter((pod) => namespace === undefined || pod.metadata.namespace === namespace);
  }

  async remove(namespace: string, name: string, options: { gracePeriodSeconds?: number }): Promise<Pod> {
    const pod = this.get(namespace, name);
    if (!pod) throw new DevmgrError('NOT_FOUND', `pods "${name}" not found`);
    this.removedWith = options;
    this.pods.delete(`${namespace}/${name}`);
    this.watchers.tell('DELETED', pod);
    return { ...pod, metadata: { ...pod.metadata, deletionTimestamp: new Date().toISOString() } };
  }

  watch(listener: WatchListener<Pod>): () => void {
    return this.watchers.watch(listener);
  }

  logs(_namespace: string, _name: string, options: LogOptions): AsyncIterable<Uint8Array> {
    return this.log(options);
  }

  put(type: 'ADDED' | 'MODIFIED', pod: Pod): void {
    this.pods.set(`${String(pod.metadata.namespace)}/${pod.metadata.name}`, pod);
    this.watchers.tell(type, pod);
  }
}

/** Leases that do what the test says and note what they are told. */
export class MemoryLeases implements LeaseService {
  readonly requests: LeaseRequest[] = [];
  readonly attached: unknown[] = [];
  readonly ended: { uid: string; exitCode: number | undefined }[] = [];
  readonly aborted: LeaseRequest[] = [];
  script: (signal: AbortSignal) => AsyncIterable<LeaseMessage> = async function* () {
    yield { type: 'granted', uid: 'lease-1', name: 'lease', env: { A: '1' }, devices: {}, devicePaths: [] };
  };

  acquire(request: LeaseRequest, signal: AbortSignal): AsyncIterable<LeaseMessage> {
    this.requests.push(request);
    signal.addEventListener('abort', () => this.aborted.push(request), { once: true });
    return this.script(signal);
  }

  async attach(uid: string, process: { pid: number; startTime: number }): Promise<void> {
    this.attached.push({ uid, ...process });
  }

  async end(uid: string, exitCode: number | undefined): Promise<void> {
    this.ended.push({ uid, exitCode });
  }
}

/** An inventory whose lists the test sets. */
export class MemoryInventory implements InventoryService {
  readonly listeners = new Set<() => void>();
  resourceList: readonly ResourceView[] = [];
  deviceList: readonly DeviceView[] = [];
  pluginList: readonly PluginView[] = [];
  releaseList: readonly ReleaseView[] = [];

  resources(): readonly ResourceView[] {
    return this.resourceList;
  }

  devices(resource?: string): readonly DeviceView[] {
    return this.deviceList.filter((device) => resource === undefined || device.resource === resource);
  }

  plugins(): readonly PluginView[] {
    return this.pluginList;
  }

  releases(): readonly ReleaseView[] {
    return this.releaseList;
  }

  async forgetRelease(name: string): Promise<void> {
    if (!this.releaseList.some((release) => release.name === name)) {
      throw new DevmgrError('NOT_FOUND', `releases "${name}" not found`);
    }
    this.releaseList = this.releaseList.filter((release) => release.name !== name);
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  setResources(...resources: readonly ResourceView[]): void {
    this.resourceList = resources;
    for (const listener of [...this.listeners]) listener();
  }
}

/** Explains whatever it is asked, and notes what that was. */
export class MemoryExplain implements ExplainService {
  readonly asked: unknown[] = [];

  explainPod(namespace: string, name: string): Explanation {
    this.asked.push({ namespace, name });
    return this.#explanation();
  }

  explainLimits(limits: Readonly<Record<string, number>>): Explanation {
    this.asked.push(limits);
    return this.#explanation();
  }

  #explanation(): Explanation {
    const none = { reason: null, message: null, decidedAt: null, requests: [], fitsNow: null, resources: [] };
    return concludeExplanation({
      ...none,
      source: 'now',
      pod: null,
      verdict: 'WouldFit',
      topology: null,
      now: [],
      knownResources: [],
    });
  }
}

export class MemoryNode implements NodeService {
  readonly watchers = new Watchers<Node>();
  node: Node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'here', resourceVersion: '1' },
    status: { capacity: {}, allocatable: {}, conditions: [] },
  };

  get(): Node {
    return this.node;
  }

  watch(listener: WatchListener<Node>): () => void {
    return this.watchers.watch(listener);
  }
}

export function resourceView(name: string, capacity: number, changes: Partial<ResourceView> = {}): ResourceView {
  return {
    name,
    capacity,
    allocatable: capacity,
    allocated: 0,
    healthy: capacity,
    unhealthy: 0,
    plugin: null,
    ...changes,
  };
}

export function podManifest(name: string, changes: Partial<Pod['metadata']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...changes },
    spec: { containers: [{ name: 'main', command: ['true'] }] },
  };
}

export interface TestApi {
  readonly api: ApiServer;
  readonly socketPath: string;
  readonly pods: MemoryPods;
  readonly leases: MemoryLeases;
  readonly inventory: MemoryInventory;
  readonly explain: MemoryExplain;
  readonly node: MemoryNode;
  readonly events: EventRecorder;
  readonly log: SilentLog;
}

/** A server on a real socket over services in memory; gone when the test ends. */
export async function startTestApi(options: Partial<ApiOptions> = {}): Promise<TestApi> {
  const log = new SilentLog();
  const clock = new SystemClock();
  const versions = createVersionCounter();
  const pods = new MemoryPods();
  const leases = new MemoryLeases();
  const inventory = new MemoryInventory();
  const explain = new MemoryExplain();
  const node = new MemoryNode();
  const events = new EventRecorder({ clock, versions, nodeName: 'here', source: 'devmgr' });
  const socketPath = options.socketPath ?? join(temporaryDirectory(), 'api.sock');
  const api = await startApi({
    socketPath,
    pods,
    leases,
    inventory,
    explain,
    node,
    events,
    versions,
    clock,
    metrics: { contentType: 'text/plain; version=0.0.4; charset=utf-8', render: async () => 'devmgr_test 1\n' },
    health: createHealth({ checks: [] }),
    version: '1.2.3',
    log,
    ...options,
  });
  onTestFinished(() => api.close());
  return { api, socketPath, pods, leases, inventory, explain, node, events, log };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body. */
  readonly body: unknown;
}

/** One plain HTTP request over the unix socket, or to `address`. */
export async function call(
  target: string | { address: string },
  method: string,
  path: string,
  options: { body?: string | Uint8Array; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const where = typeof target === 'string' ? { socketPath: target, path } : urlParts(target.address, path);
  const headers = { ...options.headers };
  // Node would send the body of a DELETE without saying that there is one.
  if (options.body !== undefined && headers['transfer-encoding'] === undefined) {
    headers['content-length'] = String(Buffer.byteLength(options.body));
  }
  return await new Promise<Answer>((resolve, reject) => {
    const outgoing = request({ ...where, method, agent: false, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: parsed(text) });
      });
    });
    outgoing.once('error', reject);
    outgoing.end(options.body);
  });
}

function urlParts(address: string, path: string): { host: string; port: string; path: string } {
  const { hostname, port } = new URL(address);
  return { host: hostname.replaceAll(/[[\]]/g, ''), port, path };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** A raw connection that keeps what it receives; destroyed when the test ends. */
export async function rawConnection(
  socketPath: string,
): Promise<{ socket: Socket; received: () => string; closed: () => boolean }> {
  const socket = connect(socketPath);
  let received = '';
  let closed = false;
  socket.on('data', (chunk) => (received += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.once('close', () => (closed = true));
  onTestFinished(() => void socket.destroy());
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  return { socket, received: () => received, closed: () => closed };
}
