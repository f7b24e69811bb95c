import { DevmgrError, HEALTHY } from '@devmgr/core';
import type { RpcError } from '@devmgr/wire';
import { CallFaults } from './call-faults.ts';
import { preferOneNumaNode } from './numa-preference.ts';
import type { DeviceInput } from './plugin-device.ts';
import { messageOf, silentLog } from './plugin-log.ts';
import type { PluginLog } from './plugin-log.ts';
import type { PluginBehaviour, PluginMethod, PluginPlacement, PluginState } from './plugin-spec.ts';
import { Repeater } from './repeater.ts';
import { ServedPlugin } from './serve-plugin.ts';
import { SimulatedLife } from './simulated-life.ts';
import { Mischief } from './simulated-mischief.ts';
import { SimulatedCdi } from './simulated-cdi.ts';
import { simulatedResponse } from './simulated-response.ts';
import type { Chosen } from './simulated-response.ts';
import type { Simulation } from './simulation-file.ts';
import { completed, listedDevices, simulatedResource } from './simulation-schema.ts';
import type { SimulatedDevice, SimulatedResource, SimulatedResourceInput } from './simulation-schema.ts';
import { LIES } from './simulation-step.ts';
import type { Lie, SimulatedCall, SimulatedStep } from './simulation-step.ts';
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
  readonly #mischief = new Mischief();
  readonly #flaps = new Repeater();
  readonly #timeline: Timeline;
  #resurrection: NodeJS.Timeout | undefined;
  /** Counts deaths and restarts that were asked for, so that a death knows whether it was the last word. */
  #changes = 0;
  readonly #life: SimulatedLife;
  readonly #cdi: SimulatedCdi | undefined;
  #closed = false;

  /** Use `simulatedPlugin` or `simulate`. */
  constructor(spec: SimulatedResource, placement: PluginPlacement) {
    this.resource = spec.resource;
    this.#spec = spec;
    this.#placement = placement;
    this.#log = placement.log ?? silentLog;
    for (const device of listedDevices(spec)) this.#put(device);
    if (spec.cdiDir !== undefined) this.#cdi = new SimulatedCdi(spec, spec.cdiDir);
    this.#life = new SimulatedLife(() => this.#serve());
    this.registered = this.#life.plugin.registered;
    this.#timeline = new Timeline(spec.timeline ?? [], (step) => {
      this.#log.info({ resource: this.resource, step }, 'simulation step');
      this.#play(this.#sift(step).possible); // A timeline goes on when devices have gone by now.
    });
    this.registered.then(
      () => {
        this.#timeline.start();
      },
      () => undefined,
    );
    placement.signal?.addEventListener('abort', () => {
      this.#report(this.close(), 'closing failed');
    });
  }

  get socketPath(): string {
    return this.#life.plugin.socketPath;
  }

  get state(): PluginState {
    return this.#life.plugin.state;
  }

  get problem(): string | undefined {
    return this.#life.plugin.problem;
  }

  get streams(): number {
    return this.#life.plugin.streams;
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

  /** Ends what `hang`, `fail` and `slow` began for one call, or all trouble there is. */
  calm(call?: SimulatedCall): void {
    for (const one of call === undefined ? Object.values(CALL_OF) : [call]) this.#faults.calm(one);
    if (call !== undefined) return;
    this.#flaps.stopAll();
    this.#mischief.calm();
  }

  /** Lets the health of devices change to and fro, all of them together; they are healthy in the end. */
  flap({
    devices,
    every: everyMs,
    for: forMs,
  }: {
    devices: readonly string[];
    every: number;
    for?: number | undefined;
  }): void {
    for (const id of devices) this.#mustHave(id);
    let health = HEALTHY;
    const set = (next: string): void => {
      health = next;
      for (const id of devices) if (this.#devices.has(id)) this.#put({ ...this.#mustHave(id), health });
      this.#publish();
    };
    const name = devices.join(', ');
    this.#flaps.start(
      name,
      { everyMs, forMs },
      () => {
        set(health === HEALTHY ? 'Unhealthy' : HEALTHY);
      },
      () => {
        set(HEALTHY);
      },
    );
    set('Unhealthy');
  }

  /** Sends the list again and again, `perSecond` times a second, for so many milliseconds or until `calm`. */
  flood(flood: { perSecond: number; for?: number | undefined }): void {
    this.#mischief.flood(flood);
  }

  /** Gives answers that contradict the question, or themselves, until `calm`. */
  lie(...lies: readonly Lie[]): void {
    this.#mischief.lie(lies.length === 0 ? LIES : lies);
  }

  /** Makes lists at least so many bytes long, by unhealthy devices that are not there. 0 ends it. */
  oversize(bytes: number): void {
    this.#mischief.oversize(bytes);
  }

  /** Ends ListAndWatch under the manager's feet; the plugin registers again. */
  endStreams(error?: RpcError): void {
    this.#life.plugin.endStreams(error);
  }

  /**
   * Goes as a killed process does: streams and calls are cut, the socket file stays. Comes back on a new socket after
   * `forMs` milliseconds, or at a `restart`.
   */
  async die(forMs?: number): Promise<void> {
    clearTimeout(this.#resurrection);
    const change = ++this.#changes;
    await this.#life.die();
    if (forMs === undefined || this.#closed || change !== this.#changes) return;
    this.#resurrection = setTimeout(() => {
      this.#report(this.restart(), 'coming back failed');
    }, forMs);
  }

  /**
   * Goes away and comes back as a plugin process that was restarted does, on a new socket, with the devices of now; with
   * `idPrefix` under other ids, that and a number.
   */
  async restart({ idPrefix }: { idPrefix?: string | undefined } = {}): Promise<void> {
    clearTimeout(this.#resurrection);
    this.#changes += 1;
    await this.#life.restart(() => {
      if (idPrefix !== undefined) this.#rename(idPrefix);
    });
  }

  /** Does what a step says, at once. A device that is not there throws PLUGIN_INVALID before anything is done. */
  play(step: SimulatedStep): void {
    const { possible, missing } = this.#sift(step);
    if (missing[0] !== undefined) throw this.#unknown(missing[0]);
    this.#play(possible);
  }

  /** What goes wrong on purpose now, in words. */
  get troubles(): readonly string[] {
    return [
      ...this.#faults.troubles,
      ...this.#flaps.names.map((name) => `${name} flaps`),
      ...this.#mischief.troubles,
      ...(this.#life.dead ? ['dead'] : []),
    ];
  }

  async close(): Promise<void> {
    this.#stop();
    for (const call of Object.values(CALL_OF)) this.#faults.calm(call);
    await this.#life.close();
    await this.#cdi?.close();
  }

  /** No more of what happens by itself. */
  #stop(): void {
    this.#closed = true;
    clearTimeout(this.#resurrection);
    this.#timeline.stop();
    this.#flaps.stopAll();
    this.#mischief.close();
  }

  #serve(): ServedPlugin {
    const behaviour: PluginBehaviour = {
      resource: this.resource,
      devices: this.devices,
      intercept: (method, _deviceIds, call) => this.#faults.suffer(CALL_OF[method], call),
      allocate: async (ids) => {
        await this.#cdi?.cover(this.devices.map(({ id }) => this.#place(id)));
        // Managers name the devices of a container in any order.
        const chosen = ids.map((id) => this.#place(id)).sort((one, other) => one.index - other.index);
        return simulatedResponse(this.#spec, chosen);
      },
    };
    if (this.#spec.preferredAllocation === true) {
      behaviour.preferredAllocation = (request) =>
        preferOneNumaNode(request, (id) => this.#devices.get(id)?.numaNodes[0]);
    }
    if (this.#spec.preStart === true) behaviour.preStart = () => undefined;
    return new ServedPlugin(behaviour, this.#placement, (handlers) => this.#mischief.spoil(handlers));
  }

  #place(id: string): Chosen {
    return { id, index: this.#indexes.get(id) ?? -1 };
  }

  #publish(): void {
    if (!this.#closed) this.#life.plugin.update(this.devices);
  }

  #put(device: SimulatedDevice): void {
    if (!this.#indexes.has(device.id)) this.#indexes.set(device.id, this.#indexes.size);
    this.#devices.set(device.id, device);
  }

  #mustHave(id: string): SimulatedDevice {
    const device = this.#devices.get(id);
    if (device === undefined) throw this.#unknown(id);
    return device;
  }

  #unknown(id: string): DevmgrError {
    return new DevmgrError('PLUGIN_INVALID', `${this.resource}: there is no device ${JSON.stringify(id)}`);
  }

  /** The same devices in the same order under new ids. */
  #rename(idPrefix: string): void {
    const devices = this.devices;
    this.#devices.clear();
    this.#indexes.clear();
    for (const [index, device] of devices.entries()) this.#put({ ...device, id: idPrefix + String(index) });
  }

  /** The step without what it asks of devices that are not there, and which those are. */
  #sift(step: SimulatedStep): { possible: SimulatedStep; missing: string[] } {
    const there = new Set([...this.#devices.keys(), ...(step.add ?? []).map(({ id }) => id)]);
    const missing: string[] = [];
    const isThere = (id: string): boolean => {
      if (!there.has(id)) missing.push(id);
      return there.has(id);
    };
    const health = Object.fromEntries(Object.entries(step.health ?? {}).filter(([id]) => isThere(id)));
    const remove = (step.remove ?? []).filter(isThere);
    for (const id of remove) there.delete(id);
    const flapping = (step.flap?.devices ?? []).filter(isThere);
    const flap = step.flap === undefined || flapping.length === 0 ? undefined : { ...step.flap, devices: flapping };
    return { possible: { ...step, health, remove, flap }, missing };
  }

  #play(step: SimulatedStep): void {
    for (const device of step.add ?? []) this.#put(completed(device));
    for (const [id, health] of Object.entries(step.health ?? {})) this.#put({ ...this.#mustHave(id), health });
    for (const id of step.remove ?? []) this.#devices.delete(id);
    this.#publish();
    if (step.calm === true) this.calm();
    else for (const call of step.calm ?? []) this.calm(call);
    for (const call of step.hang ?? []) this.hang(call);
    for (const [call, message] of entriesOf(step.fail)) this.fail(call, message);
    for (const [call, delayMs] of entriesOf(step.slow)) this.slow(call, delayMs);
    if (step.flap !== undefined) this.flap(step.flap);
    if (step.lie !== undefined) this.lie(...step.lie);
    if (step.oversize !== undefined) this.oversize(step.oversize);
    if (step.flood !== undefined) this.flood(step.flood);
    if (step.endStreams === true) this.endStreams();
    if (step.die !== undefined) this.#report(this.die(step.die === true ? undefined : step.die), 'dying failed');
    if (step.restart !== undefined) {
      this.#report(this.restart(step.restart === true ? {} : step.restart), 'restart failed');
    }
  }

  #report(work: Promise<void>, failure: string): void {
    work.catch((error: unknown) => {
      this.#log.error({ resource: this.resource, cause: messageOf(error) }, failure);
    });
  }
}

function entriesOf<Value>(record: Partial<Record<SimulatedCall, Value>> | undefined): [SimulatedCall, Value][] {
  return Object.entries(record ?? {}) as [SimulatedCall, Value][];
}
