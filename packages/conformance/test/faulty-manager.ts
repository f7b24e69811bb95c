import { join } from 'node:path';
import { checkResourceName } from '@devmgr/core';
import {
  RpcCode,
  RpcError,
  bindService,
  createClient,
  deviceplugin,
  listenUnix,
  podresources,
  probeUnix,
  type RpcClient,
} from '@devmgr/wire';

/** What a faulty manager does wrong; each is one line of it. */
export type Fault =
  | 'any-version'
  | 'any-name'
  | 'strict-name'
  | 'asks-twice'
  | 'hides-option-failure'
  | 'impatient'
  | 'one-at-a-time'
  | 'waits-for-list'
  | 'small-lists'
  | 'redials'
  | 'refuses-same-socket'
  | 'any-health'
  | 'merges-lists'
  | 'keeps-dead'
  | 'old-lists-count'
  | 'none';

interface Session {
  readonly socketPath: string;
  readonly devices: Map<string, deviceplugin.Device>;
}

/** A small manager of one's own making, with its view, and at most one fault. Ends with `close`. */
export async function startFaultyManager(rootDir: string, fault: Fault): Promise<{ close(): Promise<void> }> {
  const pluginDir = join(rootDir, 'device-plugins');
  const life = new AbortController();
  const owners = new Map<string, Session>();
  const living = new Set<string>();
  let turn: Promise<unknown> = Promise.resolve();

  const take = async ({ version, resourceName, endpoint }: deviceplugin.RegisterRequest, signal: AbortSignal) => {
    if (version !== 'v1beta1' && fault !== 'any-version') {
      throw new Error(
        `requested API version "${version}" is not supported by kubelet. Supported version is ["v1beta1"]`,
      );
    }
    const name = checkResourceName(resourceName);
    if (!name.ok && fault !== 'any-name') throw new Error(name.message);
    if (fault === 'strict-name' && /[A-Z_]/.test(resourceName)) throw new Error('capital letters');
    if (endpoint.includes('/')) throw new Error('not a file name');
    const socketPath = join(pluginDir, endpoint);
    if (fault === 'refuses-same-socket' && living.has(socketPath)) throw new Error('already connected');
    if ((await probeUnix(socketPath, 2_000)) !== 'grpc') throw new Error('failed to dial device plugin: nobody there');
    const maxReceiveBytes = fault === 'small-lists' ? 4 * 1024 * 1024 : undefined;
    const client = createClient(deviceplugin.DevicePluginService, socketPath, { maxReceiveBytes });
    const timeoutMs = fault === 'impatient' ? 500 : 30_000;
    try {
      await client.getDevicePluginOptions({}, { timeoutMs, signal });
      if (fault === 'asks-twice') await client.getDevicePluginOptions({}, { timeoutMs, signal });
    } catch (error) {
      if (fault !== 'hides-option-failure') {
        client.close();
        throw new Error(`failed to get device plugin options: ${String(error)}`, { cause: error });
      }
    }
    const session: Session = { socketPath, devices: new Map() };
    living.add(socketPath);
    const first = follow(client, resourceName, session);
    if (fault === 'waits-for-list') await first;
  };

  const follow = (
    client: RpcClient<typeof deviceplugin.DevicePluginService>,
    resource: string,
    session: Session,
  ): Promise<void> =>
    new Promise((listed) => {
      void (async () => {
        try {
          let taken = false;
          for await (const { devices } of client.listAndWatch({}, { signal: life.signal })) {
            if (fault !== 'merges-lists') session.devices.clear();
            for (const device of devices) session.devices.set(device.ID, device);
            if (!taken || fault === 'old-lists-count') owners.set(resource, session);
            taken = true;
            listed();
          }
        } catch {
          // the end of the session, whatever its reason
        }
        if (fault === 'redials' && !life.signal.aborted)
          await client.getDevicePluginOptions({}, { timeoutMs: 1_000 }).catch(() => undefined);
        client.close();
        living.delete(session.socketPath);
        if (fault !== 'keeps-dead' && owners.get(resource) === session) owners.delete(resource);
        listed();
      })();
    });

  const registration = bindService(deviceplugin.RegistrationService, {
    register: async (request, { signal }) => {
      const work = fault === 'one-at-a-time' ? turn.then(() => take(request, signal)) : take(request, signal);
      turn = work.catch(() => undefined);
      await work;
      return {};
    },
  });
  const view = bindService(podresources.PodResourcesListerService, {
    list: () => ({ podResources: [] }),
    get: () => {
      throw new RpcError(RpcCode.Unimplemented, 'no pods');
    },
    getAllocatableResources: () => ({
      devices: [...owners].flatMap(([resourceName, { devices }]) =>
        [...devices.values()]
          .filter(
            ({ health }) =>
              (fault === 'any-health' ? health.toLowerCase() : health) ===
              (fault === 'any-health' ? 'healthy' : 'Healthy'),
          )
          .map(({ ID, topology }) => ({ resourceName, deviceIds: [ID], topology })),
      ),
      cpuIds: [],
      memory: [],
    }),
  });
  const servers = [
    await listenUnix({ path: join(pluginDir, 'kubelet.sock'), services: [registration] }),
    await listenUnix({ path: join(rootDir, 'pod-resources', 'kubelet.sock'), services: [view] }),
  ];
  return {
    close: async () => {
      life.abort();
      await Promise.all(servers.map((server) => server.close(0)));
    },
  };
}
