import { groupsOf, isAllocateResponse, isExtendedResourceName, type CheckpointEntry } from '@devmgr/core';
import type { CheckpointFile, ReadableCheckpoint } from './checkpoint-file.ts';

/** Something a reader of the file should know. An `error` makes the file unusable, or wrong; a `note` does not. */
export interface CheckpointFinding {
  readonly severity: 'error' | 'note';
  /** Path in the file: `Data.PodDeviceEntries[3].AllocResp`. */
  readonly place: string;
  readonly message: string;
}

/** What `devmgr checkpoint verify` has found. */
export interface CheckpointReport {
  readonly file: string;
  readonly sizeBytes: number;
  readonly valid: boolean;
  /** Null when the file has the checksum of no version. */
  readonly version: number | null;
  readonly checksum: {
    readonly found: number;
    /** What the content needs, by version. */
    readonly expected: readonly { readonly version: number; readonly checksum: number }[];
  } | null;
  readonly writtenBy: 'devmgr' | 'kubelet' | null;
  readonly entries: number;
  readonly pods: number;
  readonly resources: number;
  readonly findings: readonly CheckpointFinding[];
}

/** Looks at a file as a kubelet would read it, and then as an operator would. Never throws. */
export function reportOn({ path, sizeBytes, parsed }: CheckpointFile): CheckpointReport {
  const file = { file: path, sizeBytes };
  if (!parsed.ok) {
    const findings = [{ severity: 'error', place: 'the file', message: parsed.message }] as const;
    const none = { version: null, checksum: null, writtenBy: null, entries: 0, pods: 0, resources: 0 };
    return { ...file, valid: false, ...none, findings };
  }
  const { data, version, checksum, expected, extension } = parsed;
  const findings = [...versionFindings(parsed), ...entryFindings(data.entries ?? []), ...holdingFindings(parsed)];
  return {
    ...file,
    valid: findings.every(({ severity }) => severity !== 'error'),
    version: version ?? null,
    checksum: { found: checksum, expected },
    writtenBy: extension === undefined ? 'kubelet' : 'devmgr',
    entries: data.entries?.length ?? 0,
    pods: new Set(data.entries?.map(({ podUid }) => podUid)).size,
    resources: data.registered?.size ?? 0,
    findings,
  };
}

function versionFindings({ version, checksum, expected }: ReadableCheckpoint['parsed']): CheckpointFinding[] {
  if (version === undefined) {
    const needed = expected.map((one) => `${String(one.checksum)} (version ${String(one.version)})`).join(' or ');
    const message = `${String(checksum)} is found and ${needed} expected: the content was changed after it was written`;
    return [{ severity: 'error', place: 'Checksum', message }];
  }
  if (version === 2) return [];
  return [
    {
      severity: 'note',
      place: 'Data.PodDeviceEntries',
      message: 'version 1, as kubelets up to 1.19 wrote it: current kubelets do not read it; "checkpoint convert" does',
    },
  ];
}

function entryFindings(entries: readonly CheckpointEntry[]): CheckpointFinding[] {
  const findings: CheckpointFinding[] = [];
  const seen = new Map<string, number>();
  entries.forEach((entry, index) => {
    const place = placeOf(index);
    const error = (field: string, message: string): void => {
      findings.push({ severity: 'error', place: `${place}${field}`, message });
    };
    if (entry.podUid === '') error('.PodUID', 'is empty');
    if (entry.container === '') error('.ContainerName', 'is empty');
    if (!isExtendedResourceName(entry.resource)) {
      error('.ResourceName', `${JSON.stringify(entry.resource)} is no name of an extended resource`);
    }
    if (entry.response === null)
      error('.AllocResp', 'is missing: a kubelet drops the entry, and gives its devices away');
    else if (!isAllocateResponse(entry.response)) {
      error('.AllocResp', 'cannot be decoded: a kubelet drops the entry, and gives its devices away');
    }
    for (const node of groupsOf(entry.devices).keys()) {
      if (node < -1) error('.DeviceIDs', `${String(node)} is no NUMA node`);
    }
    if (idsOf(entry).includes('')) error('.DeviceIDs', 'a device has an empty id');
    const key = JSON.stringify([entry.podUid, entry.container, entry.resource]);
    const before = seen.get(key);
    if (before !== undefined) error('', `the same pod, container and resource as ${placeOf(before)}`);
    seen.set(key, index);
  });
  return findings;
}

/** Devices that two pods hold, and held ones that were not healthy when the file was written. */
function holdingFindings({ data }: ReadableCheckpoint['parsed']): CheckpointFinding[] {
  const findings: CheckpointFinding[] = [];
  const holders = new Map<string, { podUid: string; container: string; index: number }>();
  const healthy = new Map([...(data.registered ?? [])].map(([resource, ids]) => [resource, new Set(ids)]));
  for (const [index, entry] of (data.entries ?? []).entries()) {
    const { podUid, container, resource } = entry;
    const place = `${placeOf(index)}.DeviceIDs`;
    const ids = [...new Set(idsOf(entry))];
    for (const id of ids) {
      const key = JSON.stringify([resource, id]);
      const other = holders.get(key);
      if (other === undefined) holders.set(key, { podUid, container, index });
      else if (other.podUid !== podUid) {
        const message = `${id} of ${resource} is given to two pods: ${other.podUid} (${other.container}, ${placeOf(other.index)}) and ${podUid} (${container})`;
        findings.push({ severity: 'error', place, message });
      }
    }
    const known = healthy.get(resource);
    const lost = ids.filter((id) => known?.has(id) !== true);
    if (known === undefined) {
      const message = `${resource} was not registered any more when the file was written`;
      findings.push({ severity: 'note', place: placeOf(index), message });
    } else if (lost.length > 0) {
      const message = `${lost.join(', ')} of ${resource} ${lost.length === 1 ? 'was' : 'were'} not healthy when the file was written`;
      findings.push({ severity: 'note', place, message });
    }
  }
  return findings;
}

function idsOf(entry: CheckpointEntry): readonly string[] {
  return [...groupsOf(entry.devices).values()].flatMap((ids) => ids ?? []);
}

function placeOf(index: number): string {
  return `Data.PodDeviceEntries[${String(index)}]`;
}
