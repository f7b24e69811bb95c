import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError, Ledger } from '@devmgr/core';
import { Admission } from './admission.ts';
import { StateStore } from './checkpoint/state-store.ts';
import type { DaemonConfig, TopologyConfig } from './config.ts';
import { DecisionBook } from './decision-book.ts';
import { DeviceManager } from './device-manager.ts';
import { EventRecorder } from './events.ts';
import { Explainer } from './explainer.ts';
import { HookCommands } from './hooks/hook-command.ts';
import { startApi } from './http/server.ts';
import { Inventory } from './inventory.ts';
import { NodeStatus } from './node/node-status.ts';
import { guardRootDir } from './plugins/manager-guard.ts';
import { startPlugins } from './plugins/plugin-endpoints.ts';
import { DirectorySource } from './pods/directory-source.ts';
import { PodManager } from './pods/pod-manager.ts';
import { startPodResources } from './podresources/pod-resources-server.ts';
import { observedState } from './observed-state.ts';
import type { Logger } from './ports.ts';
import { ProcessRuntime } from './runtimes/process-runtime.ts';
import { SystemClock } from './system-clock.ts';
import { createHealth } from './telemetry/health.ts';
import { createLog } from './telemetry/log.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { checkedMachine } from './topology/numa-machine.ts';
import { readNumaNodes } from './topology/numa-nodes.ts';
import { TopologyManager, type TopologySettings } from './topology/topology-manager.ts';
import { MANAGER_VERSION } from './manager-version.ts';
import { createVersionCounter } from './version-counter.ts';

/** A running daemon. */
export interface Daemon {
  /** Where it can be reached. */
  readonly sockets: {
    readonly kubelet: string;
    readonly registry: string;
    readonly podResources: string;
    readonly api: string;
    /** `http://HOST:PORT` of the read-only listener, where there is one. */
    readonly listen?: string;
  };
  /** One sentence on what the runtime does not enforce; undefined when it enforces everything. */
  readonly notice: string | undefined;
  /** Stops in order; containers are ended unless `keepRunning`. Idempotent, never rejects. */
  stop(options?: { keepRunning?: boolean }): Promise<void>;
  /** Settles when the daemon has stopped. */
  readonly stopped: Promise<void>;
}

/** The directories under the root: the kubelet's, plus devmgr's own. */
export function daemonPaths(rootDir: string): {
  readonly devicePluginDir: string;
  readonly registryDir: string;
  readonly stateDir: string;
  readonly podsDir: string;
  readonly apiSocket: string;
} {
  const stateDir = join(rootDir, 'devmgr');
  return {
    devicePluginDir: join(rootDir, 'device-plugins'),
    registryDir: join(rootDir, 'plugins_registry'),
    stateDir,
    podsDir: join(stateDir, 'pods'),
    apiSocket: join(stateDir, 'api.sock'),
  };
}

/**
 * Starts the daemon: builds the parts, starts them in order, and stops what was started when one cannot start.
 * CONFIG_INVALID, MANAGER_ALREADY_RUNNING, ROOT_DIR_UNUSABLE, PATH_TOO_LONG, LISTEN_FAILED, PERMISSION_DENIED, STATE_WRITE_FAILED.
 */
