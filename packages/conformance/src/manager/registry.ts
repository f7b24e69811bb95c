import { mkdir } from 'node:fs/promises';
import type { PluginScript, ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import type { pluginregistration } from '@devmgr/wire';
import { bad, good } from '../check.ts';
import type { ManagerBench } from './manager-bench.ts';
import type { ManagerCheck } from './run-manager-checks.ts';

/** A plugin whose socket lies in plugins_registry. */
async function found(bench: ManagerBench, script: Partial<PluginScript> = {}): Promise<ScriptedPlugin> {
  const pluginDir = bench.registryDir;
  await mkdir(pluginDir, { recursive: true });
  return bench.plugin({ pluginDir, registry: true, script });
}

async function verdict(bench: ManagerBench, plugin: ScriptedPlugin): Promise<string> {
  await bench.until(() => plugin.callsOf('NotifyRegistrationStatus').length > 0);
  const status = plugin.callsOf('NotifyRegistrationStatus').at(-1)?.request as
    pluginregistration.RegistrationStatus | undefined;
  if (status === undefined) return 'it was not told';
  return status.pluginRegistered ? 'registered' : status.error;
}

export const REGISTRY_CHECKS: readonly ManagerCheck[] = [
  {
    id: 'manager/registry-finds',
    level: 'quick',
    severity: 'error',
    title: 'A socket in plugins_registry is found, asked who it is, watched, and told.',
    why: 'Plugins that use the directory need not notice a restart of the kubelet. (kubelet: plugin watcher)',
    remedy: 'Watch the directory: GetInfo, then options and ListAndWatch, then NotifyRegistrationStatus.',
    async run(bench) {
      const plugin = await found(bench);
      const said = await verdict(bench, plugin);
      if (said !== 'registered') return bad('not registered', said);
      return (await bench.until(() => plugin.streams > 0))
        ? good('registered, and watched')
        : bad('no ListAndWatch came');
    },
  },
  {
    id: 'manager/registry-versions',
    level: 'quick',
    severity: 'error',
    title: 'A plugin in plugins_registry that speaks other versions only is told so.',
    why: 'It has no other way to hear why it is not used. (kubelet: plugin watcher, ValidatePlugin)',
    remedy:
      'NotifyRegistrationStatus with the text: manager version, v1beta1, is not among plugin supported versions [v1beta2].',
    async run(bench) {
      const plugin = await found(bench, {
        getInfo: () => ({ type: 'DevicePlugin', name: bench.resource(), endpoint: '', supportedVersions: ['v1beta2'] }),
      });
      const said = await verdict(bench, plugin);
      const wanted = 'manager version, v1beta1, is not among plugin supported versions [v1beta2]';
      return said.includes(wanted) ? good('told') : bad('told something else', said);
    },
  },
  {
    id: 'manager/registry-names',
    level: 'quick',
    severity: 'error',
    title: 'A plugin in plugins_registry whose resource name is not valid is told so.',
    why: 'It has no other way to hear why it is not used. (kubelet: plugin watcher, ValidatePlugin)',
    remedy:
      'NotifyRegistrationStatus with the text: invalid name of device plugin socket: the ResourceName "…" is invalid.',
    async run(bench) {
      const plugin = await found(bench, {
        getInfo: () => ({
          type: 'DevicePlugin',
          name: 'kubernetes.io/x',
          endpoint: '',
          supportedVersions: ['v1beta1'],
        }),
      });
      const said = await verdict(bench, plugin);
      const wanted = 'invalid name of device plugin socket: the ResourceName "kubernetes.io/x" is invalid';
      return said.includes(wanted) ? good('told') : bad('told something else', said);
    },
  },
  {
    id: 'manager/registry-again',
    level: 'quick',
    severity: 'error',
    title: 'A socket that vanished from plugins_registry and came back is found again.',
    why: 'It is how such plugins are restarted. (kubelet: plugin watcher)',
    remedy: 'Forget a socket when it is removed, and start afresh when it is made anew.',
    async run(bench) {
      const plugin = await found(bench);
      const said = await verdict(bench, plugin);
      if (said !== 'registered') return bad('not registered', said);
      await plugin.close();
      await bench.pause(2_000);
      await plugin.listen();
      const again = await bench.until(() => plugin.callsOf('GetInfo').length > 1 && plugin.streams > 0);
      return again ? good('found again') : bad('not found again');
    },
  },
];
