import { type ContainerResponse, mergeContainerOptions } from '@devmgr/core';
import { describe, expect, it } from 'vitest';

const EMPTY: ContainerResponse = { envs: new Map(), mounts: [], devices: [], annotations: new Map(), cdiDevices: [] };

describe('mergeContainerOptions', () => {
  it('scenario 92: nothing merges to nothing, CDI names are united', () => {
    expect(mergeContainerOptions(new Map())).toEqual({ options: { ...EMPTY, cdiDevices: [] }, conflicts: [] });
    expect(mergeContainerOptions(new Map([['example.com/a', EMPTY]])).options.envs.size).toBe(0);
    const { options } = mergeContainerOptions(
      new Map([
        ['example.com/b', { ...EMPTY, cdiDevices: [{ name: 'v.com/c=2' }, { name: 'v.com/c=1' }] }],
        ['example.com/a', { ...EMPTY, cdiDevices: [{ name: 'v.com/c=1' }, { name: 'v.com/c=1' }] }],
      ]),
    );
    expect(options.cdiDevices).toEqual(['v.com/c=1', 'v.com/c=2']);
  });

  it('scenario 93: of different answers the one of the first resource name is kept, the other told', () => {
    const answer = (host: string): ContainerResponse => ({
      envs: new Map([
        ['SHARED', host],
        ['SAME', 'x'],
      ]),
      mounts: [{ containerPath: '/m', hostPath: `/${host}`, readOnly: true }],
      devices: [{ containerPath: '/dev/d', hostPath: `/dev/${host}`, permissions: 'rw' }],
      annotations: new Map([['note', host]]),
      cdiDevices: [],
    });
    const { options, conflicts } = mergeContainerOptions(
      new Map([
        ['example.com/b', answer('b')],
        ['example.com/a', answer('a')],
      ]),
    );
    expect(options).toEqual({ ...answer('a'), cdiDevices: [] });
    expect(conflicts).toEqual([
      { kind: 'env', key: 'SHARED', resource: 'example.com/b', kept: 'a', dropped: 'b' },
      {
        kind: 'mount',
        key: '/m',
        resource: 'example.com/b',
        kept: '/a (read-only)',
        dropped: '/b (read-only)',
      },
      { kind: 'device', key: '/dev/d', resource: 'example.com/b', kept: '/dev/a (rw)', dropped: '/dev/b (rw)' },
      { kind: 'annotation', key: 'note', resource: 'example.com/b', kept: 'a', dropped: 'b' },
    ]);
  });
});
