import type { ProtocolContainer, ProtocolPod, TopologySettings } from '../protocol.ts';
import { Random } from './random.ts';
import { WRONG_MACHINES, WRONG_NAMES } from './wrong-input.ts';
import type { Mode, Preference, Scenario, ScenarioDevice, ScenarioPlugin, ScriptedFailure, Step } from './scenario.ts';

/** What a generated scenario may contain. */
export interface GenerateOptions {
  /** Policies of the topology manager to choose from. */
  readonly policies: readonly string[];
}

/** A random scenario; the same seed and options give the same one. */
export function generateScenario(seed: number, options: GenerateOptions): Scenario {
  return new Generator(seed, options).scenario();
}

const SICK = ['Unhealthy', '', 'healthy', 'Broken'] as const;
const CODES = [2, 4, 5, 8, 13, 14] as const;

interface KnownPod {
  readonly pod: ProtocolPod;
  readonly hasInit: boolean;
}

class Generator {
  readonly #random: Random;
  readonly #seed: number;
  readonly #mode: Mode;
  readonly #machine: TopologySettings;
  readonly #numa: readonly number[];
  readonly #plugins: ScenarioPlugin[] = [];
  readonly #lists = new Map<string, ScenarioDevice[]>();
  /** Counts mode: how all devices of a resource lie. */
  readonly #layout = new Map<string, readonly number[] | undefined>();
  readonly #connected = new Set<string>();
  readonly #pods: KnownPod[] = [];
  readonly #steps: Step[] = [];
  #devicesMade = 0;
  #podsMade = 0;
  #over = false;

  constructor(seed: number, options: GenerateOptions) {
    this.#seed = seed;
    this.#random = new Random(seed);
    this.#mode = this.#random.chance(0.55) ? 'ids' : 'counts';
    this.#machine = this.#makeMachine(options.policies);
    this.#numa = this.#machine.numa ?? [0];
  }

  scenario(): Scenario {
    const random = this.#random;
    // The kubelet looks at every combination of hints, which takes seconds for three resources on eight nodes.
    const costly = this.#machine.policy !== 'none' && this.#numa.length > 4;
    const resources = Math.min(random.pick([1, 1, 2, 2, 3]), costly ? 2 : 3);
    for (let index = 0; index < resources; index += 1)
      this.#plugins.push(this.#makePlugin(`example.com/r${String(index)}`));
    for (const { resource } of this.#plugins) {
      this.#layout.set(resource, this.#someNodes());
      if (random.chance(0.92)) this.#plugIn(resource);
    }
    const actions = random.between(4, 11);
    for (let index = 0; index < actions && !this.#over; index += 1) this.#act();
    this.#steps.push({ do: 'checkpoint' });
    this.#addExtras(new Random(this.#seed ^ 0x5bd1e995));
    this.#addWatched(new Random(this.#seed ^ 0x2545f491));
    return {
      seed: this.#seed,
      mode: this.#mode,
      machine: this.#machine,
      plugins: this.#plugins,
      steps: this.#steps,
    };
  }

  /** By chance of its own, so that scenarios stay what they are otherwise. */
  #addExtras(random: Random): void {
    if (random.chance(0.06)) this.#steps.unshift({ do: 'misconfigure', machine: random.pick(WRONG_MACHINES) });
    if (!random.chance(0.08)) return;
    const index = this.#steps.findIndex((step) => step.do === 'list' || step.do === 'plugin');
    const step = this.#steps[index];
    if (step?.do !== 'list' && step?.do !== 'plugin') return;
    // Some plugins list a device twice.
    this.#steps[index] = { ...step, devices: [...step.devices, ...random.some(step.devices, random.between(1, 2))] };
  }

