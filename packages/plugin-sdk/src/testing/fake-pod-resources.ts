import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RpcCode, RpcError, bindService, listenUnix, podresources } from '@devmgr/wire';

/** Says who holds which devices, as the PodResources API of a kubelet does. */
export interface FakePodResources {
  readonly socketPath: string;
  /** Calls of List so far. */
  readonly lists: number;
  /** From now on this pod (`namespace/name`) holds these devices, and no others; with none it is gone. */
  hold(pod: string, resource: string, deviceIds: readonly string[]): void;
  close(): Promise<void>;
}

/** Serves a {@link FakePodResources} on a socket; directories are made. */
export async function startFakePodResources(socketPath: string): Promise<FakePodResources> {
  await mkdir(dirname(socketPath), { recursive: true });
  const pods = new Map<string, { resourceName: string; deviceIds: string[] }>();
  const counter = { lists: 0 };
  const unsupported = (): never => {
    throw new RpcError(RpcCode.Unimplemented, 'only List');
  };
  const service = bindService(podresources.PodResourcesListerService, {
    list: () => {
      counter.lists += 1;
      return {
        podResources: [...pods].map(([pod, { resourceName, deviceIds }]) => {
          const [namespace = '', name = ''] = pod.split('/');
          const devices = [{ resourceName, deviceIds, topology: undefined }];
          const containers = [{ name: 'main', devices, cpuIds: [], memory: [], dynamicResources: [] }];
          return { namespace, name, containers, cpuIds: [], memory: [] };
        }),
      };
    },
    get: unsupported,
    getAllocatableResources: unsupported,
  });
  const server = await listenUnix({ path: socketPath, services: [service] });
  return {
    socketPath,
    get lists() {
      return counter.lists;
    },
    hold: (pod, resourceName, deviceIds) => {
      if (deviceIds.length === 0) pods.delete(pod);
      else pods.set(pod, { resourceName, deviceIds: [...deviceIds] });
    },
    close: () => server.close(0),
  };
}
