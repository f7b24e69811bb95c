import type { Container, Pod } from '@devmgr/core';
import { podresources, podresourcesV1alpha1 } from '@devmgr/wire';
import type { PodResourcesSource } from '../ports.ts';
import { allocatedEntries } from './container-devices.ts';
import { encodeListedDevices } from './listed-devices.ts';

/** Answers as they go over the wire. */
type Bytes = Uint8Array;

/** What an answer was made of, and the answer. */
interface Kept {
  readonly pods: readonly Pod[];
  readonly version: number;
  readonly bytes: Bytes;
}

/**
 * The answers of the PodResources API, encoded. Agents poll, mostly while nothing changes: an answer is kept until
 * something it is made of changes. (Pods are immutable objects, so the same objects and the same version of the ledger
 * mean the same answer.)
 *
 * Exclusive CPUs, memory and dynamic resources are never part of an answer: devmgr hands out devices alone.
 */
export class PodResources {
  readonly #source: PodResourcesSource;
  #list: Kept | undefined;
  #listAlpha: Kept | undefined;
  #allocatable: { readonly version: number; readonly bytes: Bytes } | undefined;

  constructor(source: PodResourcesSource) {
    this.#source = source;
  }

  /** v1 List: the active pods, with or without devices. (kubelet: gate KubeletPodResourcesListUseActivePods) */
  list(): Bytes {
    const pods = this.#source.pods().filter((pod) => this.#isActive(pod));
    this.#list = this.#keep(this.#list, pods, () =>
      podresources.ListPodResourcesResponse.encode({
        podResources: pods.map((pod) => this.#podResources(pod)),
      }).finish(),
    );
    return this.#list.bytes;
  }

  /**
   * v1 Get: the same for one active pod.
   *
   * @throws Error with the kubelet's text when there is none.
   */
  get(name: string, namespace: string): Bytes {
    const pod = this.#source.pod(namespace, name);
    if (pod === undefined || !this.#isActive(pod)) {
      throw new Error(`pod ${name} in namespace ${namespace} not found`);
    }
    return podresources.GetPodResourcesResponse.encode({ podResources: this.#podResources(pod) }).finish();
  }

  /** v1 GetAllocatableResources: every healthy device, held or free. */
  allocatable(): Bytes {
    const { ledger } = this.#source;
    if (this.#allocatable?.version === ledger.listVersion) return this.#allocatable.bytes;
    // The elements of a repeated field may be encoded apart and put one after another.
    const parts = [...ledger.allocatableDevices()].map(([resource, devices]) => encodeListedDevices(resource, devices));
    const bytes = Buffer.concat(parts);
    this.#allocatable = { version: ledger.listVersion, bytes };
    return bytes;
  }

  /** v1alpha1 List: every pod there is, app containers alone, nothing said of NUMA nodes. */
  listAlpha(): Bytes {
    const pods = this.#source.pods();
    this.#listAlpha = this.#keep(this.#listAlpha, pods, () =>
      podresourcesV1alpha1.ListPodResourcesResponse.encode({
        podResources: pods.map((pod) => ({
          ...namesOf(pod),
          containers: pod.spec.containers.map(({ name }) => ({ name, devices: this.#devices(pod, name) })),
        })),
      }).finish(),
    );
    return this.#listAlpha.bytes;
  }

  /** Sidecars in the order written, then app containers; ordinary init containers never. */
  #podResources(pod: Pod): podresources.PodResources {
    const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
    const containers = [...sidecars, ...pod.spec.containers].map((container) =>
      this.#containerResources(pod, container),
    );
    return { ...namesOf(pod), containers, cpuIds: [], memory: [] };
  }

  #containerResources(pod: Pod, { name }: Container): podresources.ContainerResources {
    return { name, devices: this.#devices(pod, name), cpuIds: [], memory: [], dynamicResources: [] };
  }

  #devices(pod: Pod, container: string): podresources.ContainerDevices[] {
    return allocatedEntries(this.#source.ledger.containerAllocations(uidOf(pod), container));
  }

  /** A pod that is over does not count although its devices may still be on their way back. (kubelet: filterOutInactivePods) */
  #isActive(pod: Pod): boolean {
    const phase = pod.status?.phase;
    return phase !== 'Succeeded' && phase !== 'Failed' && this.#source.isActive(uidOf(pod));
  }

  #keep(kept: Kept | undefined, pods: readonly Pod[], encode: () => Bytes): Kept {
    const { version } = this.#source.ledger;
    if (kept?.version === version && sameItems(kept.pods, pods)) return kept;
    return { pods, version, bytes: encode() };
  }
}

function namesOf({ metadata }: Pod): { name: string; namespace: string } {
  return { name: metadata.name, namespace: metadata.namespace ?? 'default' };
}

function uidOf({ metadata }: Pod): string {
  return metadata.uid ?? '';
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
