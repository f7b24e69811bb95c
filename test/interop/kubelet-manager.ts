import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RpcCode, RpcError, bindService, listenUnix, podresources } from '@devmgr/wire';
import { PeerProcess } from '../oracle/differential/peer-process.ts';
import type { AllocatableAnswer } from '../oracle/protocol.ts';

/** The real kubelet's device manager; made by `npm run build:oracle`. */
export const KUBELET = fileURLToPath(new URL('../oracle/.build/kubelet-oracle', import.meta.url));

/** A kubelet's device manager that serves a root directory. */
export interface KubeletManager {
  close(): Promise<void>;
}

/**
 * Starts the real kubelet's device manager and plugin watcher on a root directory. Its PodResources API is ours, one call
 * deep: the parts of the kubelet that serve it need the rest of the kubelet, the devices in its answers do not.
 */
export async function startKubeletManager(rootDir: string): Promise<KubeletManager> {
  const dir = join(rootDir, 'device-plugins');
  const watch = join(rootDir, 'plugins_registry');
  for (const one of [dir, watch, join(rootDir, 'pod-resources')]) await mkdir(one, { recursive: true });
  const kubelet = new PeerProcess(KUBELET);
  const view = bindService(podresources.PodResourcesListerService, {
    list: () => ({ podResources: [] }), // it admits no pod here
    get: () => {
      throw new RpcError(RpcCode.Unimplemented, 'no pods here');
    },
    getAllocatableResources: async () => ({
      devices: toContainerDevices((await kubelet.do({ op: 'allocatable' })) as AllocatableAnswer),
      cpuIds: [],
      memory: [],
    }),
  });
  try {
    await kubelet.do({ op: 'start', dir, watch });
    const server = await listenUnix({ path: join(rootDir, 'pod-resources', 'kubelet.sock'), services: [view] });
    return {
      close: async () => {
        await server.close(0);
        await kubelet.close();
      },
    };
  } catch (error) {
    await kubelet.close();
    throw error;
  }
}

export function hasKubelet(): boolean {
  return existsSync(KUBELET);
}

/** One entry for each device and node. (kubelet: podresources, GetAllocatableResources) */
function toContainerDevices(answer: AllocatableAnswer): podresources.ContainerDevices[] {
  return Object.entries(answer).flatMap(([resourceName, devices]) =>
    Object.entries(devices).flatMap(([id, { numa }]) => {
      const topologies = numa.length === 0 ? [undefined] : numa.map((node) => ({ nodes: [{ ID: BigInt(node) }] }));
      return topologies.map((topology) => ({ resourceName, deviceIds: [id], topology }));
    }),
  );
}
