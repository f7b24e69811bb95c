import type { ContainerStatus, Pod, PodStatus } from '@devmgr/core';
import { expect, test } from 'vitest';
import { isPodFinished, podDevices, podReadyWord, podRestarts, podStatusWord } from '../src/output/pod-status.ts';

function pod(status: PodStatus | undefined, extra: Partial<Pod> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: {
      containers: [{ name: 'a' }, { name: 'b' }],
      initContainers: [{ name: 'i' }, { name: 's', restartPolicy: 'Always' }],
    },
    ...(status === undefined ? {} : { status }),
    ...extra,
  };
}

function container(
  name: string,
  state: ContainerStatus['state'],
  extra: Partial<ContainerStatus> = {},
): ContainerStatus {
  return {
    name,
    state,
    lastState: {},
    ready: false,
    started: false,
    restartCount: 0,
    image: '',
    imageID: '',
    ...extra,
  };
}

const ended = (exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): ContainerStatus['state'] => ({
  terminated: { exitCode, reason, finishedAt: '2026-01-01T00:00:00Z' },
});
const running = { running: { startedAt: '2026-01-01T00:00:00Z' } };

test.each<[string, Pod]>([
  ['Pending', pod(undefined)],
  ['Running', pod({ phase: 'Running' })],
  ['UnexpectedAdmissionError', pod({ phase: 'Failed', reason: 'UnexpectedAdmissionError' })],
  ['Terminating', pod({ phase: 'Running' }, { metadata: { name: 'p', deletionTimestamp: '2026-01-01T00:00:00Z' } })],
  [
    'CrashLoopBackOff',
    pod({
      phase: 'Running',
      containerStatuses: [
        container('a', { waiting: { reason: 'CrashLoopBackOff' } }),
        container('b', running, { ready: true }),
      ],
    }),
  ],
  ['Completed', pod({ phase: 'Succeeded', containerStatuses: [container('a', ended(0)), container('b', ended(0))] })],
  ['Error', pod({ phase: 'Failed', containerStatuses: [container('a', ended(1)), container('b', ended(0))] })],
  ['ExitCode:3', pod({ phase: 'Failed', containerStatuses: [container('a', ended(3, ''))] })],
  [
    'Running',
    pod({ phase: 'Running', containerStatuses: [container('a', ended(0)), container('b', running, { ready: true })] }),
  ],
  ['Init:0/2', pod({ phase: 'Pending', initContainerStatuses: [container('i', running)] })],
  ['Init:1/2', pod({ phase: 'Pending', initContainerStatuses: [container('i', ended(0)), container('s', running)] })],
  ['Init:Error', pod({ phase: 'Pending', initContainerStatuses: [container('i', ended(2))] })],
  [
    'Running',
    pod({
      phase: 'Running',
      initContainerStatuses: [container('i', ended(0)), container('s', running, { started: true })],
    }),
  ],
  [
    'Completed',
    pod({
      phase: 'Succeeded',
      conditions: [{ type: 'Initialized', status: 'True', lastTransitionTime: '' }],
      initContainerStatuses: [container('i', ended(0)), container('s', ended(143))],
      containerStatuses: [container('a', ended(0))],
    }),
  ],
  [
    'WaitingForDevicePlugin',
    pod({
      phase: 'Pending',
      conditions: [{ type: 'DevicesReady', status: 'False', reason: 'WaitingForDevicePlugin', lastTransitionTime: '' }],
    }),
  ],
])('%s', (word, object) => {
  expect(podStatusWord(object)).toBe(word);
});

test('ready, restarts and devices are summed over the containers', () => {
  const health = 'Healthy' as const;
  const object = pod({
    phase: 'Running',
    initContainerStatuses: [container('i', ended(0), { restartCount: 2 })],
    containerStatuses: [
      container('a', running, {
        ready: true,
        restartCount: 1,
        allocatedResourcesStatus: [
          {
            name: 'x.y/g',
            resources: [
              { resourceID: '1', health },
              { resourceID: '2', health },
            ],
          },
        ],
      }),
      container('b', running, {
        allocatedResourcesStatus: [
          { name: 'x.y/g', resources: [{ resourceID: '2', health }] },
          { name: 'x.y/h', resources: [] },
        ],
      }),
    ],
  });
  expect(podReadyWord(object)).toBe('1/2');
  expect(podRestarts(object)).toBe(3);
  expect(podDevices(object)).toEqual(['x.y/g=1,2', 'x.y/h=']);
  expect(isPodFinished(object)).toBe(false);
  expect(isPodFinished(pod({ phase: 'Failed' }))).toBe(true);
});
