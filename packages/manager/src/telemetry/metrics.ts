import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { isExtendedResourceName, type Pod } from '@devmgr/core';
import type { AdmissionResult, PluginView, PodResourcesMetrics, ReleaseView, ResourceView } from '../ports.ts';
import { METRICS, type MetricName } from './metric-table.ts';
import { podResourcesCounters } from './pod-resources-counters.ts';
import { rejectionReasonLabel } from './rejection-reason.ts';

/** Beyond this many resource names further ones are counted as `other`: names come from plugins, and series are never given back. */
const MAX_RESOURCE_LABELS = 1_000;

/** Where the gauges get their values, asked at each scrape. */
export interface MetricSources {
  readonly resources: () => readonly ResourceView[];
  readonly plugins: () => readonly PluginView[];
  readonly pods: () => readonly Pod[];
  readonly releases: () => readonly Pick<ReleaseView, 'resource' | 'state'>[];
  /** How many admissions wait at the moment. */
  readonly admissionsWaiting: () => number;
}

export type PluginCall = 'Allocate' | 'GetPreferredAllocation' | 'PreStartContainer';

/** What the parts of the daemon report, and the text for a scrape. */
export interface Metrics extends PodResourcesMetrics {
  /** A Register request for `resource` arrived, valid or not. */
  registration(resource: string): void;
  pluginCall(resource: string, call: PluginCall, seconds: number, ok: boolean): void;
  /** One run of a hook for devices that were given back ended. */
  releaseAttempt(resource: string, hook: 'command' | 'plugin', seconds: number, ok: boolean): void;
  /** An admission was decided after `durationMs`. */
  admission(result: AdmissionResult, durationMs: number): void;
  /** A pod was given its devices, or not, after `durationMs` of its turn; `failed` only where a topology policy is in force. */
  topologyAdmission(failed: boolean, durationMs: number): void;
  /** A policy that guarantees alignment to one NUMA node aligned a container or pod, or refused it. */
  aligned(scope: 'container' | 'pod', ok: boolean): void;
  journalAppend(): void;
  stateWriteFailure(): void;
  /** Value of the Content-Type header for {@link render}. */
  readonly contentType: string;
  /** All metrics in Prometheus' text format. Rejects when a source throws. */
  render(): Promise<string>;
}

export interface MetricsOptions {
  readonly sources: MetricSources;
  /** Also the `process_*` and `nodejs_*` metrics of the runtime; true unless set. */
  readonly processMetrics?: boolean;
}

/** Makes the metrics of one manager, in a registry of their own. */
export function createMetrics({ sources, processMetrics = true }: MetricsOptions): Metrics {
  const registry = new Registry();
  if (processMetrics) collectDefaultMetrics({ register: registry });
  addGauges(registry, sources);

  const registrations = new Counter(settings(registry, 'kubelet_device_plugin_registration_total'));
  const allocDuration = new Histogram(settings(registry, 'kubelet_device_plugin_alloc_duration_seconds'));
  const rejections = new Counter(settings(registry, 'kubelet_admission_rejections_total'));
  const callDuration = new Histogram(settings(registry, 'devmgr_plugin_call_duration_seconds'));
  const admissionDuration = new Histogram(settings(registry, 'devmgr_admission_duration_seconds'));
  const topologyRequests = new Counter(settings(registry, 'kubelet_topology_manager_admission_requests_total'));
  const topologyErrors = new Counter(settings(registry, 'kubelet_topology_manager_admission_errors_total'));
  const topologyDuration = new Histogram(settings(registry, 'kubelet_topology_manager_admission_duration_ms'));
  const aligned = new Counter(settings(registry, 'kubelet_container_aligned_compute_resources_count'));
  const notAligned = new Counter(settings(registry, 'kubelet_container_aligned_compute_resources_failure_count'));
  const journalAppends = new Counter(settings(registry, 'devmgr_journal_appends_total'));
  const releaseDuration = new Histogram(settings(registry, 'devmgr_release_attempt_duration_seconds'));
  const stateWriteFailures = new Counter(settings(registry, 'devmgr_state_write_failures_total'));

  const labelled = new Set<string>();
  const resourceLabel = (resource: string): string => {
    if (!isExtendedResourceName(resource)) return 'invalid';
    if (!labelled.has(resource) && labelled.size >= MAX_RESOURCE_LABELS) return 'other';
    labelled.add(resource);
    return resource;
  };

  return {
    registration(resource) {
      registrations.inc({ resource_name: resourceLabel(resource) });
    },
    pluginCall(resource, call, seconds, ok) {
      const label = resourceLabel(resource);
      callDuration.observe({ resource: label, call, result: ok ? 'ok' : 'error' }, seconds);
      if (call === 'Allocate') allocDuration.observe({ resource_name: label }, seconds);
    },
    releaseAttempt(resource, hook, seconds, ok) {
      releaseDuration.observe({ resource: resourceLabel(resource), hook, result: ok ? 'ok' : 'error' }, seconds);
    },
    admission(result, durationMs) {
      admissionDuration.observe({ result: result.ok ? 'admitted' : 'refused' }, durationMs / 1_000);
      if (!result.ok) rejections.inc({ reason: rejectionReasonLabel(result.reason) });
    },
    topologyAdmission(failed, durationMs) {
      topologyRequests.inc();
      topologyDuration.observe(durationMs);
      if (failed) topologyErrors.inc();
    },
    aligned(scope, ok) {
      (ok ? aligned : notAligned).inc({ scope, boundary: 'numa_node' });
    },
    journalAppend() {
      journalAppends.inc();
    },
    stateWriteFailure() {
      stateWriteFailures.inc();
    },
    ...podResourcesCounters((name) => new Counter(settings(registry, name))),
    contentType: registry.contentType,
    render: () => registry.metrics(),
  };
}

