import { join } from 'node:path';
import { servePlugin } from '@devmgr/plugin-sdk';
import type { LifecycleLimits, Plugin, PluginBehaviour, PluginLifecycle } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeManager, FakeSession } from '@devmgr/plugin-sdk/testing';
import { QUICK, closing, memoryLog, temporaryDir } from './helpers.ts';

export const resource = 'example.com/gpu';

/** Short pauses, long deadlines: what a test waits for comes soon, what it does not wait for does not come. */
export const BRISK: Partial<LifecycleLimits> = {
  healthEveryMs: 20,
  retryFirstMs: 20,
  retryMaxMs: 50,
  quarantineRetryMs: 60_000,
  holderPollMs: 20,
  settleMs: 0,
};

export interface LifeBench {
  readonly manager: FakeManager;
  readonly rootDir: string;
  readonly pluginDir: string;
  readonly stateDir: string;
  readonly log: ReturnType<typeof memoryLog>;
  serve(lifecycle: PluginLifecycle, more?: Partial<PluginBehaviour>): Plugin;
  session(): Promise<FakeSession>;
  /** Waits until these devices, in this order, are those a manager may hand out. */
  untilHealthy(...ids: string[]): Promise<void>;
}

/** A manager of the kind asked for, and plugins with a life of their devices. */
export async function startLifeBench(kind: 'devmgr' | 'kubelet' = 'devmgr'): Promise<LifeBench> {
  const rootDir = await temporaryDir();
  const pluginDir = join(rootDir, 'device-plugins');
  const stateDir = join(rootDir, 'state');
  const manager = closing(await startFakeManager({ pluginDir, takeReports: kind === 'devmgr' }));
  const log = memoryLog();
  const bench: LifeBench = {
    manager,
    rootDir,
    pluginDir,
    stateDir,
    log,
    serve: (lifecycle, more = {}) =>
      closing(
        servePlugin({
          resource,
          devices: ['a', 'b'],
          pluginDir,
          timing: QUICK,
          log,
          ...more,
          lifecycle: { stateDir, ...lifecycle, limits: { ...BRISK, ...lifecycle.limits } },
        }),
      ),
    session: () => manager.session(resource),
    untilHealthy: async (...ids) => {
      await until(`${ids.join(', ')} to be what can be handed out`, async () => {
        const { devices } = await bench.session();
        return String(devices.filter(({ health }) => health === 'Healthy').map(({ ID }) => ID)) === String(ids);
      });
    },
  };
  return bench;
}

/** `a:Ready b:Failing` */
export function phases(plugin: Plugin): string {
  return plugin.devices.map(({ id, phase }) => `${id}:${phase}`).join(' ');
}

export async function untilPhases(plugin: Plugin, wanted: string): Promise<void> {
  await until(wanted, () => phases(plugin) === wanted).catch((error: unknown) => {
    throw new Error(`${String(error)}, but ${JSON.stringify(plugin.devices)}`);
  });
}

/** A promise somebody else settles. */
export function gate(): { readonly passed: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}
