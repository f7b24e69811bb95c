import { readFile } from 'node:fs/promises';
import { fail, startScriptedPlugin, until } from '@devmgr/plugin-sdk/testing';
import type { pluginregistration } from '@devmgr/wire';
import type { CapacityAnswer, DeviceManagerPeer } from '../protocol.ts';
import type { Step } from './scenario.ts';

/** Where one side looks for plugins, and where it writes. */
export interface WatchedPlace {
  readonly peer: DeviceManagerPeer;
  readonly watchDir: string;
  readonly checkpointPath: string;
  /** Whether the side writes its checkpoint at each list, so that one that is to come would be taken for a later one's. */
  readonly writesAtLists: boolean;
}

/**
 * A plugin that is found in plugins_registry: what it is told, in which order it is called, what the node shows of it, and
 * what is left once its socket is gone. (kubelet: plugin manager)
 */
export async function runWatched(
  { name, type, versions, explicit, failing, count }: Extract<Step, { do: 'watched' }>,
  { peer, watchDir, checkpointPath, writesAtLists }: WatchedPlace,
): Promise<Readonly<Record<string, unknown>>> {
  const told: string[] = [];
  const plugin = await startScriptedPlugin({
    pluginDir: watchDir,
    resource: name,
    endpoint: 'watched.sock',
    registry: true,
    devices: Array.from({ length: count }, (_, index) => ({ id: `w${String(index)}` })),
    script: {
      getInfo: () => ({ type, name, endpoint: explicit ? plugin.socketPath : '', supportedVersions: [...versions] }),
      ...(failing === undefined ? {} : { options: fail('no options today', failing) }),
      notify: ({ pluginRegistered, error }: pluginregistration.RegistrationStatus) => {
        told.push(pluginRegistered ? 'registered' : error);
        return {};
      },
    },
  });
  const capacity = async (): Promise<CapacityAnswer> => (await peer.do({ op: 'capacity' })) as CapacityAnswer;
  try {
    await until('the watched plugin to be told', () => told.length > 0);
    const registered = told[0] === 'registered';
    // Refused ones are tried again and again: the first attempt counts.
    const calls = [...new Set(plugin.calls.map(({ method }) => method))].filter((method) => method !== 'ListAndWatch');
    const answer = { told: told[0], calls };
    if (!registered) return answer;
    await until('its list', async () => (await capacity()).allocatable[name] === count);
    if (writesAtLists)
      await until('its list on disk', async () =>
        (await readFile(checkpointPath, 'utf8').catch(() => '')).includes(name),
      );
    await plugin.close();
    await until('its end', async () => (await capacity()).allocatable[name] === 0);
    return { ...answer, left: (await capacity()).capacity[name] };
  } finally {
    await plugin.close();
  }
}
