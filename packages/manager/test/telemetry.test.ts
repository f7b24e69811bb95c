import { describe, expect, it, vi, onTestFinished } from 'vitest';
import type { Pod } from '@devmgr/core';
import type { PluginView, ReleaseView, ResourceView } from '../src/ports.ts';
import { SystemClock } from '../src/system-clock.ts';
import { createHealth } from '../src/telemetry/health.ts';
import { createLog } from '../src/telemetry/log.ts';
import { METRICS } from '../src/telemetry/metric-table.ts';
import { createMetrics, type Metrics } from '../src/telemetry/metrics.ts';
import { podManifest, resourceView } from './http-support.ts';

interface Sources {
  resources: ResourceView[];
  plugins: PluginView[];
  pods: Pod[];
  waiting: number;
  releases: Pick<ReleaseView, 'resource' | 'state'>[];
}

function metricsOver(sources: Partial<Sources> = {}): { metrics: Metrics; sources: Sources } {
  const all: Sources = { resources: [], plugins: [], pods: [], waiting: 0, releases: [], ...sources };
  const metrics = createMetrics({
    processMetrics: false,
    sources: {
      resources: () => all.resources,
      plugins: () => all.plugins,
      pods: () => all.pods,
      releases: () => all.releases,
      admissionsWaiting: () => all.waiting,
    },
  });
  return { metrics, sources: all };
}

