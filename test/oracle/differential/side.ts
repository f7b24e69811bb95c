import { copyFile, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeCheckpoint } from '@devmgr/core';
import { until } from '@devmgr/plugin-sdk/testing';
import type {
  AdmitAnswer,
  AllocatableAnswer,
  CapacityAnswer,
  Command,
  DeviceManagerPeer,
  HeldDevices,
  OptionsAnswer,
  ProtocolContainer,
  ProtocolPod,
  StatusAnswer,
} from '../protocol.ts';
import { Normalizer } from './normalize.ts';
import { PeerCrashed } from './peer-process.ts';
import { ScenarioPluginServer } from './scenario-plugin.ts';
import type { Scenario, ScenarioDevice, Step } from './scenario.ts';
import { runWatched } from './watched-plugin.ts';

/** What one step led to, in a form in which both sides can be compared: chance is taken out, order is fixed. */
export type Answer = Readonly<Record<string, unknown>>;

export interface SideOptions {
  readonly peer: DeviceManagerPeer;
  /** How to see that a list has been taken in: the kubelet writes its checkpoint after each; devmgr counts. */
  readonly lists: 'checkpoint' | 'count';
  /** Reads the checkpoint this side has written; the other kind of manager. */
  readonly reader?: DeviceManagerPeer;
}

