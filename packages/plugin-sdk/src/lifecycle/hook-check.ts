import { DevmgrError } from '@devmgr/core';
import { DEFAULT_LIMITS } from './lifecycle-spec.ts';
import type { PluginLifecycle } from './lifecycle-spec.ts';

/** @throws DevmgrError PLUGIN_INVALID naming what in a lifecycle cannot work. `resource` is only for the message. */
export function checkHooks(resource: string, hooks: PluginLifecycle): void {
  const invalid = (what: string): DevmgrError => new DevmgrError('PLUGIN_INVALID', `${resource}: lifecycle.${what}`);
  for (const hook of ['ready', 'init', 'initKey', 'health', 'reset', 'resetGroup', 'released'] as const) {
    const value: unknown = Reflect.get(hooks, hook);
    if (value !== undefined && typeof value !== 'function') throw invalid(`${hook} is not a function`);
  }
  const { install, stateDir, resetWhen } = hooks;
  if (install !== undefined) {
    if (typeof install.key !== 'string' || install.key === '') throw invalid('install.key is empty');
    const ways = ['run', 'command'].filter((way) => Reflect.get(install, way) !== undefined);
    if (ways.length !== 1) throw invalid('install needs either run or command');
    if (install.command?.length === 0) throw invalid('install.command is empty');
  }
  if (![undefined, 'before', 'after'].includes(resetWhen))
    throw invalid(`resetWhen is ${JSON.stringify(resetWhen)}, not before or after`);
  const durable = (['install', 'initKey', 'reset', 'released'] as const).find((hook) => hooks[hook] !== undefined);
  if (durable !== undefined && (stateDir === undefined || !stateDir.startsWith('/'))) {
    throw new DevmgrError(
      'PLUGIN_INVALID',
      `${resource}: lifecycle.stateDir is needed with ${durable}, as an absolute path`,
      {
        remedy: 'Give a directory that outlives the process, on the host when the plugin runs in a container.',
      },
    );
  }
  for (const [limit, value] of Object.entries(hooks.limits ?? {})) {
    if (!(limit in DEFAULT_LIMITS)) throw invalid(`limits.${limit} does not exist`);
    if (typeof value !== 'number' || !(value >= 0) || value >= 2 ** 31)
      throw invalid(`limits.${limit} is not a number of zero or more`);
  }
}