  /** Some scenarios end with a plugin in plugins_registry; the kubelet looks there once a second. */
  #addWatched(random: Random): void {
    if (!random.chance(0.04)) return;
    const fine = random.chance(0.4);
    const failing = !fine && random.chance(0.3) ? random.pick(CODES) : undefined;
    const wrong = fine || failing !== undefined ? 'nothing' : random.pick(['name', 'type', 'versions'] as const);
    this.#steps.splice(-1, 0, {
      do: 'watched',
      name: wrong === 'name' ? random.pick(WRONG_NAMES) : 'example.com/watched',
      type: wrong === 'type' ? random.pick(['CSIPlugin', 'Other', '']) : 'DevicePlugin',
      versions:
        wrong === 'versions'
          ? random.pick([[], ['v1alpha'], ['v1', 'v1beta2']])
          : random.pick([['v1beta1'], ['v1alpha', 'v1beta1']]),
      explicit: random.chance(0.5),
      ...(failing === undefined ? {} : { failing }),
      count: random.between(1, 3),
    });
  }

  // ---- The world -----------------------------------------------------------------------------------------------

  #makeMachine(policies: readonly string[]): TopologySettings {
    const random = this.#random;
    const count = random.pick([1, 1, 2, 2, 3, 4, 8]);
    // Numbers may be missing, as on machines with memory-less or unplugged nodes.
    const gaps = random.chance(0.12);
    let id = -1;
    const numa = Array.from({ length: count }, () => (id += gaps ? random.between(1, 2) : 1));
    const policy = random.pick(policies) ?? 'none';
    if (policy === 'none') return { numa, policy };
    // The kubelet reads a row by node number.
    const columns = Array.from({ length: id + 1 }, (_, column) => column);
    const distances = numa.map((a) =>
      columns.map((b) => (a === b ? 10 : 10 + random.between(1, 4) * 5 + Math.abs(a - b))),
    );
    const options: Record<string, string> = {};
    if (random.chance(0.4)) options['prefer-closest-numa-nodes'] = 'true';
    if (random.chance(0.15)) options['max-allowable-numa-nodes'] = '8';
    return { numa, policy, scope: random.pick(['container', 'container', 'pod']), distances, options };
  }

  #makePlugin(resource: string): ScenarioPlugin {
    const random = this.#random;
    const prefer: Preference =
      this.#mode === 'ids'
        ? random.pick(['full', 'full', 'noisy'])
        : random.pick(['none', 'none', 'partial', 'empty', 'unknown', 'greedy', 'full']);
    return {
      resource,
      prefer,
      preStart: random.chance(0.3),
      extras: random.some(['mount', 'device', 'annotation', 'cdi'] as const, random.between(0, 3)),
    };
  }

  #someNodes(): readonly number[] | undefined {
    const random = this.#random;
    const kind = random.next();
    if (kind < 0.3) return undefined;
    if (kind < 0.35) return [];
    if (kind < 0.37) return [random.pick([this.#numa.length, 9, 63])]; // a node the machine does not have
    if (kind < 0.85) return [random.pick(this.#numa) ?? 0];
    return random.some(this.#numa, random.between(1, Math.min(3, this.#numa.length)));
  }

  #newDevice(resource: string): ScenarioDevice {
    const random = this.#random;
    this.#devicesMade += 1;
    const stem = random.pick(['d', 'gpu-', 'GPU-é<&>', '0']);
    const numa = this.#mode === 'counts' ? this.#layout.get(resource) : this.#someNodes();
    const health = this.#mode === 'ids' && random.chance(0.15) ? random.pick(SICK) : 'Healthy';
    return { id: `${stem}${String(this.#devicesMade)}`, health, ...(numa === undefined ? {} : { numa }) };
  }

  #plugIn(resource: string): void {
    const random = this.#random;
    let devices = this.#lists.get(resource);
    if (devices === undefined) {
      const count = random.chance(0.05) ? 0 : random.between(1, random.chance(0.2) ? 14 : 6);
      devices = Array.from({ length: count }, () => this.#newDevice(resource));
      this.#lists.set(resource, devices);
    }
    this.#connected.add(resource);
    this.#steps.push({ do: 'plugin', resource, devices });
  }

  // ---- Actions -------------------------------------------------------------------------------------------------

  #act(): void {
    const kind = this.#random.next();
    if (kind < 0.46) this.#admit();
    else if (kind < 0.54) this.#remove();
    else if (kind < 0.72 && this.#mode === 'ids') this.#relist();
    else if (kind < 0.72) this.#change();
    else if (kind < 0.78) this.#options();
    else if (kind < 0.83) this.#status();
    else if (kind < 0.86) this.#sanitize();
    else if (kind < 0.9) this.#unplug();
    else if (kind < 0.94) this.#comeBack();
    else if (kind < 0.96) this.#register();
    else this.#restart();
  }

  #makeLimits(failable: boolean): Record<string, string> {
    const random = this.#random;
    const limits: Record<string, string> = {};
    for (const { resource } of this.#plugins) {
      if (!random.chance(this.#plugins.length === 1 ? 0.95 : 0.6)) continue;
      const listed = this.#lists.get(resource)?.length ?? 0;
      const most = failable && random.chance(0.15) ? listed + 2 : Math.max(1, Math.ceil(listed / 3));
      limits[resource] = String(random.between(1, most));
    }
    if (random.chance(0.06)) limits['example.com/unknown'] = '1';
    if (random.chance(0.04)) limits['cpu'] = '1';
    return limits;
  }

  #makePod(): KnownPod {
    const random = this.#random;
    this.#podsMade += 1;
    const uid = `u${String(this.#podsMade)}`;
    const initContainers: ProtocolContainer[] = [];
    if (random.chance(0.3)) {
      for (let index = random.between(1, 3); index > 0; index -= 1) {
        const name = `i${String(initContainers.length)}`;
        const restartable = random.chance(0.35);
        initContainers.push({ name, limits: this.#makeLimits(false), ...(restartable ? { restartable } : {}) });
      }
    }
    const containers: ProtocolContainer[] = [];
    for (let index = random.pick([1, 1, 1, 2, 3]); index > 0; index -= 1) {
      containers.push({ name: `c${String(containers.length)}`, limits: this.#makeLimits(true) });
    }
    const hasInit = initContainers.length > 0;
    return { pod: { uid, ...(hasInit ? { initContainers } : {}), containers }, hasInit };
  }

  #admit(): void {
    const random = this.#random;
    if (random.chance(0.05)) {
      this.#admitZero();
      return;
    }
    const known = this.#makePod();
    if (this.#machine.policy !== 'none' && random.chance(0.4)) {
      this.#steps.push({ do: 'hints', pod: known.pod, scope: random.pick(['container', 'pod']) });
    }
    const fail = random.chance(0.08) ? this.#makeFailure() : undefined;
    this.#steps.push({ do: 'admit', pod: known.pod, ...(fail === undefined ? {} : { fail }) });
    if (fail === undefined) this.#pods.push(known);
    // The kubelet keeps devices marked that such a failure leaves behind; nothing after it can be compared.
    const leaves = fail?.code === null || (fail?.call === 'GetPreferredAllocation' && this.#machine.policy !== 'none');
    if (leaves) this.#over = true;
  }

  /** A pod of its own that goes at once: the kubelet may refuse it where devmgr does not. */
  #admitZero(): void {
    this.#podsMade += 1;
    const uid = `u${String(this.#podsMade)}`;
    const limits = Object.fromEntries(this.#plugins.map(({ resource }) => [resource, '0']));
    this.#steps.push({ do: 'admit', pod: { uid, containers: [{ name: 'c0', limits }] } });
    this.#steps.push({ do: 'remove', uid }, { do: 'gc' });
  }

  #makeFailure(): ScriptedFailure | undefined {
    const random = this.#random;
    const plugin = random.pick(this.#plugins);
    if (plugin === undefined) return undefined;
    const call = plugin.prefer !== 'none' && random.chance(0.4) ? 'GetPreferredAllocation' : 'Allocate';
    const code = call === 'Allocate' && random.chance(0.25) ? null : random.pick(CODES);
    return { resource: plugin.resource, call, code };
  }

  #remove(): void {
    const random = this.#random;
    const known = random.pick(this.#pods);
    if (known === undefined) return;
    this.#pods.splice(this.#pods.indexOf(known), 1);
    this.#steps.push({ do: 'remove', uid: known.pod.uid });
    if (random.chance(0.4)) this.#steps.push({ do: 'gc' });
  }

  #relist(): void {
    const random = this.#random;
    const resource = random.pick([...this.#connected]);
    const before = resource === undefined ? undefined : this.#lists.get(resource);
    if (resource === undefined || before === undefined) return;
    const devices: ScenarioDevice[] = [];
    const kind = random.next();
    for (const device of before) {
      if (kind < 0.6 && random.chance(0.3)) {
        devices.push({ ...device, health: device.health === 'Healthy' ? random.pick(SICK) : 'Healthy' });
      } else if (kind >= 0.6 && kind < 0.8 && random.chance(0.3)) {
        continue;
      } else if (kind >= 0.8 && kind < 0.88 && random.chance(0.4)) {
        const numa = this.#someNodes();
        devices.push({ id: device.id, health: device.health, ...(numa === undefined ? {} : { numa }) });
      } else devices.push(device);
    }
    if (kind >= 0.88)
      for (let more = random.between(0, 2); more > 0; more -= 1) devices.push(this.#newDevice(resource));
    this.#lists.set(resource, devices);
    this.#steps.push({ do: 'list', resource, devices });
    if (random.chance(0.4)) this.#status();
  }

  #change(): void {
    const random = this.#random;
    const resource = random.pick([...this.#connected]);
    if (resource === undefined) return;
    const how = random.pick(['break', 'break', 'mend', 'vanish', 'return'] as const);
    // Which of a pod's devices init and app containers share is the manager's choice, so such pods have no roles.
    const known = random.chance(0.5) ? random.pick(this.#pods.filter(({ hasInit }) => !hasInit)) : undefined;
    this.#steps.push({ do: 'gc' });
    this.#steps.push({
      do: 'change',
      resource,
      how,
      count: random.between(1, 3),
      ...(known === undefined ? {} : { uid: known.pod.uid }),
    });
  }

  #options(): void {
    const random = this.#random;
    const known = random.pick(this.#pods);
    const container = random.pick([...(known?.pod.initContainers ?? []), ...(known?.pod.containers ?? [])])?.name;
    if (known === undefined || container === undefined) return;
    const plugin = random.pick(this.#plugins.filter(({ preStart }) => preStart));
    const fail: ScriptedFailure | undefined =
      plugin !== undefined && random.chance(0.3)
        ? { resource: plugin.resource, call: 'PreStartContainer', code: random.pick(CODES) }
        : undefined;
    this.#steps.push({ do: 'options', uid: known.pod.uid, container, ...(fail === undefined ? {} : { fail }) });
  }

  #status(): void {
    const known = this.#random.pick(this.#pods);
    if (known !== undefined) this.#steps.push({ do: 'status', uid: known.pod.uid });
  }

  #sanitize(): void {
    const random = this.#random;
    const known = random.pick(this.#pods);
    if (known === undefined) return;
    const allocatable: Record<string, number> = {};
    for (const { resource } of this.#plugins) if (random.chance(0.5)) allocatable[resource] = random.between(0, 4);
    this.#steps.push({ do: 'gc' }, { do: 'sanitize', uid: known.pod.uid, allocatable });
  }

  #unplug(): void {
    const resource = this.#random.pick([...this.#connected]);
    if (resource === undefined) return;
    this.#connected.delete(resource);
    this.#steps.push({ do: 'unplug', resource, how: this.#random.pick(['close', 'kill', 'end']) });
    this.#look();
  }

  /** What pods make of what has just happened. */
  #look(): void {
    if (this.#random.chance(0.5)) this.#status();
    if (this.#random.chance(0.3)) this.#options();
  }

  /** A registration that is refused. */
  #register(): void {
    const random = this.#random;
    const resource = random.pick([
      ...WRONG_NAMES,
      `example.com/${'x'.repeat(random.pick([64, 70]))}`,
      'example.com/fine',
    ]);
    const fine = resource === 'example.com/fine' || random.chance(0.2);
    this.#steps.push({ do: 'register', resource, version: fine ? random.pick(['v1alpha', '', 'v1beta2']) : 'v1beta1' });
  }

  #comeBack(): void {
    const away = this.#plugins.filter(({ resource }) => !this.#connected.has(resource));
    const plugin = this.#random.pick(away);
    if (plugin !== undefined) this.#plugIn(plugin.resource);
  }

  #restart(): void {
    const random = this.#random;
    const ready = random.chance(0.4);
    const running = this.#pods.filter(() => random.chance(0.6)).map(({ pod }) => pod.uid);
    this.#steps.push({ do: 'restart', ready, running, initDone: random.chance(0.5) });
    const again = this.#plugins.filter(({ resource }) => this.#connected.has(resource));
    this.#connected.clear();
    const before = again.filter(() => random.chance(0.5));
    for (const { resource } of before) this.#plugIn(resource);
    for (const { pod } of this.#pods)
      this.#steps.push({ do: 'readmit', uid: pod.uid, ...(random.chance(0.08) ? { more: true } : {}) });
    if (random.chance(0.6)) this.#look();
    if (!ready) this.#steps.push({ do: 'ready' });
    for (const plugin of again) if (!before.includes(plugin) && random.chance(0.8)) this.#plugIn(plugin.resource);
  }
}