/** Gauges are read at the scrape, so that nothing has to keep them up to date and a removed resource leaves no stale series. */
function addGauges(registry: Registry, sources: MetricSources): void {
  gauge(registry, 'devmgr_devices', (set) => {
    for (const { name, healthy, unhealthy, allocated } of sources.resources()) {
      set({ resource: name, state: 'healthy' }, healthy);
      set({ resource: name, state: 'unhealthy' }, unhealthy);
      set({ resource: name, state: 'allocated' }, allocated);
    }
  });
  gauge(registry, 'devmgr_pods', (set) => {
    const counts = new Map<string, number>();
    for (const phase of ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']) counts.set(phase, 0);
    for (const pod of sources.pods()) {
      const phase = pod.status?.phase ?? 'Pending';
      counts.set(phase, (counts.get(phase) ?? 0) + 1);
    }
    for (const [phase, count] of counts) set({ phase }, count);
  });
  gauge(registry, 'devmgr_releases', (set) => {
    const counts = new Map<string, { resource: string; state: string; count: number }>();
    for (const { resource, state } of sources.releases()) {
      const known = counts.get(`${resource} ${state}`) ?? { resource, state: state.toLowerCase(), count: 0 };
      known.count += 1;
      counts.set(`${resource} ${state}`, known);
    }
    for (const { resource, state, count } of counts.values()) set({ resource, state }, count);
  });
  gauge(registry, 'devmgr_plugin_sessions', (set) => {
    const live = new Set(['Connected', 'Connecting', 'Standby']);
    set({}, sources.plugins().filter(({ state }) => live.has(state)).length);
  });
  gauge(registry, 'devmgr_admission_waiting', (set) => {
    set({}, sources.admissionsWaiting());
  });
  gauge(registry, 'plugin_manager_total_plugins', (set) => {
    // As in the kubelet: what is wanted (found in the directory) and what is (connected) are counted apart.
    for (const { origin, endpoint, state } of sources.plugins()) {
      if (origin !== 'watcher') continue;
      set({ socket_path: endpoint, state: 'desired_state_of_world' }, 1);
      if (state !== 'Disconnected') set({ socket_path: endpoint, state: 'actual_state_of_world' }, 1);
    }
  });
}

function gauge(
  registry: Registry,
  name: MetricName,
  collect: (set: (labels: Record<string, string>, value: number) => void) => void,
): void {
  new Gauge<string>({
    ...settings(registry, name),
    collect() {
      this.reset();
      collect((labels, value) => {
        this.set(labels, value);
      });
    },
  });
}

function settings(
  registry: Registry,
  name: MetricName,
): { name: string; help: string; labelNames: string[]; registers: Registry[]; buckets?: number[] } {
  const description = METRICS[name];
  return {
    name,
    help: description.help,
    labelNames: [...description.labels],
    registers: [registry],
    ...('buckets' in description ? { buckets: [...description.buckets] } : {}),
  };
}
