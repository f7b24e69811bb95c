import type { Counter } from 'prom-client';
import type { PodResourcesCall, PodResourcesMetrics } from '../ports.ts';
import type { MetricName } from './metric-table.ts';

const CALLS: readonly PodResourcesCall[] = ['list', 'get', 'get_allocatable'];

/**
 * The counters of the PodResources API. Those of v1 are there from the start, as zeros: an alert on errors needs a series
 * before the first one. A List of v1alpha1 is in the total alone. (kubelet: podresources metrics)
 */
export function podResourcesCounters(counter: (name: MetricName) => Counter): PodResourcesMetrics {
  const total = counter('kubelet_pod_resources_endpoint_requests_total');
  const rejected = counter('devmgr_pod_resources_rejected_total');
  const of = (kind: 'requests' | 'errors'): Record<PodResourcesCall, Counter> => ({
    list: counter(`kubelet_pod_resources_endpoint_${kind}_list`),
    get: counter(`kubelet_pod_resources_endpoint_${kind}_get`),
    get_allocatable: counter(`kubelet_pod_resources_endpoint_${kind}_get_allocatable`),
  });
  const requests = of('requests');
  const errors = of('errors');
  const v1 = { server_api_version: 'v1' };
  for (const each of [total, ...CALLS.flatMap((call) => [requests[call], errors[call]])]) each.inc(v1, 0);

  return {
    podResourcesRequest(version, call) {
      total.inc({ server_api_version: version });
      if (version === 'v1') requests[call].inc(v1);
    },
    podResourcesError(version, call) {
      if (version === 'v1') errors[call].inc(v1);
    },
    podResourcesRejected() {
      rejected.inc();
    },
  };
}
