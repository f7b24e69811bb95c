import { isJsonObject } from './json-value.ts';
import type { Container, Pod } from './kubernetes.ts';
import type { ContainerKind } from './plan-request.ts';
import { parseQuantity, wholeNumber } from './quantity.ts';
import { isExtendedResourceName } from './resource-name.ts';

/** What one container asks of device plugins. */
export interface ContainerRequest {
  readonly container: string;
  readonly kind: ContainerKind;
  /** Extended resource to whole number, zero included, in the manifest's order. */
  readonly resources: ReadonlyMap<string, number>;
}

/**
 * What each container of a checked pod asks of device plugins, in the order in which devices are given: init containers
 * and sidecars as written, then app containers. Only limits count. Pairs of container and resource that the pod's status
 * maps to a resource claim are left out: DRA serves them. (kubelet: device manager, allocation; KEP-5004)
 */
export function containerRequests(pod: Pod): readonly ContainerRequest[] {
  const claimed = claimedResources(pod);
  const request = (container: Container, kind: ContainerKind): ContainerRequest => ({
    container: container.name,
    kind,
    resources: extendedLimits(container, claimed.get(container.name)),
  });
  return [
    ...(pod.spec.initContainers ?? []).map((container) => request(container, initKind(container))),
    ...pod.spec.containers.map((container) => request(container, 'app')),
  ];
}

/**
 * The most a pod holds of each extended resource at any one time: all app containers and sidecars together, or, when that
 * is more, one init container with the sidecars started before it. (kubelet: device manager, pod-level hints; KEP-753)
 */
export function podRequest(pod: Pod): ReadonlyMap<string, number> {
  const running = new Map<string, number>();
  const peak = new Map<string, number>();
  for (const { kind, resources } of containerRequests(pod)) {
    for (const [resource, count] of resources) {
      const inUse = (running.get(resource) ?? 0) + count;
      if (kind !== 'init') running.set(resource, inUse);
      peak.set(resource, Math.max(peak.get(resource) ?? 0, inUse));
    }
  }
  return peak;
}

function initKind(container: Container): ContainerKind {
  return container.restartPolicy === 'Always' ? 'sidecar' : 'init';
}

function extendedLimits(container: Container, claimed: ReadonlySet<string> | undefined): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  for (const [resource, value] of Object.entries(container.resources?.limits ?? {})) {
    if (!isExtendedResourceName(resource) || claimed?.has(resource) === true) continue;
    const quantity = parseQuantity(value);
    const count = quantity === undefined ? undefined : wholeNumber(quantity);
    if (count !== undefined) limits.set(resource, count);
  }
  return limits;
}

/** Container name to the resources DRA serves. A pod's status comes from outside and is not checked as its spec is. */
function claimedResources(pod: Pod): ReadonlyMap<string, ReadonlySet<string>> {
  const claimed = new Map<string, Set<string>>();
  const mappings: unknown = pod.status?.extendedResourceClaimStatus?.requestMappings;
  for (const mapping of Array.isArray(mappings) ? (mappings as readonly unknown[]) : []) {
    if (!isJsonObject(mapping)) continue;
    const { containerName, resourceName } = mapping;
    if (typeof containerName !== 'string' || typeof resourceName !== 'string') continue;
    const resources = claimed.get(containerName);
    if (resources === undefined) claimed.set(containerName, new Set([resourceName]));
    else resources.add(resourceName);
  }
  return claimed;
}
