import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { startPlugins, type PluginEndpoints, type PluginEndpointsOptions } from '../../src/plugins/plugin-endpoints.ts';
import { SystemClock } from '../../src/system-clock.ts';
import { RecordingHost } from './recording-host.ts';
import { ScriptedPlugin, type PluginScript } from './scripted-plugin.ts';
import { SilentLog } from './silent-log.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** A root directory with running plugin endpoints; everything is closed when the test is over. */
export class EndpointsFixture {
  readonly host = new RecordingHost();
  readonly log = new SilentLog();
  readonly events: { readonly type: string; readonly reason: string; readonly message: string }[] = [];
  readonly root = temporaryDirectory();
  readonly devicePluginDir = join(this.root, 'device-plugins');
  readonly registryDir = join(this.root, 'plugins_registry');
  readonly kubeletSocket = join(this.devicePluginDir, 'kubelet.sock');

  async start(overrides: Partial<PluginEndpointsOptions> = {}): Promise<PluginEndpoints> {
    const endpoints = await startPlugins({
      devicePluginDir: this.devicePluginDir,
      registryDir: this.registryDir,
      host: this.host,
      clock: new SystemClock(),
      log: this.log,
      limits: { dialTimeoutMs: 10_000, optionsTimeoutMs: 10_000, maxReceiveBytes: 64 * 1024 * 1024 },
      remembered: [],
      events: (type, reason, message) => {
        this.events.push({ type, reason, message });
      },
      ...overrides,
    });
    onTestFinished(() => endpoints.close());
    return endpoints;
  }

  /** A plugin in the device plugin directory, not registered. */
  plugin(script: PluginScript = {}, name = 'p.sock'): Promise<ScriptedPlugin> {
    return this.pluginAt(join(this.devicePluginDir, name), script);
  }

  async pluginAt(path: string, script: PluginScript = {}): Promise<ScriptedPlugin> {
    const plugin = await ScriptedPlugin.start(path, script);
    onTestFinished(() => plugin.stop());
    return plugin;
  }
}
