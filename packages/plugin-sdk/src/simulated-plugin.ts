import { DevmgrError } from '@devmgr/core';
import type { RpcError } from '@devmgr/wire';
import { CallFaults } from './call-faults.ts';
import { preferOneNumaNode } from './numa-preference.ts';
import type { DeviceInput } from './plugin-device.ts';
import { messageOf, silentLog } from './plugin-log.ts';
import type { PluginLog } from './plugin-log.ts';
import type { PluginBehaviour, PluginMethod, PluginPlacement, PluginState } from './plugin-spec.ts';
import { ServedPlugin } from './serve-plugin.ts';
import { simulatedResponse } from './simulated-response.ts';
import type { Simulation } from './simulation-file.ts';
import { completed, listedDevices, simulatedResource } from './simulation-schema.ts';
import type {
  SimulatedCall,
  SimulatedDevice,
  SimulatedResource,
  SimulatedResourceInput,
  TimelineStep,
} from './simulation-schema.ts';
import { Timeline } from './timeline.ts';

const CALL_OF: Readonly<Record<PluginMethod, SimulatedCall>> = {
  GetDevicePluginOptions: 'options',
  Allocate: 'allocate',
  GetPreferredAllocation: 'preferredAllocation',
  PreStartContainer: 'preStart',
};

/**
 * Serves hardware that does not exist.
 *
 * @param spec the fields of a simulation file, e.g. `{ resource: 'example.com/gpu', count: 8, numaNodes: 2 }`
 * @throws DevmgrError PLUGIN_INVALID naming the field that cannot be used.
 */
export function simulatedPlugin(spec: SimulatedResourceInput, placement: PluginPlacement = {}): SimulatedPlugin {
  const checked = simulatedResource.safeParse(spec);
  if (checked.success) return new SimulatedPlugin(checked.data, placement);
  const [issue] = checked.error.issues;
  const place = issue?.path.map(String).join('.') ?? '';
  throw new DevmgrError(
    'PLUGIN_INVALID',
    `simulated plugin: ${place}${place === '' ? '' : ': '}${issue?.message ?? ''}`,
  );
}

/** Serves every resource of a simulation file. Closing one plugin leaves the others. */
export function simulate(
  simulation: Simulation,
  placement: Omit<PluginPlacement, 'socketName'> = {},
): SimulatedPlugin[] {
  return simulation.resources.map((resource) => new SimulatedPlugin(resource, placement));
}

/** A simulated resource and the controls of its fate. Controls take effect at once; an unknown id throws PLUGIN_INVALID. */
export class SimulatedPlugin {
  readonly resource: string;
  /** Resolves at the first registration; rejects when closed before. Need not be awaited. */
  readonly registered: Promise<void>;
  readonly #spec: SimulatedResource;
  readonly #placement: PluginPlacement;
  readonly #log: PluginLog;
  readonly #devices = new Map<string, SimulatedDevice>();
  readonly #indexes = new Map<string, number>();
  readonly #faults = new CallFaults<SimulatedCall>();
  readonly #timeline: Timeline;
  #plugin: ServedPlugin;
  #restarting: Promise<void> = Promise.resolve();
  #closed = false;