/** Lines of the metric, without comments. */
async function samples(metrics: Metrics, name: string): Promise<string[]> {
  const text = await metrics.render();
  return text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

function plugin(changes: Partial<PluginView>): PluginView {
  return {
    name: 'example.com/gpu@gpu.sock',
    resource: 'example.com/gpu',
    endpoint: '/r/gpu.sock',
    state: 'Connected',
    origin: 'register',
    preStartRequired: false,
    preferredAllocation: false,
    devices: 1,
    since: '',
    message: null,
    ...changes,
  };
}

describe('metrics', () => {
  it('are those of the table, with its help, type and labels', async () => {
    const { metrics } = metricsOver();
    const text = await metrics.render();
    const described = [...text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$/gm)].map(([, name, help, type]) => ({
      name,
      help,
      type,
    }));
    const table = Object.entries(METRICS).map(([name, { help, type }]) => ({ name, help, type }));
    expect(described.toSorted((a, b) => String(a.name).localeCompare(String(b.name)))).toEqual(table);
    expect(metrics.contentType).toContain('text/plain; version=0.0.4');
  });

  it('count registrations by resource, names that are none under one label', async () => {
    const { metrics } = metricsOver();
    for (const name of ['example.com/gpu', 'example.com/gpu', 'cpu', 'kubernetes.io/x', '', '\n"}{', 'x'.repeat(1e6)]) {
      metrics.registration(name);
    }
    expect(await samples(metrics, 'kubelet_device_plugin_registration_total')).toEqual([
      'kubelet_device_plugin_registration_total{resource_name="example.com/gpu"} 2',
      'kubelet_device_plugin_registration_total{resource_name="invalid"} 5',
    ]);
  });

  it('do not grow without end when a plugin registers ever new names', async () => {
    const { metrics } = metricsOver();
    for (let index = 0; index < 1_500; index += 1) metrics.registration(`example.com/r${String(index)}`);
    const lines = await samples(metrics, 'kubelet_device_plugin_registration_total');
    expect(lines).toHaveLength(1_001);
    expect(lines.at(-1)).toBe('kubelet_device_plugin_registration_total{resource_name="other"} 500');
  });

  it('count releases under way, and time what is run for them', async () => {
    const resource = 'example.com/gpu';
    const { metrics, sources } = metricsOver({
      releases: [
        { resource, state: 'Releasing' },
        { resource, state: 'Releasing' },
        { resource, state: 'Quarantined' },
      ],
    });
    expect(await samples(metrics, 'devmgr_releases')).toEqual([
      'devmgr_releases{resource="example.com/gpu",state="releasing"} 2',
      'devmgr_releases{resource="example.com/gpu",state="quarantined"} 1',
    ]);
    sources.releases = [];
    expect(await samples(metrics, 'devmgr_releases')).toEqual([]);
    metrics.releaseAttempt(resource, 'command', 2, false);
    metrics.releaseAttempt(resource, 'plugin', 0.1, true);
    expect(await samples(metrics, 'devmgr_release_attempt_duration_seconds_count')).toEqual([
      'devmgr_release_attempt_duration_seconds_count{resource="example.com/gpu",hook="command",result="error"} 1',
      'devmgr_release_attempt_duration_seconds_count{resource="example.com/gpu",hook="plugin",result="ok"} 1',
    ]);
  });

  it('time plugin calls, Allocate also under the name of the kubelet with the default buckets', async () => {
    const { metrics } = metricsOver();
    metrics.pluginCall('example.com/gpu', 'Allocate', 0.02, true);
    metrics.pluginCall('example.com/gpu', 'Allocate', 3, false);
    metrics.pluginCall('example.com/gpu', 'PreStartContainer', 0.2, true);
    const buckets = await samples(metrics, 'kubelet_device_plugin_alloc_duration_seconds_bucket');
    expect(buckets.map((line) => /le="([^"]+)"/.exec(line)?.[1])).toEqual([
      '0.005',
      '0.01',
      '0.025',
      '0.05',
      '0.1',
      '0.25',
      '0.5',
      '1',
      '2.5',
      '5',
      '10',
      '+Inf',
    ]);
    expect(await samples(metrics, 'kubelet_device_plugin_alloc_duration_seconds_count')).toEqual([
      'kubelet_device_plugin_alloc_duration_seconds_count{resource_name="example.com/gpu"} 2',
    ]);
    expect(await samples(metrics, 'devmgr_plugin_call_duration_seconds_count')).toEqual([
      'devmgr_plugin_call_duration_seconds_count{resource="example.com/gpu",call="Allocate",result="ok"} 1',
      'devmgr_plugin_call_duration_seconds_count{resource="example.com/gpu",call="Allocate",result="error"} 1',
      'devmgr_plugin_call_duration_seconds_count{resource="example.com/gpu",call="PreStartContainer",result="ok"} 1',
    ]);
  });

  it.each([
    ['UnexpectedAdmissionError', 'UnexpectedAdmissionError'],
    ['TopologyAffinityError', 'TopologyAffinityError'],
    ['OutOfexample.com/gpu', 'OutOfExtendedResources'],
    ['OutOfcpu', 'OutOfcpu'],
    ['SomethingNew', 'Other'],
    ['', 'Other'],
  ])('count the rejection reason %j as %s', async (reason, label) => {
    const { metrics } = metricsOver();
    metrics.admission({ ok: false, reason, message: 'm' }, 1_500);
    metrics.admission({ ok: true }, 20);
    expect(await samples(metrics, 'kubelet_admission_rejections_total')).toEqual([
      `kubelet_admission_rejections_total{reason="${label}"} 1`,
    ]);
    expect(await samples(metrics, 'devmgr_admission_duration_seconds_sum')).toEqual([
      'devmgr_admission_duration_seconds_sum{result="refused"} 1.5',
      'devmgr_admission_duration_seconds_sum{result="admitted"} 0.02',
    ]);
  });

  it('show the state at the moment of the scrape, and nothing of what is gone', async () => {
    const running: Pod = { ...podManifest('a'), status: { phase: 'Running' } };
    const { metrics, sources } = metricsOver({
      resources: [resourceView('example.com/gpu', 3, { healthy: 2, unhealthy: 1, allocated: 1 })],
      plugins: [
        plugin({}),
        plugin({ origin: 'watcher', state: 'Standby' }),
        plugin({ origin: 'watcher', endpoint: '/r/b', state: 'Disconnected' }),
      ],
      pods: [running, podManifest('b')],
      waiting: 2,
    });
    expect(await samples(metrics, 'devmgr_devices')).toEqual([
      'devmgr_devices{resource="example.com/gpu",state="healthy"} 2',
      'devmgr_devices{resource="example.com/gpu",state="unhealthy"} 1',
      'devmgr_devices{resource="example.com/gpu",state="allocated"} 1',
    ]);
    expect(await samples(metrics, 'devmgr_plugin_sessions')).toEqual(['devmgr_plugin_sessions 2']);
    expect(await samples(metrics, 'devmgr_admission_waiting')).toEqual(['devmgr_admission_waiting 2']);
    expect((await samples(metrics, 'devmgr_pods')).slice(0, 2)).toEqual([
      'devmgr_pods{phase="Pending"} 1',
      'devmgr_pods{phase="Running"} 1',
    ]);
    expect(await samples(metrics, 'plugin_manager_total_plugins')).toEqual([
      'plugin_manager_total_plugins{socket_path="/r/gpu.sock",state="desired_state_of_world"} 1',
      'plugin_manager_total_plugins{socket_path="/r/gpu.sock",state="actual_state_of_world"} 1',
      'plugin_manager_total_plugins{socket_path="/r/b",state="desired_state_of_world"} 1',
    ]);
    sources.resources = [];
    sources.plugins = [];
    expect(await samples(metrics, 'devmgr_devices')).toEqual([]);
    expect(await samples(metrics, 'devmgr_plugin_sessions')).toEqual(['devmgr_plugin_sessions 0']);
  });

  it('count writes, and are their own for each manager', async () => {
    const { metrics } = metricsOver();
    const { metrics: other } = metricsOver();
    metrics.journalAppend();
    metrics.journalAppend();
    metrics.stateWriteFailure();
    expect(await samples(metrics, 'devmgr_journal_appends_total')).toEqual(['devmgr_journal_appends_total 2']);
    expect(await samples(metrics, 'devmgr_state_write_failures_total')).toEqual([
      'devmgr_state_write_failures_total 1',
    ]);
    expect(await samples(other, 'devmgr_journal_appends_total')).toEqual(['devmgr_journal_appends_total 0']);
  });

  it('of the process come along unless unwanted', async () => {
    const sources = {
      resources: () => [],
      plugins: () => [],
      pods: () => [],
      releases: () => [],
      admissionsWaiting: () => 0,
    };
    expect(await createMetrics({ sources }).render()).toContain('process_cpu_seconds_total');
    expect(await createMetrics({ sources, processMetrics: false }).render()).not.toContain('process_');
  });
});

