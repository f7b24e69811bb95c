import { join } from 'node:path';
import {
  CHECKPOINT_KEY,
  CHECKPOINT_NOT_FOUND,
  decodeCheckpoint,
  decodeHeader,
  decodeRecord,
  decodeUtf8,
  groupsOf,
  isAllocateResponse,
  scanFrames,
  type Allocation,
  type CheckpointData,
  type CheckpointEndpoint,
  type CheckpointExtension,
  type Pod,
} from '@devmgr/core';
import { firstGap, readJournal } from './journal-reader.ts';
import type { SegmentOnDisk } from './journal.ts';
import { readStateFile, setAside } from './state-file.ts';
import { isPodRecord, StateImage } from './state-image.ts';

/** Where the durable state is. */
export interface StatePaths {
  /** The kubelet's file, and as snapshot of devices ours. */
  readonly checkpoint: string;
  readonly previousCheckpoint: string;
  /** Snapshot of pods. */
  readonly pods: string;
  readonly previousPods: string;
  readonly stateDir: string;
}

export function statePaths(devicePluginDir: string, stateDir: string): StatePaths {
  return {
    checkpoint: join(devicePluginDir, CHECKPOINT_KEY),
    previousCheckpoint: join(stateDir, 'checkpoint.previous'),
    pods: join(stateDir, 'pods.snapshot'),
    previousPods: join(stateDir, 'pods.previous'),
    stateDir,
  };
}

/** What was found on disk, put together. */
export interface Recovery {
  readonly image: StateImage;
  /** Number of the last record, over everything that was found. */
  readonly sequence: number;
  /** Boot ids under which what was found was written. */
  readonly bootIds: ReadonlySet<string>;
  /** Boot id of the last segment. */
  readonly segmentBootId: string | undefined;
  readonly segments: readonly SegmentOnDisk[];
  /** Whether the last segment can be written on once its torn tail is cut off. */
  readonly lastSegmentSound: boolean;
  /** Whether records are lost, so that older snapshots and the journal no longer give the state. */
  readonly journalDamaged: boolean;
  readonly checkpoint: SnapshotFound;
  readonly pods: SnapshotFound;
  readonly problems: readonly string[];
}

/** `foreign`: a kubelet wrote it, and it is the truth about devices. `restored`: missing or unusable, the previous one was used. */
export interface SnapshotFound {
  readonly state: 'good' | 'foreign' | 'restored' | 'none';
  readonly sequence: number;
  /** Of the file's content, when it is good. */
  readonly hash?: string;
  /** Sequence of the generation before, 0 when there is none. */
  readonly previousSequence: number;
}

/**
 * Reads the state as it was at the last acknowledged write: the snapshots of devices and of pods, each followed by the
 * journal's records from its own number on. What cannot be read is reported, kept under another name where it is about
 * to be overwritten, and replaced by the generation before it; nothing else is changed. Rejects only when the state
 * directory cannot be listed.
 */
export async function recoverState(paths: StatePaths, nowMs: number): Promise<Recovery> {
  const problems: string[] = [];
  const aside = asideName(nowMs);
  const image = new StateImage();
  const devices = await readCheckpoint(paths, aside, problems);
  const podSnapshot = await readPods(paths, aside, problems);
  const journal = await readJournal(paths.stateDir, problems);

  image.loadCheckpoint(devices.allocations, devices.resources, devices.extension);
  for (const pod of podSnapshot.pods) image.apply({ type: 'pod', pod });
  const foreign = devices.found.state === 'foreign';
  const deviceBase = foreign ? Number.MAX_SAFE_INTEGER : devices.found.sequence;
  for (const { sequence, record } of journal.records) {
    if (sequence > (isPodRecord(record) ? podSnapshot.found.sequence : deviceBase)) image.apply(record);
  }
  const oldestNeeded = Math.min(foreign ? Number.MAX_SAFE_INTEGER : deviceBase, podSnapshot.found.sequence);
  const gap = firstGap(journal.records, oldestNeeded);
  if (gap !== undefined) problems.push(gap);

  const bootIds = new Set([...journal.bootIds, devices.bootId, podSnapshot.bootId].filter((id) => id !== ''));
  return {
    image,
    sequence: Math.max(devices.found.sequence, podSnapshot.found.sequence, journal.lastSequence),
    bootIds,
    segmentBootId: journal.bootIds.at(-1),
    segments: journal.segments,
    lastSegmentSound: journal.lastSound,
    journalDamaged: journal.damaged || gap !== undefined,
    checkpoint: devices.found,
    pods: podSnapshot.found,
    problems,
  };
}

/** Problems of one kind that are told one by one. */
const MAX_LISTED = 20;

interface DevicesFound {
  readonly found: SnapshotFound;
  readonly allocations: readonly Allocation[];
  readonly resources: ReadonlyMap<string, CheckpointEndpoint>;
  readonly extension?: CheckpointExtension;
  readonly bootId: string;
}

