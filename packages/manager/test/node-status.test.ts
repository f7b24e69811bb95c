import { describe, expect, it, onTestFinished } from 'vitest';
import type { Node } from '@devmgr/core';
import { NodeStatus, type NodeStatusOptions } from '../src/node/node-status.ts';
import { SystemClock } from '../src/system-clock.ts';
import { createVersionCounter } from '../src/version-counter.ts';
import { eventually } from './helpers/eventually.ts';
import { MemoryInventory, resourceView } from './http-support.ts';

function start(options: Partial<NodeStatusOptions> = {}): {
  node: NodeStatus;
  inventory: MemoryInventory;
  seen: Node[];
} {
  const inventory = new MemoryInventory();
  const node = new NodeStatus({
    nodeName: 'here',
    inventory,
    clock: new SystemClock(),
    versions: createVersionCounter(),
    version: '1.2.3',
    ...options,
  });
  onTestFinished(() => {
    node.close();
  });
  const seen: Node[] = [];
  node.watch(({ type, object }) => {
    expect(type).toBe('MODIFIED');
    seen.push(object);
  });
  return { node, inventory, seen };
}

describe('the node', () => {
  it('is a v1 Node that says what it is', () => {
    const { node } = start();
    expect(node.get()).toMatchObject({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'here', labels: { 'kubernetes.io/hostname': 'here', 'kubernetes.io/os': process.platform } },
      status: {
        capacity: {},
        allocatable: {},
        conditions: [{ type: 'Ready', status: 'True', reason: 'DeviceManagerReady' }],
        nodeInfo: { operatingSystem: process.platform, kubeletVersion: 'devmgr/1.2.3' },
      },
    });
  });

  it('shows capacity and allocatable as decimal strings, and nothing of a removed resource', () => {
    const { node, inventory } = start();
    inventory.setResources(
      resourceView('example.com/gpu', 3, { allocatable: 2 }),
      resourceView('example.com/nic', 100_000),
    );
    expect(node.get().status).toMatchObject({
      capacity: { 'example.com/gpu': '3', 'example.com/nic': '100000' },
      allocatable: { 'example.com/gpu': '2', 'example.com/nic': '100000' },
    });
    inventory.setResources(resourceView('example.com/gpu', 2, { allocatable: 0 }));
    expect(node.get().status.capacity).toEqual({ 'example.com/gpu': '2' });
    expect(node.get().status.allocatable).toEqual({ 'example.com/gpu': '0' });
    inventory.setResources();
    expect(node.get().status).toMatchObject({ capacity: {}, allocatable: {} });
  });

  it('is told to watchers when it differs, bursts at once', async () => {
    const { inventory, seen } = start();
    for (let capacity = 1; capacity <= 100; capacity += 1) {
      inventory.setResources(resourceView('example.com/gpu', capacity));
    }
    await eventually('the change', () => seen.length > 0);
    expect(seen.map(({ status }) => status.capacity)).toEqual([{ 'example.com/gpu': '100' }]);
    // What is only in use differently does not show on the node.
    inventory.setResources(resourceView('example.com/gpu', 100, { allocated: 7 }));
    await new Promise((resolve) => setTimeout(resolve, 100));
    inventory.setResources(resourceView('example.com/gpu', 99));
    await eventually('the next change', () => seen.length > 1);
    expect(seen.map(({ metadata }) => metadata.resourceVersion)).toEqual(['2', '3']);
  });

  it('is read as it is now, which watchers hear of too, once', async () => {
    const { node, inventory, seen } = start();
    inventory.setResources(resourceView('example.com/gpu', 1));
    const first = node.get();
    expect(first.status.capacity).toEqual({ 'example.com/gpu': '1' });
    expect(node.get()).toBe(first);
    expect(seen).toEqual([first]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(seen).toEqual([first]);
  });

  it('is not ready while there is a problem', () => {
    let problem: string | undefined;
    const { node, seen } = start({ problem: () => problem });
    const since = node.get().status.conditions[0]?.lastTransitionTime;
    problem = 'no plugin can register';
    expect(node.get().status.conditions).toEqual([
      {
        type: 'Ready',
        status: 'False',
        reason: 'DeviceManagerNotReady',
        message: 'no plugin can register',
        lastTransitionTime: expect.any(String) as string,
      },
    ]);
    problem = undefined;
    expect(node.get().status.conditions[0]).toMatchObject({ status: 'True' });
    expect(Date.parse(node.get().status.conditions[0]?.lastTransitionTime ?? '')).toBeGreaterThanOrEqual(
      Date.parse(since ?? ''),
    );
    expect(seen).toHaveLength(2);
  });

  it('follows nothing after it was closed', () => {
    const { node, inventory } = start();
    node.close();
    node.close();
    expect(inventory.listeners.size).toBe(0);
  });
});
