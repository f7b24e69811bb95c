import type { NumaAffinity } from './affinity.ts';

/** `init` is an ordinary init container, `sidecar` a restartable one (`restartPolicy: Always`), `app` all others. */
export type ContainerKind = 'init' | 'sidecar' | 'app';

/** One container's wish for devices of one resource. */
export interface PlanRequest {
  readonly podUid: string;
  readonly container: string;
  readonly kind: ContainerKind;
  readonly resource: string;
  /** Devices wanted: the container's limit, a whole number that is not negative. */
  readonly count: number;
  /** NUMA nodes to choose from first; null or absent without a hint. */
  readonly affinity?: NumaAffinity | null;
}