describe('health', () => {
  it('is `ok`, or a list of what is not', () => {
    const state: { problem?: string } = {};
    const health = createHealth({
      checks: [{ name: 'device-plugin', problem: () => state.problem }],
      readyChecks: [{ name: 'restore', problem: () => 'still reading' }],
    });
    expect(health.report('healthz', false)).toEqual({ ok: true, text: 'ok' });
    expect(health.report('healthz', true).text).toBe('[+]ping ok\n[+]device-plugin ok\nhealthz check passed\n');
    expect(health.report('readyz', false)).toEqual({
      ok: false,
      text: '[+]ping ok\n[+]device-plugin ok\n[-]restore failed: still reading\nreadyz check failed\n',
    });
    state.problem = 'device registration error\nfor a reason';
    expect(health.report('livez', false).text).toBe(
      '[+]ping ok\n[-]device-plugin failed: device registration error for a reason\nlivez check failed\n',
    );
  });
});

describe('the log', () => {
  function capture(options: { level?: number; pretty?: boolean } = {}): {
    log: ReturnType<typeof createLog>;
    lines: string[];
  } {
    const lines: string[] = [];
    const destination = { write: (text: string) => lines.push(text) };
    return { log: createLog({ level: 0, ...options, destination }), lines };
  }

  it('is one JSON line an entry', () => {
    const { log, lines } = capture();
    log.child({ component: 'api' }).warn({ err: new Error('broken'), n: 1n, text: 'a\nb' }, 'It failed');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 40,
      msg: 'It failed',
      component: 'api',
      text: 'a\nb',
      err: { message: 'broken' },
    });
  });

  it('tells more with -v and less below', () => {
    const told = (level: number): number => {
      const { log, lines } = capture({ level });
      log.debug({}, 'd');
      log.info({}, 'i');
      log.warn({}, 'w');
      log.error({}, 'e');
      return lines.length;
    };
    expect([told(-1), told(0), told(1), told(2)]).toEqual([2, 3, 4, 4]);
  });

  it('is one readable line for people, without control characters', () => {
    const { log, lines } = capture({ pretty: true });
    log.info({ resource: 'example.com/gpu', count: 3, empty: '', message: 'a b' }, 'Device plugin connected');
    log.error({ err: new Error('no \u001b[31mred\u0007\u009b\u202e'), list: ['a'] }, 'Bad \u001b[2J message');
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} INFO {2}Device plugin connected {2}resource=example\.com\/gpu count=3 empty="" message="a b"\n$/,
    );
    expect(lines[1]).toMatch(
      /ERROR "Bad \\u001b\[2J message" {2}err="no \\u001b\[31mred\\u0007\\u\{9b\}\\u\{202e\}" list=\["a"\]\n$/,
    );
  });
});

describe('the system clock', () => {
  it('runs callbacks, cancels them, and holds out beyond the longest timer of Node', () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const clock = new SystemClock();
    const ran: string[] = [];
    clock.setTimeout(() => ran.push('soon'), 10);
    const cancel = clock.setTimeout(() => ran.push('never'), 10);
    const month = 30 * 86_400_000;
    clock.setTimeout(() => ran.push('late'), month);
    cancel();
    vi.advanceTimersByTime(10);
    expect(ran).toEqual(['soon']);
    vi.advanceTimersByTime(month - 11);
    expect(ran).toEqual(['soon']);
    vi.advanceTimersByTime(1);
    expect(ran).toEqual(['soon', 'late']);
    cancel();
  });
});
