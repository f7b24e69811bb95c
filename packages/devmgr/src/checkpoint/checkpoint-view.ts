import {
  explainCheckpoint,
  groupsOf,
  naturalCompare,
  type CheckpointEntry,
  type CheckpointVersion,
  type ContainerResponse,
  type ExplainedResource,
} from '@devmgr/core';
import type { ReadableCheckpoint } from './checkpoint-file.ts';
import { NONE, type Column } from '../output/table.ts';

/** Decodes a plugin's answer; throws when it cannot be. */
export type DecodeResponse = (bytes: Uint8Array) => ContainerResponse;

/** A plugin's answer as JSON shows it. */
interface ResponseView {
  readonly envs: Readonly<Record<string, string>>;
  readonly mounts: readonly { containerPath: string; hostPath: string; readOnly: boolean }[];
  readonly devices: readonly { containerPath: string; hostPath: string; permissions: string }[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly cdiDevices: readonly string[];
}

interface EntryView {
  readonly podUid: string;
  readonly container: string;
  readonly resource: string;
  /** NUMA node, -1 for none, to ids. */
  readonly devices: Readonly<Record<string, readonly string[]>>;
  /** Null when there is none, or it cannot be decoded. */
  readonly response: ResponseView | null;
}

/** What `devmgr checkpoint show` tells. */
export interface CheckpointView {
  readonly file: string;
  readonly version: CheckpointVersion | null;
  readonly checksum: { readonly found: number; readonly correct: boolean };
  readonly writtenBy: 'devmgr' | 'kubelet';
  readonly entries: readonly EntryView[];
  /** Resource to the ids that were healthy. */
  readonly registered: Readonly<Record<string, readonly string[]>>;
}

/** A checkpoint as JSON shows it, in file order. */
export function viewOf({ path, parsed }: ReadableCheckpoint, decode: DecodeResponse): CheckpointView {
  const { data, version, checksum, extension } = parsed;
  return {
    file: path,
    version: version ?? null,
    checksum: { found: checksum, correct: version !== undefined },
    writtenBy: extension === undefined ? 'kubelet' : 'devmgr',
    entries: (data.entries ?? []).map((entry) => ({
      podUid: entry.podUid,
      container: entry.container,
      resource: entry.resource,
      devices: Object.fromEntries(devicesByNode(entry).map(([node, ids]) => [String(node), ids])),
      response: responseOf(entry, decode),
    })),
    registered: Object.fromEntries([...(data.registered ?? [])].map(([resource, ids]) => [resource, ids ?? []])),
  };
}

/** A container's devices of one resource on one NUMA node. */
export interface HoldingRow extends Pick<EntryView, 'podUid' | 'container' | 'resource'> {
  readonly node: string;
  readonly ids: readonly string[];
}

export const HOLDING_COLUMNS: readonly Column<HoldingRow>[] = [
  { header: 'POD', cell: ({ podUid }) => podUid || NONE },
  { header: 'CONTAINER', cell: ({ container }) => container || NONE },
  { header: 'RESOURCE', cell: ({ resource }) => resource || NONE },
  { header: 'NUMA', cell: ({ node }) => node },
  { header: 'DEVICES', cell: ({ ids }) => ids.join(',') || NONE },
];

/** Rows of {@link HOLDING_COLUMNS}, by pod, container, resource and node. */
export function holdingRows({ entries }: CheckpointView): readonly HoldingRow[] {
  return [...entries].sort(compareEntries).flatMap(({ podUid, container, resource, devices }) => {
    const nodes = Object.entries(devices).sort(([a], [b]) => nodeRank(a) - nodeRank(b));
    const row = { podUid, container, resource };
    if (nodes.length === 0) return [{ ...row, node: NONE, ids: [] }];
    return nodes.map(([node, ids]) => ({ ...row, node: node === '-1' ? NONE : node, ids }));
  });
}

export const REGISTERED_COLUMNS: readonly Column<ExplainedResource & { readonly ids: readonly string[] }>[] = [
  { header: 'RESOURCE', cell: ({ name }) => name },
  { header: 'REGISTERED', cell: ({ registered }) => (registered ? 'yes' : 'no') },
  { header: 'HEALTHY', cell: ({ healthy }) => String(healthy) },
  { header: 'HELD', cell: ({ held }) => String(held) },
  { header: 'FREE', cell: ({ free }) => String(free) },
  { header: 'HEALTHY DEVICES', cell: ({ ids }) => ids.join(',') || NONE, wide: true },
];

/** Rows of {@link REGISTERED_COLUMNS}: every resource that is registered or held. */
export function registeredRows({
  parsed,
}: ReadableCheckpoint): readonly (ExplainedResource & { readonly ids: readonly string[] })[] {
  const { registered } = parsed.data;
  return explainCheckpoint(parsed.data, new Map()).resources.map((resource) => ({
    ...resource,
    ids: [...(registered?.get(resource.name) ?? [])].sort(naturalCompare),
  }));
}

/** One thing a plugin gave a container. */
export interface GrantRow extends Pick<EntryView, 'podUid' | 'container' | 'resource'> {
  readonly kind: string;
  readonly value: string;
}

export const GRANT_COLUMNS: readonly Column<GrantRow>[] = [
  { header: 'POD', cell: ({ podUid }) => podUid || NONE },
  { header: 'CONTAINER', cell: ({ container }) => container || NONE },
  { header: 'RESOURCE', cell: ({ resource }) => resource || NONE },
  { header: 'KIND', cell: ({ kind }) => kind },
  { header: 'VALUE', cell: ({ value }) => value },
];

/** Rows of {@link GRANT_COLUMNS}: what plugins answered to Allocate, a line each. */
export function grantRows({ entries }: CheckpointView): readonly GrantRow[] {
  return [...entries].sort(compareEntries).flatMap(({ podUid, container, resource, response }) => {
    const row = (kind: string, value: string): GrantRow => ({ podUid, container, resource, kind, value });
    if (response === null) return [row('unreadable', NONE)];
    return [
      ...Object.entries(response.envs).map(([name, value]) => row('env', `${name}=${value}`)),
      ...response.mounts.map(({ hostPath, containerPath, readOnly }) =>
        row('mount', `${hostPath}:${containerPath}:${readOnly ? 'ro' : 'rw'}`),
      ),
      ...response.devices.map(({ hostPath, containerPath, permissions }) =>
        row('device', `${hostPath}:${containerPath}:${permissions}`),
      ),
      ...Object.entries(response.annotations).map(([key, value]) => row('annotation', `${key}=${value}`)),
      ...response.cdiDevices.map((name) => row('cdi', name)),
    ];
  });
}

function compareEntries(a: EntryView, b: EntryView): number {
  return (
    compareUids(a.podUid, b.podUid) ||
    naturalCompare(a.container, b.container) ||
    naturalCompare(a.resource, b.resource)
  );
}

/** Uids are no numbers, even where they begin with some. */
function compareUids(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Nodes in order, none last. */
function nodeRank(node: string): number {
  return node === '-1' ? Number.POSITIVE_INFINITY : Number(node);
}

function devicesByNode(entry: CheckpointEntry): readonly (readonly [number, readonly string[]])[] {
  // Version 1 knows no nodes; that kubelets read its devices as being on node 0 is not said in the file.
  if (Array.isArray(entry.devices)) return [[-1, [...(entry.devices as readonly string[])].sort(naturalCompare)]];
  return [...groupsOf(entry.devices)]
    .sort(([a], [b]) => a - b)
    .map(([node, ids]) => [node, [...(ids ?? [])].sort(naturalCompare)] as const);
}

function responseOf({ response }: CheckpointEntry, decode: DecodeResponse): ResponseView | null {
  if (response === null) return null;
  try {
    const { envs, mounts, devices, annotations, cdiDevices } = decode(response);
    return {
      envs: Object.fromEntries(envs),
      mounts: mounts.map(({ containerPath, hostPath, readOnly }) => ({ containerPath, hostPath, readOnly })),
      devices: devices.map(({ containerPath, hostPath, permissions }) => ({ containerPath, hostPath, permissions })),
      annotations: Object.fromEntries(annotations),
      cdiDevices: cdiDevices.map(({ name }) => name),
    };
  } catch {
    return null;
  }
}