  /** Use `simulatedPlugin` or `simulate`. */
  constructor(spec: SimulatedResource, placement: PluginPlacement) {
    this.resource = spec.resource;
    this.#spec = spec;
    this.#placement = placement;
    this.#log = placement.log ?? silentLog;
    for (const device of listedDevices(spec)) this.#put(device);
    this.#plugin = this.#serve();
    this.registered = this.#plugin.registered;
    this.#timeline = new Timeline(spec.timeline ?? [], (step) => {
      this.#play(step);
    });
    this.registered.then(
      () => {
        this.#timeline.start();
      },
      () => undefined,
    );
    placement.signal?.addEventListener('abort', () => {
      this.#closed = true;
      this.#timeline.stop();
    });
  }

  get socketPath(): string {
    return this.#plugin.socketPath;
  }

  get state(): PluginState {
    return this.#plugin.state;
  }

  get problem(): string | undefined {
    return this.#plugin.problem;
  }

  get streams(): number {
    return this.#plugin.streams;
  }

  /** The devices as they are listed now. */
  get devices(): readonly SimulatedDevice[] {
    return [...this.#devices.values()];
  }

  setHealth(id: string, health: string): void {
    this.#put({ ...this.#mustHave(id), health });
    this.#publish();
  }

  remove(...ids: readonly string[]): void {
    for (const id of ids) this.#mustHave(id);
    for (const id of ids) this.#devices.delete(id);
    this.#publish();
  }

  /** Adds devices; one that is there already is replaced. */
  add(...devices: readonly DeviceInput[]): void {
    for (const device of devices) this.#put(completed(typeof device === 'string' ? { id: device } : device));
    this.#publish();
  }

  /** Replaces all devices. */
  setDevices(devices: readonly DeviceInput[]): void {
    this.#devices.clear();
    this.add(...devices);
  }

  /** Leaves a call unanswered until `calm`. */
  hang(call: SimulatedCall): void {
    this.#faults.hang(call);
  }

  fail(call: SimulatedCall, message: string): void {
    this.#faults.fail(call, message);
  }

  slow(call: SimulatedCall, delayMs: number): void {
    this.#faults.slow(call, delayMs);
  }

  /** Ends what `hang`, `fail` and `slow` began, for one call or all. */
  calm(call?: SimulatedCall): void {
    for (const one of call === undefined ? Object.values(CALL_OF) : [call]) this.#faults.calm(one);
  }

  /** Ends ListAndWatch under the manager's feet; the plugin registers again. */
  endStreams(error?: RpcError): void {
    this.#plugin.endStreams(error);
  }

  /** Goes away and comes back as a plugin process that was restarted does, on a new socket, with the devices of now. */
  async restart(): Promise<void> {
    const restart = async (): Promise<void> => {
      await this.#plugin.close();
      if (!this.#closed) this.#plugin = this.#serve();
    };
    this.#restarting = this.#restarting.then(restart);
    await this.#restarting;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timeline.stop();
    this.calm();
    await this.#restarting;
    await this.#plugin.close();
  }

  #serve(): ServedPlugin {
    const behaviour: PluginBehaviour = {
      resource: this.resource,
      devices: this.devices,
      intercept: (method, _deviceIds, call) => this.#faults.suffer(CALL_OF[method], call),
      allocate: (ids) =>
        simulatedResponse(
          this.#spec,
          // Managers name the devices of a container in any order.
          ids.map((id) => ({ id, index: this.#indexes.get(id) ?? -1 })).sort((one, other) => one.index - other.index),
        ),
    };
    if (this.#spec.preferredAllocation === true) {
      behaviour.preferredAllocation = (request) =>
        preferOneNumaNode(request, (id) => this.#devices.get(id)?.numaNodes[0]);
    }
    if (this.#spec.preStart === true) behaviour.preStart = () => undefined;
    return new ServedPlugin(behaviour, this.#placement);
  }

  #publish(): void {
    if (!this.#closed) this.#plugin.update(this.devices);
  }

  #put(device: SimulatedDevice): void {
    if (!this.#indexes.has(device.id)) this.#indexes.set(device.id, this.#indexes.size);
    this.#devices.set(device.id, device);
  }

  #mustHave(id: string): SimulatedDevice {
    const device = this.#devices.get(id);
    if (device === undefined) {
      throw new DevmgrError('PLUGIN_INVALID', `${this.resource}: there is no device ${JSON.stringify(id)}`);
    }
    return device;
  }

  /** What a step asks for that is impossible by now (health of a device that was removed) is left out. */
  #play(step: TimelineStep): void {
    this.#log.info({ resource: this.resource, step }, 'simulation step');
    this.add(...(step.add ?? []));
    for (const [id, health] of Object.entries(step.health ?? {})) if (this.#devices.has(id)) this.setHealth(id, health);
    this.remove(...(step.remove ?? []).filter((id) => this.#devices.has(id)));
    for (const call of step.calm ?? []) this.calm(call);
    for (const call of step.hang ?? []) this.hang(call);
    for (const [call, message] of entriesOf(step.fail)) this.fail(call, message);
    for (const [call, delayMs] of entriesOf(step.slow)) this.slow(call, delayMs);
    if (step.endStreams === true) this.endStreams();
    if (step.restart === true) {
      this.restart().catch((error: unknown) => {
        this.#log.error({ resource: this.resource, cause: messageOf(error) }, 'restart failed');
      });
    }
  }
}

function entriesOf<Value>(record: Partial<Record<SimulatedCall, Value>> | undefined): [SimulatedCall, Value][] {
  return Object.entries(record ?? {}) as [SimulatedCall, Value][];
}
