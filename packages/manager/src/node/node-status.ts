import { randomUUID } from 'node:crypto';
import { arch, platform, release } from 'node:os';
import type { Condition, Node } from '@devmgr/core';
import type { Clock, InventoryService, NodeService, VersionCounter, WatchListener } from '../ports.ts';

/** How long changes are gathered before watchers hear of them; reading the node never waits. */
const COALESCE_MS = 50;
const READY_REASON = 'DeviceManagerReady';
const NOT_READY_REASON = 'DeviceManagerNotReady';

export interface NodeStatusOptions {
  readonly nodeName: string;
  readonly inventory: InventoryService;
  readonly clock: Clock;
  readonly versions: VersionCounter;
  /** Version of devmgr, shown where a node names its kubelet's. */
  readonly version: string;
  /** Why the manager cannot serve plugins, in one line; undefined when all is well. */
  readonly problem?: () => string | undefined;
}

/**
 * The v1 Node of this manager. Capacity and allocatable are what the inventory says (kubelet: node status, device plugin
 * resources), with one difference: a resource that was removed leaves both maps instead of staying at 0 for good.
 *
 * Invariants:
 * - `#node` is what watchers were told last; it is replaced, never changed.
 * - A new version is given out only when capacity, allocatable or a condition differ.
 */
export class NodeStatus implements NodeService {
  readonly #options: NodeStatusOptions;
  readonly #listeners = new Set<WatchListener<Node>>();
  readonly #stopListening: () => void;
  #node: Node;
  #cancelRefresh: (() => void) | undefined;

  constructor(options: NodeStatusOptions) {
    this.#options = options;
    const { nodeName, versions, clock, version } = options;
    this.#node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: nodeName,
        uid: randomUUID(),
        resourceVersion: versions.next(),
        creationTimestamp: new Date(clock.now()).toISOString(),
        labels: { 'kubernetes.io/hostname': nodeName, 'kubernetes.io/os': osName(), 'kubernetes.io/arch': archName() },
      },
      spec: {},
      status: {
        ...this.#quantities(),
        conditions: [this.#readyCondition(undefined)],
        nodeInfo: {
          operatingSystem: osName(),
          architecture: archName(),
          kernelVersion: release(),
          kubeletVersion: `devmgr/${version}`,
        },
      },
    };
    this.#stopListening = options.inventory.onChange(() => {
      this.#scheduleRefresh();
    });
  }

  /** The node as it is now; watchers learn of a difference at the same moment. */
  get(): Node {
    this.#refresh();
    return this.#node;
  }

  watch(listener: WatchListener<Node>): () => void {
    const own: WatchListener<Node> = (event) => {
      listener(event);
    };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** Stops following the inventory; idempotent. */
  close(): void {
    this.#stopListening();
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
  }

  #scheduleRefresh(): void {
    this.#cancelRefresh ??= this.#options.clock.setTimeout(() => {
      this.#refresh();
    }, COALESCE_MS);
  }

  #refresh(): void {
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
    const { status, metadata } = this.#node;
    const { capacity, allocatable } = this.#quantities();
    const ready = this.#readyCondition(status.conditions[0]);
    if (
      equalMaps(capacity, status.capacity) &&
      equalMaps(allocatable, status.allocatable) &&
      ready === status.conditions[0]
    ) {
      return;
    }
    this.#node = {
      ...this.#node,
      metadata: { ...metadata, resourceVersion: this.#options.versions.next() },
      status: { ...status, capacity, allocatable, conditions: [ready] },
    };
    for (const listener of [...this.#listeners]) listener({ type: 'MODIFIED', object: this.#node });
  }

  #quantities(): { capacity: Record<string, string>; allocatable: Record<string, string> } {
    const capacity: Record<string, string> = {};
    const allocatable: Record<string, string> = {};
    for (const resource of this.#options.inventory.resources()) {
      capacity[resource.name] = String(resource.capacity);
      allocatable[resource.name] = String(resource.allocatable);
    }
    return { capacity, allocatable };
  }

  /** The previous condition itself when nothing about it differs. */
  #readyCondition(previous: Condition | undefined): Condition {
    const problem = this.#options.problem?.();
    const status = problem === undefined ? 'True' : 'False';
    const message = problem ?? 'devmgr serves device plugins and admits pods';
    if (previous?.status === status && previous.message === message) return previous;
    return {
      type: 'Ready',
      status,
      reason: problem === undefined ? READY_REASON : NOT_READY_REASON,
      message,
      lastTransitionTime:
        previous?.status === status ? previous.lastTransitionTime : new Date(this.#options.clock.now()).toISOString(),
    };
  }
}

function equalMaps(left: Record<string, string>, right: Record<string, string>): boolean {
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => left[key] === right[key]);
}

/** Go's name for the operating system, as Kubernetes' labels use. */
function osName(): string {
  return platform() === 'win32' ? 'windows' : platform();
}

/** Go's name for the processor architecture. */
function archName(): string {
  const names: Partial<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return names[arch()] ?? arch();
}
