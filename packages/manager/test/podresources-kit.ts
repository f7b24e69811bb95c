/** What the tests of the PodResources API share: a real ledger, pods as plain objects, and the API on a real socket. */
import { Ledger, type ContainerKind, type Device, type Pod } from '@devmgr/core';
import { createClient, podresources, podresourcesV1alpha1, type RpcClient } from '@devmgr/wire';
import { onTestFinished } from 'vitest';
import { startPodResources, type PodResourcesEndpoint } from '../src/podresources/pod-resources-server.ts';
import type { Clock } from '../src/ports.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { SilentLog } from './helpers/silent-log.ts';
import { temporaryDirectory } from './helpers/temporary-directory.ts';
import { ManualClock } from './pods-support.ts';

export type V1Client = RpcClient<typeof podresources.PodResourcesListerService>;

export function device(id: string, numaNodes: readonly number[] = [], health = 'Healthy'): Device {
  return { id, health, numaNodes };
}

/** One entry as the API shows it. */
export function entry(resourceName: string, id: string, node?: number): podresources.ContainerDevices {
  const topology = node === undefined ? undefined : { nodes: [{ ID: BigInt(node) }] };
  return { resourceName, deviceIds: [id], topology };
}

export function container(
  name: string,
  devices: readonly podresources.ContainerDevices[] = [],
): podresources.ContainerResources {
  return { name, devices: [...devices], cpuIds: [], memory: [], dynamicResources: [] };
}

export function podResources(
  name: string,
  containers: readonly podresources.ContainerResources[],
  namespace = 'default',
): podresources.PodResources {
  return { name, namespace, containers: [...containers], cpuIds: [], memory: [] };
}

/** A node with pods that hold devices, and its PodResources API. */
export class PodResourcesKit {
  readonly rootDir = temporaryDirectory();
  readonly ledger = new Ledger();
  readonly log = new SilentLog();
  readonly events: { reason: string; message: string }[] = [];
  readonly metrics = createMetrics({
    sources: { resources: () => [], plugins: () => [], pods: () => [], releases: () => [], admissionsWaiting: () => 0 },
    processMetrics: false,
  });
  /** By uid; replace an object to change a pod. */
  readonly pods = new Map<string, Pod>();
  readonly inactive = new Set<string>();
  readonly clock: Clock;
  /** How often the healthy devices were asked for. */
  listings = 0;

  constructor(clock: Clock = new ManualClock()) {
    this.clock = clock;
  }

  async start(): Promise<PodResourcesEndpoint> {
    const { ledger } = this;
    const endpoint = await startPodResources({
      rootDir: this.rootDir,
      source: {
        pods: () => [...this.pods.values()],
        pod: (namespace, name) =>
          [...this.pods.values()].find(({ metadata }) => metadata.namespace === namespace && metadata.name === name),
        isActive: (uid) => !this.inactive.has(uid),
        ledger: {
          get version() {
            return ledger.version;
          },
          get listVersion() {
            return ledger.listVersion;
          },
          containerAllocations: (uid, name) => ledger.containerAllocations(uid, name),
          allocatableDevices: () => {
            this.listings += 1;
            return ledger.allocatableDevices();
          },
        },
      },
      metrics: this.metrics,
      clock: this.clock,
      log: this.log,
      events: (_type, reason, message) => this.events.push({ reason, message }),
    });
    onTestFinished(() => endpoint.close());
    return endpoint;
  }

  client(socketPath: string): V1Client {
    const client = createClient(podresources.PodResourcesListerService, socketPath);
    onTestFinished(() => client.close());
    return client;
  }

  alpha(socketPath: string): RpcClient<typeof podresourcesV1alpha1.PodResourcesListerService> {
    const client = createClient(podresourcesV1alpha1.PodResourcesListerService, socketPath);
    onTestFinished(() => client.close());
    return client;
  }

  /** Adds a pod with app containers `app`, and init containers; sidecars are marked with a trailing `+`. */
  pod(name: string, app: readonly string[], init: readonly string[] = [], phase = 'Running'): Pod {
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', uid: `uid-${name}` },
      spec: {
        initContainers: init.map((text) =>
          text.endsWith('+') ? { name: text.slice(0, -1), restartPolicy: 'Always' } : { name: text },
        ),
        containers: app.map((containerName) => ({ name: containerName })),
      },
      status: { phase: phase as NonNullable<Pod['status']>['phase'] },
    };
    this.pods.set(`uid-${name}`, pod);
    return pod;
  }

  setPhase(name: string, phase: NonNullable<Pod['status']>['phase']): void {
    const pod = this.pods.get(`uid-${name}`);
    if (pod !== undefined) this.pods.set(`uid-${name}`, { ...pod, status: { phase } });
  }

  /** Gives a container the next free devices, as an admission would. */
  allocate(pod: string, containerName: string, resource: string, count: number, kind: ContainerKind = 'app'): void {
    const plan = this.ledger.plan({ podUid: `uid-${pod}`, container: containerName, kind, resource, count });
    const step = plan.next(false);
    if (step.step !== 'allocate') throw new Error(`not allocated: ${JSON.stringify(step)}`);
    plan.commit(new Uint8Array());
  }
}
