import type { Container, Pod } from '@devmgr/core';
import type { ProtocolContainer, ProtocolPod } from '../protocol.ts';

/** A pod of the protocol as the manifest it stands for. */
export function toPod(pod: ProtocolPod): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod.name ?? pod.uid, namespace: 'default', uid: pod.uid },
    spec: {
      initContainers: (pod.initContainers ?? []).map((container) => ({
        ...toContainer(container),
        ...(container.restartable === true ? { restartPolicy: 'Always' as const } : {}),
      })),
      containers: (pod.containers ?? []).map(toContainer),
    },
  };
}

function toContainer({ name, limits = {} }: ProtocolContainer): Container {
  return { name, resources: { limits: { ...limits }, requests: { ...limits } } };
}