export async function startDaemon(
  config: DaemonConfig,
  options: {
    log?: Logger;
    /** Names this boot of the machine; the kernel is asked unless given. */
    bootId?: string;
  } = {},
): Promise<Daemon> {
  const paths = daemonPaths(config.rootDir);
  const log = options.log ?? createLog({ level: config.verbosity });
  const clock = new SystemClock();
  const started: ((stop: { keepRunning: boolean }) => Promise<void> | void)[] = [];
  const stopAll = async (stop: { keepRunning: boolean }): Promise<void> => {
    for (const end of started.splice(0).reverse()) {
      try {
        await end(stop);
      } catch (error) {
        log.error({ err: String(error) }, 'A part of the manager did not stop cleanly');
      }
    }
  };

  try {
    const alignment = await topologySettings(config.topology);
    await makeRootDir(config.rootDir);
    const lock = await guardRootDir({
      rootDir: config.rootDir,
      devicePluginDir: paths.devicePluginDir,
      stateDir: paths.stateDir,
      log,
    });
    started.push(() => lock.release());
    log.info({ rootDir: config.rootDir, version: MANAGER_VERSION }, 'Starting Device Plugin manager');

    const versions = createVersionCounter();
    const events = new EventRecorder({ clock, versions, nodeName: config.nodeName, source: 'devmgr' });
    const nodeEvent = (
      type: 'Normal' | 'Warning',
      reason: Parameters<EventRecorder['record']>[2],
      message: string,
    ): void => events.record({ kind: 'Node', name: config.nodeName }, type, reason, message);

    const { store, recovered } = await StateStore.open({
      devicePluginDir: paths.devicePluginDir,
      stateDir: paths.stateDir,
      clock,
      log,
      ...(options.bootId === undefined ? {} : { bootId: options.bootId }),
    });
    for (const problem of recovered.problems) {
      log.error(
        { problem },
        'Continue after failing to read checkpoint file. Device allocation info may NOT be up-to-date',
      );
      nodeEvent('Warning', 'CheckpointSetAside', problem);
    }
    for (const pod of recovered.pods) versions.raiseTo(pod.metadata.resourceVersion);

    let admissionsWaiting = (): number => 0;
    const metrics = createMetrics({
      sources: {
        resources: () => inventory.resources(),
        plugins: () => inventory.plugins(),
        pods: () => pods.list(),
        admissionsWaiting: () => admissionsWaiting(),
        releases: () => inventory.releases(),
      },
    });
    const state = observedState(store, {
      appended: () => metrics.journalAppend(),
      failed: (message) => {
        metrics.stateWriteFailure();
        log.error({ err: message }, 'Failed to write checkpoint file');
        nodeEvent('Warning', 'FailedToWriteState', message);
      },
    });
    const hooks = new HookCommands({ owner: paths.stateDir, clock, log: log.child({ component: 'hooks' }) });
    const podName = (uid: string): string | undefined => pods.nameOf(uid);
    const manager = new DeviceManager({
      ledger: new Ledger(),
      state,
      events,
      metrics,
      clock,
      log: log.child({ component: 'device-manager' }),
      nodeName: config.nodeName,
      stoppedGraceMs: config.stoppedPluginGraceMs,
      expectedResources: [...config.resources].filter(([, resource]) => resource.expected).map(([name]) => name),
      releases: {
        rules: new Map([...config.resources].map(([name, { release }]) => [name, release])),
        hooks,
        metrics,
        podName,
      },
    });
    manager.restore(recovered);
    const decisions = new DecisionBook(manager, podName);
    const topology =
      alignment === undefined
        ? undefined
        : new TopologyManager({ ...alignment, onAligned: (scope, ok) => metrics.aligned(scope, ok) }, manager.ledger);
    const admission = new Admission({
      manager,
      ...(topology === undefined ? {} : { topology }),
      decisions,
      log: log.child({ component: 'admission' }),
      unknownResources: config.unknownResources,
      waitForPluginMs: config.waitForPluginMs,
      callTimeoutMs: config.pluginCallTimeoutMs,
      callTimeoutsMs: new Map(
        [...config.resources].flatMap(([name, { pluginCallTimeoutMs }]) =>
          pluginCallTimeoutMs === undefined ? [] : [[name, pluginCallTimeoutMs] as const],
        ),
      ),
      beforeUse: {
        hooks,
        commands: new Map(
          [...config.resources].flatMap(([name, { beforeUse, release }]) =>
            beforeUse === undefined ? [] : [[name, { command: beforeUse, timeoutMs: release.hookTimeoutMs }] as const],
          ),
        ),
      },
      onDecision: (result, durationMs) => metrics.admission(result, durationMs),
      onAllocation: (failed, durationMs) => metrics.topologyAdmission(failed && topology !== undefined, durationMs),
    });
    admissionsWaiting = () => admission.waiting;
    const runtime = new ProcessRuntime({
      stateDir: paths.podsDir,
      clock,
      log: log.child({ component: 'process-runtime' }),
    });
    started.push(() => runtime.close());
    const pods = new PodManager({
      admission,
      runtime,
      store: state,
      events,
      versions,
      clock,
      log: log.child({ component: 'pods' }),
      nodeName: config.nodeName,
    });
    const inventory = new Inventory(manager, podName);

    store.bind({
      resources: () =>
        [...manager.plugins()].map(({ resource, remembered, preStartRequired }) => ({
          resource,
          endpoint: remembered,
          preStartRequired,
          healthyIds: manager.ledger.healthyIds(resource),
        })),
    });
    store.onProblem = (message) => nodeEvent('Warning', 'FailedToWriteState', message);
    started.push(() => store.close());
    const plugins = await startPlugins({
      devicePluginDir: paths.devicePluginDir,
      registryDir: paths.registryDir,
      host: manager,
      clock,
      log: log.child({ component: 'plugins' }),
      limits: {
        dialTimeoutMs: 10_000,
        optionsTimeoutMs: config.pluginCallTimeoutMs,
        maxReceiveBytes: config.maxReceiveBytes,
      },
      remembered: recovered.resources.flatMap(({ resource, endpoint }) =>
        endpoint === null ? [] : [{ resource, endpoint }],
      ),
      events: nodeEvent,
      reports: manager.reports,
    });
    started.push(async () => {
      await plugins.close();
      manager.stop();
    });
    // Closed before the sessions end: that a stopping manager sees no plugins is not worth remembering.
    started.push(() => store.close());

    // After the pods: what they give back at the end is left to the next manager.
    started.push(() => manager.releases.stop());
    started.push((stop) => pods.stop(stop));
    if (needsCommands(config) || recovered.releases.length > 0) await hooks.endLeftovers();
    await pods.restore(recovered.pods, { rebooted: recovered.rebooted });
    // Whatever is recorded for pods that are gone, or that another manager left behind, is free again. (kubelet: UpdateAllocatedDevices)
    for (const uid of manager.ledger.podUids())
      if (!pods.isActive(uid)) await manager.release(uid).catch(() => undefined);
    manager.releases.begin();
    if (recovered.allocations.length > 0) {
      nodeEvent(
        'Normal',
        'CheckpointRestored',
        `Allocations of ${String(manager.ledger.podUids().length)} pods were read back${recovered.rebooted ? ' after a reboot' : ''}`,
      );
    }

    const podResources = await startPodResources({
      rootDir: config.rootDir,
      source: {
        pods: () => pods.list(),
        pod: (namespace, name) => pods.get(namespace, name),
        isActive: (uid) => pods.isActive(uid),
        ledger: manager.ledger,
      },
      metrics,
      clock,
      log: log.child({ component: 'pod-resources' }),
      events: nodeEvent,
    });
    started.push(() => podResources.close());

    const problem = (): string | undefined => plugins.health();
    const node = new NodeStatus({
      nodeName: config.nodeName,
      inventory,
      clock,
      versions,
      version: MANAGER_VERSION,
      problem,
    });
    started.push(() => node.close());
    const health = createHealth({
      checks: [{ name: 'device-plugin', problem }],
      // Monitoring agents miss it; that is no reason to restart a manager whose pods are well.
      readyChecks: [{ name: 'pod-resources', problem: () => podResources.health() }],
    });
    const api = await startApi({
      socketPath: paths.apiSocket,
      ...(config.listen === undefined ? {} : { listen: config.listen }),
      pods,
      leases: pods,
      inventory,
      explain: new Explainer({
        manager,
        decisions,
        pods,
        inventory,
        podName,
        unknownResources: config.unknownResources,
        ...(topology === undefined ? {} : { topology: topology.settings }),
      }),
      node,
      events,
      metrics,
      health,
      versions,
      version: MANAGER_VERSION,
      clock,
      log: log.child({ component: 'api' }),
    });
    started.push(() => api.close());

    if (config.manifestsDir !== undefined) {
      const source = new DirectorySource({
        dir: config.manifestsDir,
        pods,
        events,
        clock,
        log: log.child({ component: 'manifests' }),
        nodeName: config.nodeName,
      });
      await source.start();
      started.push(() => source.close());
    }
    nodeEvent('Normal', 'Starting', `devmgr ${MANAGER_VERSION} started`);

    let stopping: Promise<void> | undefined;
    let settle = (): void => undefined;
    const stopped = new Promise<void>((resolve) => (settle = resolve));
    return {
      sockets: {
        kubelet: plugins.socketPath,
        registry: paths.registryDir,
        podResources: podResources.socketPath,
        api: api.socketPath,
        ...(api.address === undefined ? {} : { listen: api.address }),
      },
      notice: runtime.notice,
      stop: (stop) => {
        stopping ??= (async () => {
          log.info({}, 'Stopping');
          await stopAll({ keepRunning: stop?.keepRunning === true });
          settle();
        })();
        return stopping;
      },
      stopped,
    };
  } catch (error) {
    await stopAll({ keepRunning: true });
    throw error;
  }
}

function needsCommands(config: DaemonConfig): boolean {
  return [...config.resources.values()].some(
    ({ beforeUse, release }) => beforeUse !== undefined || release.onRelease !== undefined,
  );
}

/** Nothing under the policy `none`: no hints, and no look at the machine. CONFIG_INVALID when the policy cannot work on it. */
async function topologySettings({
  policy,
  scope,
  options,
  numaFrom,
  numaNodes,
}: TopologyConfig): Promise<TopologySettings | undefined> {
  if (policy === 'none') return undefined;
  const machine = checkedMachine(numaNodes ?? (await readNumaNodes(numaFrom)), options);
  return { policy, scope, options, machine };
}

async function makeRootDir(rootDir: string): Promise<void> {
  try {
    await mkdir(rootDir, { recursive: true, mode: 0o755 });
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    throw new DevmgrError('ROOT_DIR_UNUSABLE', `the root directory ${rootDir} cannot be made: ${cause.message}`, {
      cause,
    });
  }
}
