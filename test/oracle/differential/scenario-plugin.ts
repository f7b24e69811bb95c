import { startScriptedPlugin, until, fail, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { createClient, deviceplugin } from '@devmgr/wire';
import { join } from 'node:path';
import type { FailingCall, ScenarioDevice, ScenarioPlugin, ScriptedFailure } from './scenario.ts';

/** A call as a plugin saw it, its ids sorted. */
export type SeenCall =
  | { readonly call: 'Allocate' | 'PreStartContainer' | 'Released'; readonly ids: readonly string[] }
  | {
      readonly call: 'GetPreferredAllocation';
      readonly available: readonly string[];
      readonly mustInclude: readonly string[];
      readonly size: number;
    };

/** One resource's plugin on one side: real sockets, answers as the scenario says, every call remembered. */
export class ScenarioPluginServer {
  readonly spec: ScenarioPlugin;
  readonly #dir: string;
  readonly #asksForRelease: boolean;
  #plugin: ScriptedPlugin | undefined;
  #seen: SeenCall[] = [];
  #failure: ScriptedFailure | undefined;
  devices: ScenarioDevice[] = [];

  /** With `asksForRelease` its options have the field for it, which a kubelet is to skip. */
  constructor(spec: ScenarioPlugin, dir: string, { asksForRelease = false } = {}) {
    this.spec = spec;
    this.#dir = dir;
    this.#asksForRelease = asksForRelease;
  }

  /** Serves a new socket and registers. */
  async plugIn(devices: readonly ScenarioDevice[]): Promise<void> {
    await this.#plugin?.close();
    this.devices = [...devices];
    const plugin = await startScriptedPlugin({
      pluginDir: this.#dir,
      resource: this.spec.resource,
      endpoint: `${this.spec.resource.replaceAll('/', '-')}.sock`,
      devices: toInput(devices),
      script: {
        options: () => ({
          preStartRequired: this.spec.preStart,
          getPreferredAllocationAvailable: this.spec.prefer !== 'none',
          ...(this.#asksForRelease ? { releaseRequired: true } : {}),
        }),
        released: ({ deviceIds }) => {
          this.#seen.push({ call: 'Released', ids: deviceIds });
          return {};
        },
        allocate: ({ containerRequests }) => {
          const ids = [...(containerRequests[0]?.devicesIds ?? [])].sort();
          this.#seen.push({ call: 'Allocate', ids });
          if (this.#fails('Allocate')) return { containerResponses: [] };
          return { containerResponses: [this.#allocation(ids)] };
        },
        preferredAllocation: ({ containerRequests }) => {
          const { availableDeviceIDs = [], mustIncludeDeviceIDs = [], allocationSize = 0 } = containerRequests[0] ?? {};
          const available = [...availableDeviceIDs].sort();
          const mustInclude = [...mustIncludeDeviceIDs].sort();
          this.#seen.push({ call: 'GetPreferredAllocation', available, mustInclude, size: allocationSize });
          if (this.#fails('GetPreferredAllocation')) return { containerResponses: [] };
          return { containerResponses: [{ deviceIDs: this.#prefer(available, mustInclude, allocationSize) }] };
        },
        preStart: ({ devicesIds }) => {
          this.#seen.push({ call: 'PreStartContainer', ids: [...devicesIds].sort() });
          this.#fails('PreStartContainer');
          return {};
        },
      },
    });
    this.#plugin = plugin;
    // The kubelet refuses a path until it has noticed that its last connection there is gone.
    await until(`${this.spec.resource} to be registered`, () =>
      plugin.register().then(
        () => true,
        (error: unknown) => {
          if (String(error).includes('already connected')) return false;
          throw error;
        },
      ),
    );
  }

  /** One Register call with this version, and nobody serving. */
  async register(version: string): Promise<void> {
    const client = createClient(deviceplugin.RegistrationService, join(this.#dir, 'kubelet.sock'));
    try {
      const { resource } = this.spec;
      await client.register(
        { version, endpoint: 'nobody.sock', resourceName: resource, options: undefined },
        { timeoutMs: 30_000 },
      );
    } finally {
      client.close();
    }
  }

  list(devices: readonly ScenarioDevice[]): void {
    this.devices = [...devices];
    this.#plugin?.list(toInput(devices));
  }

  async unplug(how: 'close' | 'kill' | 'end'): Promise<void> {
    if (how === 'end') this.#plugin?.endStreams();
    else if (how === 'kill') await this.#plugin?.kill();
    else await this.#plugin?.close();
  }

  /** For one step. */
  failNext(failure: ScriptedFailure | undefined): void {
    this.#failure = failure?.resource === this.spec.resource ? failure : undefined;
  }

  takeCalls(): readonly SeenCall[] {
    const seen = this.#seen;
    this.#seen = [];
    return seen;
  }

  async close(): Promise<void> {
    await this.#plugin?.close();
  }

  /** Throws, or says that the answer is to be empty. */
  #fails(call: FailingCall): boolean {
    if (this.#failure?.call !== call) return false;
    if (this.#failure.code === null) return true;
    return fail(`scripted: no "${call}" today`, this.#failure.code)();
  }

  #prefer(available: readonly string[], mustInclude: readonly string[], size: number): string[] {
    const others = available
      .filter((id) => !mustInclude.includes(id))
      .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    const full = [...mustInclude, ...others].slice(0, size);
    switch (this.spec.prefer) {
      case 'full':
        return full;
      case 'noisy':
        return ['no-such-device', ...full.toReversed(), ...full.slice(0, 1), ''];
      case 'partial':
        return full.slice(0, Math.floor(size / 2));
      case 'unknown':
        return ['no-such-device', 'nor-this'];
      case 'greedy':
        return [...available];
      case 'empty':
      case 'none':
        return [];
    }
  }

  #allocation(ids: readonly string[]): deviceplugin.ContainerAllocateResponse {
    const { resource, extras } = this.spec;
    const name = resource.replaceAll(/[^a-z0-9]/g, '_').toUpperCase();
    return {
      envs: new Map([
        [`${name}_IDS`, ids.join(',')],
        ['PLUGIN', 'scripted'],
      ]),
      mounts: extras.includes('mount')
        ? [{ containerPath: `/opt/${name}`, hostPath: `/srv/${name}`, readOnly: ids.length % 2 === 0 }]
        : [],
      devices: extras.includes('device')
        ? [{ containerPath: `/dev/${name}`, hostPath: '/dev/null', permissions: 'mrw' }]
        : [],
      annotations: new Map(extras.includes('annotation') ? [[`scripted/${name}`, 'yes']] : []),
      cdiDevices: extras.includes('cdi')
        ? [{ name: `example.com/class=${name}` }, { name: 'example.com/class=all' }]
        : [],
    };
  }
}

/** An order of ids that is neither natural nor alphabetical. */
function rank(id: string): number {
  let hash = 2166136261;
  for (const character of id) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16777619);
  return hash >>> 0;
}

function toInput(devices: readonly ScenarioDevice[]): { id: string; health: string; numaNodes?: number[] }[] {
  return devices.map(({ id, health, numa }) => ({
    id,
    health,
    ...(numa === undefined ? {} : { numaNodes: [...numa] }),
  }));
}
