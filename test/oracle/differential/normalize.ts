import { createHash } from 'node:crypto';
import { decodeContainerAllocateResponse } from '@devmgr/wire';
import { groupsOf, type CheckpointData, type CheckpointEntry } from '@devmgr/core';
import type { AllocatableAnswer, HeldDevices, OptionsAnswer, ProtocolPod, StatusAnswer } from '../protocol.ts';
import type { SeenCall } from './scenario-plugin.ts';
import type { Mode } from './scenario.ts';

/** Ids where they are determined, their number where they are not. */
type Ids = readonly string[] | number;

/**
 * Takes chance out of answers. In a pod with init containers the kubelet picks at random which of the devices those hold
 * are used again: there only the ids of the whole pod are determined, and the number in each container.
 */
export class Normalizer {
  readonly #mode: Mode;
  readonly #dir: string;

  constructor(mode: Mode, dir: string) {
    this.#mode = mode;
    this.#dir = dir;
  }

  text(message: string): string {
    return message.replaceAll(this.#dir, '<dir>');
  }

  held(devices: HeldDevices, pod: ProtocolPod): unknown {
    const ofPod = new Map<string, Set<string>>();
    const containers: Record<string, Record<string, Ids>> = {};
    for (const container of Object.keys(devices).sort()) {
      const resources = devices[container] ?? {};
      for (const resource of Object.keys(resources).sort()) {
        const ids = resources[resource] ?? [];
        let union = ofPod.get(resource);
        if (union === undefined) ofPod.set(resource, (union = new Set()));
        for (const id of ids) union.add(id);
        (containers[container] ??= {})[resource] = this.#ids(ids, pod);
      }
    }
    if (!hasInit(pod) || ofPod.size === 0) return containers;
    const whole = [...ofPod].sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      ...containers,
      '(pod)': Object.fromEntries(
        whole.map(([resource, ids]) => [resource, this.#mode === 'ids' ? [...ids].sort() : ids.size]),
      ),
    };
  }

  /** What each plugin was asked, in order; plugins without calls are left out. */
  calls(calls: ReadonlyMap<string, readonly SeenCall[]>, pod: ProtocolPod): unknown {
    const seen: Record<string, unknown> = {};
    for (const [resource, ofPlugin] of calls) {
      if (ofPlugin.length === 0) continue;
      seen[resource] = ofPlugin.map((call) =>
        call.call === 'GetPreferredAllocation'
          ? ['prefer', this.#ids(call.available, pod), this.#ids(call.mustInclude, pod), call.size]
          : [call.call, this.#ids(call.ids, pod)],
      );
    }
    return seen;
  }

  options(options: OptionsAnswer | null, pod: ProtocolPod): unknown {
    if (options === null) return null;
    const list = (items: readonly object[] | null): string[] =>
      (items ?? []).map((item) => JSON.stringify(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))).sort();
    const envs = (options.Envs ?? []).map(({ Name, Value }) => ({
      Name,
      Value: Name.endsWith('_IDS') ? this.#ids(Value.split(','), pod) : Value,
    }));
    const parts = {
      envs: list(envs),
      mounts: list(options.Mounts),
      devices: list(options.Devices),
      annotations: list(options.Annotations),
      cdi: list(options.CDIDevices),
    };
    return Object.fromEntries(Object.entries(parts).filter(([, entries]) => entries.length > 0));
  }

  /**
   * Health by container, resource and id. Which container of a pod has which device is chance in counts mode, and in pods
   * with init containers: there the containers have totals, and in counts mode the pod has its numbers by health.
   */
  status(status: readonly StatusAnswer[], pod: ProtocolPod): unknown {
    const ofPod: Record<string, Record<string, number>> = {};
    const containers: unknown[] = status.map(({ name, allocatedResourcesStatus = [] }) => {
      const resources: Record<string, unknown> = {};
      for (const resource of [...allocatedResourcesStatus].sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const entries = resource.resources.map(({ resourceID, health }) => [resourceID, health] as const);
        const determined = this.#mode === 'ids' && !hasInit(pod);
        resources[resource.name] = determined ? Object.fromEntries(sortPairs(entries)) : entries.length;
        const counts = (ofPod[resource.name] ??= {});
        for (const [, health] of entries) counts[health] = (counts[health] ?? 0) + 1;
      }
      return [name, resources];
    });
    return this.#mode === 'ids' ? containers : [...containers, ['(pod)', ofPod]];
  }

  /** Healthy devices and their NUMA nodes. */
  healthy(answer: AllocatableAnswer): unknown {
    return Object.fromEntries(
      Object.keys(answer)
        .sort()
        .map((resource) => {
          const devices = Object.entries(answer[resource] ?? {});
          if (this.#mode === 'counts') return [resource, devices.length];
          const pairs = devices.map(([id, { numa }]) => [id, [...new Set(numa)].sort((a, b) => a - b)] as const);
          // The ids were in the list that led to this; a short sum of them is enough to hold both sides together.
          return [resource, sum(JSON.stringify(sortPairs(pairs)))];
        }),
    );
  }

  checkpoint(data: CheckpointData, active: ReadonlyMap<string, ProtocolPod>): unknown {
    const entries: Record<string, unknown> = {};
    for (const entry of [...(data.entries ?? [])].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))) {
      const pod = active.get(entry.podUid);
      if (pod !== undefined) entries[keyOf(entry)] = this.#entry(entry, pod);
    }
    return { entries, registered: [...(data.registered?.keys() ?? [])].sort() };
  }

  #entry(entry: CheckpointEntry, pod: ProtocolPod): unknown {
    const groups = [...groupsOf(entry.devices)];
    const answer = decodeContainerAllocateResponse(entry.response ?? new Uint8Array());
    return {
      devices: Object.fromEntries(
        // With ids that are left to chance, so are the nodes they lie on.
        (hasInit(pod) && this.#mode === 'ids' ? [] : groups)
          .sort(([a], [b]) => a - b)
          .map(([node, ids]) => [String(node), this.#ids(ids ?? [], pod)]),
      ),
      envs: [...answer.envs.keys()].sort(),
      mounts: answer.mounts.length,
      devs: answer.devices.length,
      cdi: answer.cdiDevices.length,
    };
  }

  #ids(ids: readonly string[], pod: ProtocolPod): Ids {
    return this.#mode === 'counts' || hasInit(pod) ? ids.length : [...ids].sort();
  }
}

function hasInit(pod: ProtocolPod): boolean {
  return (pod.initContainers ?? []).length > 0;
}

function keyOf(entry: CheckpointEntry): string {
  return `${entry.podUid} ${entry.container} ${entry.resource}`;
}

function sortPairs<T>(pairs: readonly (readonly [string, T])[]): (readonly [string, T])[] {
  return [...pairs].sort(([a], [b]) => (a < b ? -1 : 1));
}

function sum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