/** Runs a scenario against one peer and says what happened at each step. Leaves nothing behind. */
export async function runScenario(scenario: Scenario, options: SideOptions): Promise<Answer[]> {
  const dir = await mkdtemp(join(tmpdir(), 'or-'));
  const side = new Side(scenario, options, dir);
  try {
    return await side.run();
  } finally {
    await side.close();
    // The kubelet writes its checkpoint once more for each stream that ends, and does not wait for that when it is stopped.
    await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

class Side {
  readonly #scenario: Scenario;
  readonly #options: SideOptions;
  readonly #dir: string;
  readonly #pluginDir: string;
  readonly #plugins = new Map<string, ScenarioPluginServer>();
  readonly #connected = new Set<string>();
  readonly #active = new Map<string, ProtocolPod>();
  readonly #held = new Map<string, HeldDevices>();
  /** Devices taken off a list in counts mode, to come back. */
  readonly #vanished = new Map<string, ScenarioDevice[]>();
  readonly #normalizer: Normalizer;

  constructor(scenario: Scenario, options: SideOptions, dir: string) {
    this.#scenario = scenario;
    this.#options = options;
    this.#dir = dir;
    this.#pluginDir = join(dir, 'p');
    this.#normalizer = new Normalizer(scenario.mode, dir);
    // What only devmgr knows of makes no difference to a kubelet: there plugins ask for it, and nobody calls them.
    const asksForRelease = options.lists === 'checkpoint';
    for (const spec of scenario.plugins)
      this.#plugins.set(spec.resource, new ScenarioPluginServer(spec, this.#pluginDir, { asksForRelease }));
  }

  async run(): Promise<Answer[]> {
    await mkdir(this.#pluginDir);
    await mkdir(this.#watchDir);
    await this.#start({});
    const answers: Answer[] = [];
    for (const step of this.#scenario.steps) {
      try {
        answers.push(await this.#step(step));
      } catch (error) {
        if (!(error instanceof PeerCrashed)) throw error;
        answers.push({ crashed: /^panic: .*$/mu.exec(error.message)?.[0] ?? 'for no known reason' });
        break;
      }
    }
    return answers;
  }

  async close(): Promise<void> {
    for (const uid of this.#active.keys()) await this.#do({ op: 'remove', uid }).catch(noop);
    await this.#do({ op: 'stop' }).catch(noop);
    await Promise.all([...this.#plugins.values()].map((plugin) => plugin.close()));
  }

  async #start(how: Pick<Command, 'ready' | 'running'>): Promise<void> {
    const watch = this.#scenario.steps.some((step) => step.do === 'watched') ? { watch: this.#watchDir } : {};
    await this.#do({ op: 'start', dir: `${this.#pluginDir}/`, ...watch, ...this.#scenario.machine, ...how });
  }

  get #watchDir(): string {
    return join(this.#dir, 'w');
  }

  #do(command: Command): Promise<unknown> {
    return this.#options.peer.do(command);
  }

  #plugin(resource: string): ScenarioPluginServer {
    const plugin = this.#plugins.get(resource);
    if (plugin === undefined) throw new Error(`no plugin for ${resource} in scenario ${String(this.#scenario.seed)}`);
    return plugin;
  }

  async #step(step: Step): Promise<Answer> {
    switch (step.do) {
      case 'plugin':
        await this.#afterList(step.resource, () => this.#plugin(step.resource).plugIn(step.devices));
        this.#connected.add(step.resource);
        return this.#resources();
      case 'list':
        await this.#relist(step.resource, step.devices);
        return this.#resources();
      case 'change':
        return this.#change(step);
      case 'unplug':
        return this.#unplug(step.resource, step.how);
      case 'admit':
        return this.#admit(step.pod, step.fail);
      case 'readmit': {
        const pod = this.#active.get(step.uid);
        if (pod === undefined) return SKIPPED;
        return this.#admit(step.more === true ? withOneMore(pod) : pod);
      }
      case 'register':
        return this.#register(step.resource, step.version);
      case 'watched': {
        const { peer, lists } = this.#options;
        const writesAtLists = lists === 'checkpoint';
        const place = { peer, watchDir: this.#watchDir, checkpointPath: this.#checkpointPath, writesAtLists };
        const answer = await runWatched(step, place);
        return { ...answer, told: this.#normalizer.text(String(answer['told'])) };
      }
      case 'remove':
        this.#active.delete(step.uid);
        this.#held.delete(step.uid);
        await this.#do({ op: 'remove', uid: step.uid });
        return {};
      case 'gc':
        await this.#do({ op: 'gc' });
        return {};
      case 'options':
        return this.#containerOptions(step);
      case 'status': {
        const pod = this.#active.get(step.uid);
        if (pod === undefined) return SKIPPED;
        const status = (await this.#do({ op: 'status', uid: step.uid })) as StatusAnswer[];
        return { status: this.#normalizer.status(status, pod) };
      }
      case 'sanitize': {
        if (!this.#active.has(step.uid)) return SKIPPED;
        const pod: ProtocolPod = { uid: step.uid };
        return { allocatable: sorted(await this.#do({ op: 'sanitize', pod, allocatable: step.allocatable })) };
      }
      case 'hints': {
        const op = step.scope === 'pod' ? 'pod-hints' : 'hints';
        return { hints: sorted(await this.#do({ op, pod: step.pod })) };
      }
      case 'restart':
        return this.#restart(step);
      case 'ready':
        await this.#do({ op: 'ready', ready: true });
        return {};
      case 'misconfigure':
        return this.#do({ op: 'start', dir: join(this.#dir, 'never'), ...step.machine }).then(
          () => ({ started: true }),
          (error: unknown) => ({ refused: error instanceof Error ? error.message : String(error) }),
        );
      case 'checkpoint':
        return this.#checkpoint();
    }
  }

  // ---- Plugins -------------------------------------------------------------------------------------------------

  async #relist(resource: string, devices: readonly ScenarioDevice[]): Promise<void> {
    await this.#afterList(resource, async () => this.#plugin(resource).list(devices));
  }

  /** Does what makes a plugin send a list, and waits until the manager has taken it in. */
  async #afterList(resource: string, send: () => Promise<void>): Promise<void> {
    const before = await this.#listMark(resource);
    await send();
    const deadline = performance.now() + 20_000;
    while ((await this.#listMark(resource)) === before) {
      if (performance.now() > deadline) throw new Error(`the list of ${resource} was not taken in`);
      await delay(1);
    }
  }

  async #listMark(resource: string): Promise<string> {
    if (this.#options.lists === 'count') {
      const counts = (await this.#do({ op: 'lists' })) as Record<string, number>;
      return String(counts[resource] ?? 0);
    }
    const found = await stat(this.#checkpointPath, { bigint: true }).catch(() => undefined);
    return found === undefined ? '' : `${String(found.ino)} ${String(found.mtimeNs)}`;
  }

  get #checkpointPath(): string {
    return join(this.#pluginDir, 'kubelet_internal_checkpoint');
  }

  async #change(step: Extract<Step, { do: 'change' }>): Promise<Answer> {
    const plugin = this.#plugin(step.resource);
    if (!this.#connected.has(step.resource) || (step.uid !== undefined && !this.#active.has(step.uid))) return SKIPPED;
    const heldByAny = new Set([...this.#held.values()].flatMap((held) => idsOf(held, step.resource)));
    const ofPod = step.uid === undefined ? undefined : new Set(idsOf(this.#held.get(step.uid) ?? {}, step.resource));
    const inRole = ({ id }: ScenarioDevice): boolean => (ofPod === undefined ? !heldByAny.has(id) : ofPod.has(id));
    const vanished = this.#vanished.get(step.resource) ?? [];
    const candidates = (step.how === 'return' ? vanished : plugin.devices).filter(
      (device) => inRole(device) && (step.how === 'return' || (device.health === 'Healthy') !== (step.how === 'mend')),
    );
    const chosen = new Set(candidates.slice(0, step.count).map(({ id }) => id));
    if (chosen.size === 0) return SKIPPED;
    const list = plugin.devices.filter(({ id }) => step.how !== 'vanish' || !chosen.has(id));
    if (step.how === 'vanish') {
      this.#vanished.set(step.resource, [...vanished, ...plugin.devices.filter(({ id }) => chosen.has(id))]);
    } else if (step.how === 'return') {
      this.#vanished.set(
        step.resource,
        vanished.filter(({ id }) => !chosen.has(id)),
      );
      list.push(...vanished.filter(({ id }) => chosen.has(id)));
    }
    const health = step.how === 'break' ? 'Unhealthy' : step.how === 'mend' ? 'Healthy' : undefined;
    await this.#relist(
      step.resource,
      list.map((device) => (health !== undefined && chosen.has(device.id) ? { ...device, health } : device)),
    );
    return { changed: chosen.size, ...(await this.#resources()) };
  }

  async #unplug(resource: string, how: 'close' | 'kill' | 'end'): Promise<Answer> {
    if (!this.#connected.delete(resource)) return SKIPPED;
    const hadHealthy = this.#plugin(resource).devices.some(({ health }) => health === 'Healthy');
    await this.#plugin(resource).unplug(how);
    if (hadHealthy) {
      await until(`${resource} to be away`, async () => (await this.#capacity()).allocatable[resource] === 0);
    } else if (this.#options.lists === 'count') {
      await until(`${resource} to be away`, async () => {
        const { connected } = (await this.#do({ op: 'connected', resource })) as { connected: boolean };
        return !connected;
      });
    } else await delay(50); // nothing shows it
    return this.#resources();
  }

  async #register(resource: string, version: string): Promise<Answer> {
    const plugin = new ScenarioPluginServer({ resource, prefer: 'none', preStart: false, extras: [] }, this.#pluginDir);
    return plugin.register(version).then(
      () => ({ registered: true }),
      (error: unknown) => ({ refused: this.#normalizer.text(String(error)) }),
    );
  }

  // ---- Pods ----------------------------------------------------------------------------------------------------

  async #admit(pod: ProtocolPod, fail?: Extract<Step, { do: 'admit' }>['fail']): Promise<Answer> {
    for (const plugin of this.#plugins.values()) plugin.failNext(fail);
    this.#takeCalls();
    const answer = (await this.#do({ op: 'admit', pod })) as AdmitAnswer;
    for (const plugin of this.#plugins.values()) plugin.failNext(undefined);
    if (answer.admit) {
      this.#active.set(pod.uid, pod);
      this.#held.set(pod.uid, answer.devices);
    } else {
      this.#active.delete(pod.uid);
      this.#held.delete(pod.uid);
    }
    const { admit, reason, message } = answer;
    return {
      admit,
      ...(admit ? {} : { reason, message: this.#normalizer.text(message) }),
      devices: this.#normalizer.held(answer.devices, pod),
      calls: this.#normalizer.calls(this.#takeCalls(), pod),
    };
  }

  async #containerOptions(step: Extract<Step, { do: 'options' }>): Promise<Answer> {
    const pod = this.#active.get(step.uid);
    if (pod === undefined) return SKIPPED;
    for (const plugin of this.#plugins.values()) plugin.failNext(step.fail);
    this.#takeCalls();
    const answer = await this.#do({ op: 'options', uid: step.uid, container: step.container }).then(
      (options) => ({ options: this.#normalizer.options(options as OptionsAnswer | null, pod) }),
      (error: unknown) => ({ error: this.#normalizer.text(error instanceof Error ? error.message : String(error)) }),
    );
    for (const plugin of this.#plugins.values()) plugin.failNext(undefined);
    return { ...answer, calls: this.#normalizer.calls(this.#takeCalls(), pod) };
  }

  #takeCalls(): ReadonlyMap<string, ReturnType<ScenarioPluginServer['takeCalls']>> {
    return new Map([...this.#plugins].map(([resource, plugin]) => [resource, plugin.takeCalls()]));
  }

  // ---- The manager ---------------------------------------------------------------------------------------------

  async #capacity(): Promise<CapacityAnswer> {
    return (await this.#do({ op: 'capacity' })) as CapacityAnswer;
  }

  /** What the node shows, and whose devices' health has changed. */
  async #resources(): Promise<Answer> {
    const { capacity, allocatable, removed } = await this.#capacity();
    const healthy = (await this.#do({ op: 'allocatable' })) as AllocatableAnswer;
    let updates = (await this.#do({ op: 'updates' })) as string[][] | null;
    if (updates === null && this.#options.lists === 'checkpoint') {
      // The kubelet hands them to another thread.
      await delay(2);
      updates = (await this.#do({ op: 'updates' })) as string[][] | null;
    }
    return {
      capacity: sorted(capacity),
      allocatable: sorted(allocatable),
      ...(removed.length === 0 ? {} : { removed }),
      healthy: this.#normalizer.healthy(healthy),
      // Of pods that are gone the kubelet knows until it collects garbage; nobody waits for news of them.
      updates: [...new Set((updates ?? []).flat())].filter((uid) => this.#active.has(uid)).sort(),
    };
  }

  async #restart({ ready, running, initDone }: Extract<Step, { do: 'restart' }>): Promise<Answer> {
    await this.#do({ op: 'updates' }); // what nobody asked about before the restart is lost
    await this.#do({ op: 'stop' });
    await Promise.all([...this.#plugins.values()].map((plugin) => plugin.close()));
    this.#connected.clear();
    const containers = running.flatMap((uid) => {
      const pod = this.#active.get(uid);
      const ended = new Set(
        initDone ? (pod?.initContainers ?? []).filter(({ restartable }) => restartable !== true) : [],
      );
      return allContainers(pod).map((container) => ({
        uid,
        container: container.name,
        id: `${uid}/${container.name}`,
        running: !ended.has(container),
      }));
    });
    await this.#start({ ready, running: containers });
    const adopted: Record<string, unknown> = {};
    for (const [uid, pod] of this.#active) {
      const { devices } = (await this.#do({ op: 'adopt', pod })) as { devices: HeldDevices };
      adopted[uid] = this.#normalizer.held(devices, pod);
    }
    return { adopted: sorted(adopted), ...(await this.#resources()) };
  }

  async #checkpoint(): Promise<Answer> {
    const { reader } = this.#options;
    await this.#do({ op: 'gc' });
    const bytes = await readFile(this.#checkpointPath).catch(() => undefined);
    // Nothing was ever listed or given: no file says the same as one with nothing in it.
    if (bytes === undefined) return { checkpoint: { entries: {}, registered: [] } };
    const decoded = decodeCheckpoint(bytes);
    if (!decoded.ok) return { checkpoint: decoded.message };
    const problem = reader === undefined ? undefined : await this.#readBack(reader);
    return {
      checkpoint: this.#normalizer.checkpoint(decoded.data, this.#active),
      ...(problem === undefined ? {} : { notReadBack: problem }),
    };
  }

  /** Starts the other kind of manager on a copy of this side's checkpoint; says what it does not know as it is. */
  async #readBack(reader: DeviceManagerPeer): Promise<string | undefined> {
    const dir = join(this.#dir, 'r');
    await mkdir(dir);
    await copyFile(this.#checkpointPath, join(dir, 'kubelet_internal_checkpoint'));
    await reader.do({ op: 'start', dir: `${dir}/`, ready: false });
    try {
      for (const [uid, pod] of this.#active) {
        const { devices } = (await reader.do({ op: 'adopt', pod })) as { devices: HeldDevices };
        const expected = JSON.stringify(sorted(this.#held.get(uid) ?? {}));
        if (JSON.stringify(sorted(devices)) !== expected)
          return `${uid} was written as ${expected} and read as ${JSON.stringify(sorted(devices))}`;
      }
      return undefined;
    } finally {
      for (const uid of this.#active.keys()) await reader.do({ op: 'remove', uid });
      await reader.do({ op: 'stop' });
    }
  }
}

/** The pod of this step is not active on this side. */
const SKIPPED: Answer = { skipped: true };

function idsOf(held: HeldDevices, resource: string): string[] {
  return [...new Set(Object.values(held).flatMap((ofContainer) => ofContainer[resource] ?? []))];
}

/** The pod as someone changed it on disk while the manager was away. */
function withOneMore(pod: ProtocolPod): ProtocolPod {
  let done = false;
  const containers = (pod.containers ?? []).map((container) => {
    const [resource, count] =
      Object.entries(container.limits ?? {}).find(([name]) => name.startsWith('example.com/r')) ?? [];
    if (done || resource === undefined) return container;
    done = true;
    return { ...container, limits: { ...container.limits, [resource]: String(Number(count) + 1) } };
  });
  return { ...pod, containers };
}

function allContainers(pod: ProtocolPod | undefined): readonly ProtocolContainer[] {
  return [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])];
}

/** The same with the keys of objects in order, at every depth; undefined left out. */
export function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => entry !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  );
}

function noop(): void {
  // closing: there may be nothing to end
}