async function readCheckpoint(paths: StatePaths, aside: string, problems: string[]): Promise<DevicesFound> {
  const current = await readStateFile(paths.checkpoint, parseCheckpoint);
  const previous = await readStateFile(paths.previousCheckpoint, parseCheckpoint);
  const previousSequence = previous.ok ? (previous.value.extension?.sequence ?? 0) : 0;
  if (current.ok) {
    const { extension } = current.value;
    const state = extension === undefined ? 'foreign' : 'good';
    const { hash } = current;
    return devicesFound(current.value, { state, sequence: extension?.sequence ?? 0, hash, previousSequence }, problems);
  }
  if (!current.missing)
    await setAside(paths.checkpoint, join(paths.stateDir, `checkpoint.corrupt-${aside}`), current.message, problems);
  if (previous.ok && previous.value.extension !== undefined) {
    if (current.missing) problems.push(`${paths.checkpoint}: ${CHECKPOINT_NOT_FOUND}`);
    problems.push(`the previous checkpoint and the journal are used instead: ${paths.previousCheckpoint}`);
    return devicesFound(previous.value, { state: 'restored', sequence: previousSequence, previousSequence }, problems);
  }
  if (!previous.ok && !previous.missing) problems.push(`${paths.previousCheckpoint}: ${previous.message}`);
  const found: SnapshotFound = { state: current.missing ? 'none' : 'restored', sequence: 0, previousSequence: 0 };
  return { found, allocations: [], resources: new Map(), bootId: '' };
}

interface ParsedCheckpoint {
  readonly data: CheckpointData;
  readonly extension: CheckpointExtension | undefined;
}

function parseCheckpoint(bytes: Uint8Array): ParsedCheckpoint {
  const decoded = decodeCheckpoint(bytes);
  if (!decoded.ok) throw new Error(decoded.message);
  return decoded;
}

function devicesFound({ data, extension }: ParsedCheckpoint, found: SnapshotFound, problems: string[]): DevicesFound {
  const resources = new Map<string, CheckpointEndpoint>();
  for (const resource of data.registered?.keys() ?? []) {
    resources.set(resource, extension?.endpoints.get(resource) ?? { endpoint: null, preStartRequired: false });
  }
  const allocations: Allocation[] = [];
  let leftOut = 0;
  for (const { podUid, container, resource, devices, response } of data.entries ?? []) {
    const bytes = response ?? new Uint8Array();
    if (!isAllocateResponse(bytes)) {
      if (++leftOut > MAX_LISTED) continue;
      const of = `pod ${podUid}, container ${container}, resource ${resource}`;
      problems.push(`checkpoint entry of ${of} was left out: its response is no ContainerAllocateResponse`);
      continue;
    }
    const deviceIds = new Map([...groupsOf(devices)].map(([node, ids]) => [node, ids ?? []]));
    allocations.push({ podUid, container, resource, deviceIds, response: bytes });
  }
  if (leftOut > MAX_LISTED) problems.push(`${String(leftOut - MAX_LISTED)} more checkpoint entries were left out`);
  return {
    found,
    allocations: lastOfEach(allocations),
    resources,
    ...(extension === undefined ? {} : { extension }),
    bootId: extension?.bootId ?? '',
  };
}

/** A later entry for the same container and resource replaces an earlier one, as in the kubelet. */
function lastOfEach(allocations: readonly Allocation[]): readonly Allocation[] {
  const byKey = new Map(
    allocations.map((allocation) => [
      JSON.stringify([allocation.podUid, allocation.container, allocation.resource]),
      allocation,
    ]),
  );
  return [...byKey.values()];
}

interface PodsFound {
  readonly found: SnapshotFound;
  readonly pods: readonly Pod[];
  readonly bootId: string;
}

async function readPods(paths: StatePaths, aside: string, problems: string[]): Promise<PodsFound> {
  const current = await readStateFile(paths.pods, parsePods);
  const previous = await readStateFile(paths.previousPods, parsePods);
  const previousSequence = previous.ok ? previous.value.sequence : 0;
  if (current.ok) {
    const { sequence, pods, bootId } = current.value;
    return { found: { state: 'good', sequence, hash: current.hash, previousSequence }, pods, bootId };
  }
  if (!current.missing)
    await setAside(paths.pods, join(paths.stateDir, `pods.corrupt-${aside}`), current.message, problems);
  if (previous.ok) {
    problems.push(`the previous snapshot of pods and the journal are used: ${paths.previousPods}`);
    const { sequence, pods, bootId } = previous.value;
    return { found: { state: 'restored', sequence, previousSequence }, pods, bootId };
  }
  const found: SnapshotFound = { state: current.missing ? 'none' : 'restored', sequence: 0, previousSequence: 0 };
  return { found, pods: [], bootId: '' };
}

function parsePods(bytes: Uint8Array): { sequence: number; bootId: string; pods: readonly Pod[] } {
  const { frames } = scanFrames(bytes);
  const header = frames[0] === undefined ? undefined : decodeHeader(decodeUtf8(frames[0].payload));
  if (header?.type !== 'pods') throw new Error('its first line is no header of this version');
  const pods: Pod[] = [];
  for (const { payload } of frames.slice(1)) {
    const decoded = decodeRecord(decodeUtf8(payload));
    if (decoded?.record.type === 'pod') pods.push(decoded.record.pod);
  }
  if (pods.length !== header.count) {
    throw new Error(`${String(pods.length)} of its ${String(header.count)} pods can be read`);
  }
  return { sequence: header.sequence, bootId: header.bootId, pods };
}

/** Time as it stands in file names: `20260131T120000Z`. */
function asideName(nowMs: number): string {
  return new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '');
}
