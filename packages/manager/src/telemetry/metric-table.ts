/** One metric of `/metrics`. */
export interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram in the metric's unit; Prometheus' defaults (5 ms to 10 s) unless given. */
  readonly buckets?: readonly number[];
}

/**
 * Every metric devmgr exports besides the `process_*` and `nodejs_*` ones of its runtime. Names that start with
 * `kubelet_` or `plugin_manager_` are the kubelet's, with its labels (kubelet: metrics). `docs/metrics.md` is this table
 * for people; a test holds the two together.
 */
export const METRICS = {
  devmgr_admission_duration_seconds: {
    type: 'histogram',
    help: 'Time from the start of a pod admission to its decision, waiting included.',
    labels: ['result'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
  },
  devmgr_admission_waiting: {
    type: 'gauge',
    help: 'Pods whose admission is waiting for device plugins or for devices to be released.',
    labels: [],
  },
  devmgr_devices: {
    type: 'gauge',
    help: 'Devices of a resource by state: healthy and unhealthy add up to the capacity, allocated overlaps both.',
    labels: ['resource', 'state'],
  },
  devmgr_journal_appends_total: {
    type: 'counter',
    help: 'Records made durable in the journal.',
    labels: [],
  },
  devmgr_plugin_call_duration_seconds: {
    type: 'histogram',
    help: 'Duration of calls to device plugins.',
    labels: ['resource', 'call', 'result'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  devmgr_plugin_sessions: {
    type: 'gauge',
    help: 'Live connections to device plugins.',
    labels: [],
  },
  devmgr_pod_resources_rejected_total: {
    type: 'counter',
    help: 'Calls of the PodResources API that were refused by the rate limit; they are in no other counter.',
    labels: [],
  },
  devmgr_pods: {
    type: 'gauge',
    help: 'Pods of this manager by phase.',
    labels: ['phase'],
  },
  devmgr_release_attempt_duration_seconds: {
    type: 'histogram',
    help: 'Duration of hooks that release devices which were given back, a run at a time.',
    labels: ['resource', 'hook', 'result'],
    buckets: [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300],
  },
  devmgr_releases: {
    type: 'gauge',
    help: 'Releases under way by state; each names the devices of one allocation.',
    labels: ['resource', 'state'],
  },
  devmgr_state_write_failures_total: {
    type: 'counter',
    help: 'Records and snapshots that could not be made durable.',
    labels: [],
  },
  kubelet_admission_rejections_total: {
    type: 'counter',
    help: 'Pods refused by admission, by reason.',
    labels: ['reason'],
  },
  kubelet_container_aligned_compute_resources_count: {
    type: 'counter',
    help: 'Containers (or pods, by scope) that were given devices of a single NUMA node, under the policy that guarantees it.',
    labels: ['scope', 'boundary'],
  },
  kubelet_container_aligned_compute_resources_failure_count: {
    type: 'counter',
    help: 'Containers (or pods, by scope) refused because no single NUMA node has what they ask for.',
    labels: ['scope', 'boundary'],
  },
  kubelet_device_plugin_alloc_duration_seconds: {
    type: 'histogram',
    help: 'Duration in seconds to serve a device plugin Allocation request.',
    labels: ['resource_name'],
  },
  kubelet_device_plugin_registration_total: {
    type: 'counter',
    help: 'Device plugin registrations, by resource name; names that are not valid are counted as "invalid".',
    labels: ['resource_name'],
  },
  kubelet_pod_resources_endpoint_errors_get: {
    type: 'counter',
    help: 'Get calls of the PodResources API that were answered with an error.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_errors_get_allocatable: {
    type: 'counter',
    help: 'GetAllocatableResources calls of the PodResources API that were answered with an error.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_errors_list: {
    type: 'counter',
    help: 'List calls of the PodResources API that were answered with an error.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_requests_get: {
    type: 'counter',
    help: 'Get calls of the PodResources API.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_requests_get_allocatable: {
    type: 'counter',
    help: 'GetAllocatableResources calls of the PodResources API.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_requests_list: {
    type: 'counter',
    help: 'List calls of the PodResources API; those of v1alpha1 are in the total alone.',
    labels: ['server_api_version'],
  },
  kubelet_pod_resources_endpoint_requests_total: {
    type: 'counter',
    help: 'Calls of the PodResources API.',
    labels: ['server_api_version'],
  },
  kubelet_topology_manager_admission_duration_ms: {
    type: 'histogram',
    help: 'Duration in milliseconds of giving a pod its devices once it has its turn, hints and plugin calls included.',
    labels: [],
    buckets: Array.from({ length: 15 }, (_, power) => 0.05 * 2 ** power),
  },
  kubelet_topology_manager_admission_errors_total: {
    type: 'counter',
    help: 'Pods a topology policy refused, or whose allocation failed under one.',
    labels: [],
  },
  kubelet_topology_manager_admission_requests_total: {
    type: 'counter',
    help: 'Pods whose alignment to NUMA nodes was decided; every pod that had its turn, also with the policy none.',
    labels: [],
  },
  plugin_manager_total_plugins: {
    type: 'gauge',
    help: 'Plugins found through the plugin registry directory, by socket and state of the world.',
    labels: ['socket_path', 'state'],
  },
} as const satisfies Record<string, MetricDescription>;

export type MetricName = keyof typeof METRICS;
