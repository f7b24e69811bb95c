import {
  RpcCode,
  RpcError,
  bindService,
  podresources,
  podresourcesV1alpha1,
  type CallContext,
  type ServiceBinding,
} from '@devmgr/wire';
import type { Clock, PodResourcesCall, PodResourcesMetrics, PodResourcesVersion } from '../ports.ts';
import { ConnectionRateLimit } from './connection-rate-limit.ts';
import type { PodResources } from './pod-resources.ts';

export interface PodResourcesServicesOptions {
  readonly answers: PodResources;
  readonly metrics: PodResourcesMetrics;
  readonly clock: Clock;
}

/** Both versions of the API over the same answers. Calls beyond the limit are refused before they are counted as requests, as in the kubelet. */
export function podResourcesServices({ answers, metrics, clock }: PodResourcesServicesOptions): ServiceBinding[] {
  const limit = new ConnectionRateLimit();

  const serve =
    <Request>(version: PodResourcesVersion, call: PodResourcesCall, answer: (request: Request) => Uint8Array) =>
    (request: Request, { connection }: CallContext): Uint8Array => {
      if (!limit.allow(connection, clock.monotonicMs())) {
        metrics.podResourcesRejected();
        throw new RpcError(RpcCode.ResourceExhausted, 'rejected by rate limit');
      }
      metrics.podResourcesRequest(version, call);
      try {
        return answer(request);
      } catch (error) {
        metrics.podResourcesError(version, call);
        throw error;
      }
    };

  return [
    bindService(V1_SERVICE, {
      list: serve('v1', 'list', () => answers.list()),
      get: serve('v1', 'get', ({ podName, podNamespace }: podresources.GetPodResourcesRequest) =>
        answers.get(podName, podNamespace),
      ),
      getAllocatableResources: serve('v1', 'get_allocatable', () => answers.allocatable()),
    }),
    bindService(V1ALPHA1_SERVICE, { list: serve('v1alpha1', 'list', () => answers.listAlpha()) }),
  ];
}

/** Answers are bytes already, so that kept ones are not encoded again. */
const ENCODED = {
  responseSerialize: (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  responseDeserialize: (bytes: Buffer): Uint8Array => bytes,
};
const v1 = podresources.PodResourcesListerService;
const V1_SERVICE = {
  list: { ...v1.list, ...ENCODED },
  get: { ...v1.get, ...ENCODED },
  getAllocatableResources: { ...v1.getAllocatableResources, ...ENCODED },
};
const V1ALPHA1_SERVICE = { list: { ...podresourcesV1alpha1.PodResourcesListerService.list, ...ENCODED } };
