import type { Device } from '@devmgr/core';
import { describe, expect, it } from 'vitest';
import { ResourcePlugins } from '../src/resource-plugins.ts';
import type { PluginSession } from '../src/ports.ts';

let nextId = 1;
function session(socketPath: string): PluginSession {
  return {
    id: nextId++,
    resource: 'example.com/r',
    socketPath,
    origin: 'register',
    options: {
      preStartRequired: socketPath.includes('prestart'),
      preferredAllocationAvailable: false,
      releaseRequired: false,
    },
    connectedAt: 0,
    live: true,
    allocate: () => Promise.reject(new Error('not called')),
    preferredAllocation: () => Promise.reject(new Error('not called')),
    preStart: () => Promise.reject(new Error('not called')),
    released: () => Promise.reject(new Error('not called')),
    close: () => undefined,
  };
}
const list = (...ids: string[]): Device[] => ids.map((id) => ({ id, health: 'Healthy', numaNodes: [] }));

describe('ResourcePlugins', () => {
  it('scenarios 38, 44: the end of an old session on another socket changes nothing', () => {
    const plugins = new ResourcePlugins('example.com/r');
    const [old, young] = [session('/p/a.sock'), session('/p/b.sock')];
    plugins.connected(old);
    plugins.listed(old, list('d1'), 0);
    plugins.connected(young);
    expect(plugins.primary).toBe(old); // it has not listed: the old one serves calls meanwhile
    expect(plugins.listed(young, list('d1', 'd2'), 1)).toMatchObject({ kind: 'list', newOwner: true, superseded: [] });
    expect(plugins.primary).toBe(young);
    expect(plugins.ended(old, 'gone', 2)).toEqual({ kind: 'none' });
    expect(plugins.ready).toBe(true);
  });

  it('scenario 41: a survivor takes over with its last list when the owner ends', () => {
    const plugins = new ResourcePlugins('example.com/r');
    const three = [session('/p/a.sock'), session('/p/b.sock'), session('/p/c.sock')] as const;
    for (const one of three) {
      plugins.connected(one);
      plugins.listed(one, list(one.socketPath), 0);
    }
    // A standby's news is kept for the day it takes over, and not applied before.
    expect(plugins.listed(three[1], list('newer'), 1)).toEqual({ kind: 'none' });
    expect(plugins.ended(three[2], 'gone', 2)).toMatchObject({ kind: 'list', devices: list('newer'), owner: three[1] });
    expect(plugins.stoppedAt).toBeUndefined();
  });

  it('scenario 39: the end of the last session leaves nobody to speak for the devices', () => {
    const plugins = new ResourcePlugins('example.com/r');
    const only = session('/p/prestart.sock');
    plugins.connected(only);
    plugins.listed(only, list('d1'), 0);
    expect(plugins.ended(only, 'stream closed', 5)).toEqual({ kind: 'gone' });
    expect(plugins).toMatchObject({
      stoppedAt: 5,
      stopReason: 'stream closed',
      preStartRequired: true,
      endpoint: '/p/prestart.sock',
      ready: false,
    });
  });

  it('scenario 42: a second session on the same socket supersedes the first, which is to be closed', () => {
    const plugins = new ResourcePlugins('example.com/r');
    const [first, second] = [session('/p/a.sock'), session('/p/a.sock')];
    plugins.connected(first);
    plugins.listed(first, list('d1'), 0);
    plugins.connected(second);
    expect(plugins.ready).toBe(true);
    expect(plugins.listed(second, list('d1'), 1)).toMatchObject({ kind: 'list', newOwner: true, superseded: [first] });
    // What still comes from the first is void.
    expect(plugins.listed(first, list('old'), 2)).toEqual({ kind: 'none' });
    expect(plugins.ended(first, 'closed', 3)).toEqual({ kind: 'none' });
    expect(plugins.sessions().map((entry) => entry.state)).toEqual(['Connected']);
  });

  it('scenario 40: the end of an unknown session changes nothing', () => {
    const plugins = new ResourcePlugins('example.com/r');
    expect(plugins.ended(session('/p/x.sock'), 'who?', 1)).toEqual({ kind: 'none' });
    expect(plugins.stoppedAt).toBeUndefined();
  });

  it('waits for a successor that has not listed yet', () => {
    const plugins = new ResourcePlugins('example.com/r');
    const [old, young] = [session('/p/a.sock'), session('/p/b.sock')];
    plugins.connected(old);
    plugins.listed(old, list('d1'), 0);
    plugins.connected(young);
    expect(plugins.ended(old, 'gone', 1)).toEqual({ kind: 'awaiting-list' });
    expect(plugins.primary).toBe(young);
    expect(plugins.ended(young, 'gone too', 2)).toEqual({ kind: 'gone' });
  });
});
