import type { Allocation } from './allocation.ts';

type ByResource = Map<string, Allocation>;
type ByContainer = Map<string, ByResource>;

/** Allocations by pod, container and resource; one of each triple. Order is that of recording. */
export class AllocationBook {
  readonly #pods = new Map<string, ByContainer>();
  readonly #perResource = new Map<string, number>();

  get(podUid: string, container: string, resource: string): Allocation | undefined {
    return this.#pods.get(podUid)?.get(container)?.get(resource);
  }

  ofContainer(podUid: string, container: string): readonly Allocation[] {
    return [...(this.#pods.get(podUid)?.get(container)?.values() ?? [])];
  }

  ofPod(podUid: string): readonly Allocation[] {
    const containers = this.#pods.get(podUid);
    return containers === undefined ? [] : [...containers.values()].flatMap((resources) => [...resources.values()]);
  }

  all(): readonly Allocation[] {
    return this.podUids().flatMap((podUid) => this.ofPod(podUid));
  }

  podUids(): readonly string[] {
    return [...this.#pods.keys()];
  }

  /** Resources of which something is recorded, with the number of records (a record without devices counts). */
  get resources(): ReadonlyMap<string, number> {
    return this.#perResource;
  }

  /** Records one; the caller has made sure that its place is empty. */
  add(allocation: Allocation): void {
    let containers = this.#pods.get(allocation.podUid);
    if (containers === undefined)
      this.#pods.set(allocation.podUid, (containers = new Map<string, Map<string, Allocation>>()));
    let resources = containers.get(allocation.container);
    if (resources === undefined) containers.set(allocation.container, (resources = new Map<string, Allocation>()));
    resources.set(allocation.resource, allocation);
    this.#perResource.set(allocation.resource, (this.#perResource.get(allocation.resource) ?? 0) + 1);
  }

  /** Forgets a pod; what was recorded of it. */
  removePod(podUid: string): readonly Allocation[] {
    const removed = this.ofPod(podUid);
    this.#pods.delete(podUid);
    for (const { resource } of removed) {
      const left = (this.#perResource.get(resource) ?? 0) - 1;
      if (left > 0) this.#perResource.set(resource, left);
      else this.#perResource.delete(resource);
    }
    return removed;
  }
}
