import {
  decodeRecord,
  encodeRecordBody,
  numberRecord,
  type Allocation,
  type CheckpointData,
  type CheckpointEndpoint,
  type CheckpointEntry,
  type CheckpointExtension,
  type Pod,
  type Release,
} from '@devmgr/core';
import type { SnapshotSource, StateRecord } from '../ports.ts';

/** Records about devices are what a checkpoint holds; records about pods are kept apart from it. */
export function isPodRecord(record: StateRecord): boolean {
  return record.type === 'pod' || record.type === 'pod-deleted';
}

/**
 * The state as it is on disk: what follows from the records written so far and nothing else. Snapshots are made from it,
 * not from the daemon's memory, which may already hold what is still being written and may yet fail to be.
 */
export class StateImage {
  readonly #allocations = new Map<string, readonly Allocation[]>();
  readonly #resources = new Map<string, CheckpointEndpoint>();
  /** Resources whose plugins ask for releases; kept beyond the resource, for what is still held of it. */
  readonly #releaseRequired = new Set<string>();
  readonly #releases = new Map<string, Release>();
  /** As text, by uid: the objects belong to others, who may change them before their next record is written. */
  readonly #pods = new Map<string, string>();

  /** `body` is the record's text when it was made already. */
  apply(record: StateRecord, body?: string): void {
    switch (record.type) {
      case 'allocated':
        this.#allocations.set(record.podUid, record.allocations);
        break;
      case 'released':
        this.#allocations.delete(record.podUid);
        for (const release of record.releases ?? []) this.#releases.set(release.id, release);
        break;
      case 'release':
        this.#releases.set(record.release.id, record.release);
        break;
      case 'release-ended':
        this.#releases.delete(record.id);
        break;
      case 'resource':
        this.#resources.set(record.resource, {
          endpoint: record.endpoint,
          preStartRequired: record.preStartRequired,
        });
        if (record.releaseRequired === true) this.#releaseRequired.add(record.resource);
        else this.#releaseRequired.delete(record.resource);
        break;
      case 'resource-removed':
        this.#resources.delete(record.resource);
        break;
      case 'pod':
        this.#pods.set(record.pod.metadata.uid ?? '', body ?? encodeRecordBody(record));
        break;
      case 'pod-deleted':
        this.#pods.delete(record.podUid);
        break;
    }
  }

  allocations(): readonly Allocation[] {
    return [...this.#allocations.values()].flat();
  }

  resources(): readonly ({ readonly resource: string } & CheckpointEndpoint)[] {
    return [...this.#resources].map(([resource, endpoint]) => ({ resource, ...endpoint }));
  }

  releases(): readonly Release[] {
    return [...this.#releases.values()];
  }

  /** Of the resources that are known, or of which something is held or being released. */
  releaseRequired(): readonly string[] {
    if (this.#releaseRequired.size === 0) return [];
    const inUse = new Set([...this.allocations(), ...this.releases()].map(({ resource }) => resource));
    return [...this.#releaseRequired].filter((resource) => this.#resources.has(resource) || inUse.has(resource));
  }

  /** In the order in which they were first written. */
  pods(): readonly Pod[] {
    return this.podRecords(0).flatMap((text) => {
      const record = decodeRecord(text)?.record;
      return record?.type === 'pod' ? [record.pod] : [];
    });
  }

  /** The texts of the records that make the pods, all with one number. */
  podRecords(sequence: number): readonly string[] {
    return [...this.#pods.values()].map((body) => numberRecord(sequence, body));
  }

  /** Takes over what a checkpoint holds. */
  loadCheckpoint(
    allocations: readonly Allocation[],
    resources: ReadonlyMap<string, CheckpointEndpoint>,
    { releases = [], releaseRequired = [] }: Pick<CheckpointExtension, 'releases' | 'releaseRequired'> = {},
  ): void {
    for (const release of releases) this.#releases.set(release.id, release);
    for (const resource of releaseRequired) this.#releaseRequired.add(resource);
    for (const [podUid, ofPod] of groupByPod(allocations)) this.#allocations.set(podUid, ofPod);
    for (const [resource, endpoint] of resources) this.#resources.set(resource, endpoint);
  }

  /** What a checkpoint of this state says; `live` adds what only the running daemon knows, the ids healthy now. */
  toCheckpoint(live?: Pick<SnapshotSource, 'resources'>): {
    data: CheckpointData;
    endpoints: ReadonlyMap<string, CheckpointEndpoint>;
    releases: readonly Release[];
    releaseRequired: readonly string[];
  } {
    const endpoints = new Map(this.#resources);
    const registered = new Map<string, readonly string[]>(
      [...this.#resources.keys()].map((resource) => [resource, []]),
    );
    for (const { resource, healthyIds, endpoint, preStartRequired } of live?.resources() ?? []) {
      registered.set(resource, healthyIds);
      endpoints.set(resource, { endpoint, preStartRequired });
    }
    return {
      data: { entries: this.allocations().map(toEntry), registered },
      endpoints,
      releases: this.releases(),
      releaseRequired: this.releaseRequired(),
    };
  }
}

function toEntry(allocation: Allocation): CheckpointEntry {
  const { podUid, container, resource, deviceIds, response } = allocation;
  return { podUid, container, resource, devices: deviceIds, response };
}

function groupByPod(allocations: readonly Allocation[]): ReadonlyMap<string, readonly Allocation[]> {
  const byPod = new Map<string, Allocation[]>();
  for (const allocation of allocations) {
    const ofPod = byPod.get(allocation.podUid);
    if (ofPod === undefined) byPod.set(allocation.podUid, [allocation]);
    else ofPod.push(allocation);
  }
  return byPod;
}
