import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeHeader, decodeRecord, decodeUtf8, scanFrames, type NumberedRecord } from '@devmgr/core';
import { segmentBase, type SegmentOnDisk } from './journal.ts';
import { readStateFile, setAside } from './state-file.ts';

/** What the segments of a journal hold. */
export interface JournalFound {
  readonly records: readonly NumberedRecord[];
  readonly lastSequence: number;
  /** Of each segment that has one, oldest first. */
  readonly bootIds: readonly string[];
  readonly segments: readonly SegmentOnDisk[];
  readonly lastSound: boolean;
  readonly damaged: boolean;
}

/** Reads all segments of a journal. Rejects only when the directory cannot be listed. */
export async function readJournal(stateDir: string, problems: string[]): Promise<JournalFound> {
  const names = (await readdir(stateDir)).filter((name) => segmentBase(name) !== undefined).sort();
  const records: NumberedRecord[] = [];
  const bootIds: string[] = [];
  const segments: SegmentOnDisk[] = [];
  let lastSequence = 0;
  let lastSound = false;
  let damaged = false;
  for (const [index, name] of names.entries()) {
    const path = join(stateDir, name);
    lastSequence = Math.max(lastSequence, segmentBase(name) ?? 0);
    const file = await readStateFile(path, (bytes) => ({ scan: scanFrames(bytes), sizeBytes: bytes.length }));
    lastSound = false;
    if (!file.ok) {
      problems.push(`${path}: ${file.message}`);
      damaged = true;
      continue;
    }
    const { scan, sizeBytes } = file.value;
    const texts = scan.frames.map(({ payload }) => decodeUtf8(payload));
    const header = texts[0] === undefined ? undefined : decodeHeader(texts[0]);
    if (header !== undefined) bootIds.push(header.bootId);
    const numbered = texts.slice(header === undefined ? 0 : 1).map(decodeRecord);
    for (const record of numbered) {
      // A number seen before belongs to a write that was given up and cut off.
      if (record === undefined || record.sequence <= (records.at(-1)?.sequence ?? 0)) continue;
      records.push(record);
      lastSequence = Math.max(lastSequence, record.sequence);
    }
    segments.push({ path, lastSequence, endBytes: scan.endBytes });
    const unreadable = numbered.filter((record) => record === undefined).length;
    const isLast = index === names.length - 1;
    const tornBytes = sizeBytes - scan.endBytes;
    if (unreadable > 0)
      problems.push(`${path}: ${String(unreadable)} records are of a kind this version does not know`);
    if (scan.damaged.length > 0 || (tornBytes > 0 && !isLast)) {
      const damage = scan.damaged.length > 0 ? scan.damaged : [{ offset: scan.endBytes, length: tornBytes }];
      damaged = true;
      const where = damage.map(({ offset, length }) => `${String(length)} bytes at ${String(offset)}`).join(', ');
      await setAside(path, join(stateDir, name.replace('.', '.corrupt-')), `damaged: ${where}`, problems);
    } else if (tornBytes > 0) {
      problems.push(`${path}: its last ${String(tornBytes)} bytes are no whole record and were cut off`);
    }
    lastSound = header !== undefined && scan.damaged.length === 0;
  }
  return { records, lastSequence, bootIds, segments, lastSound, damaged };
}

/** The first place after `base` where a number is missing. */
export function firstGap(records: readonly NumberedRecord[], base: number): string | undefined {
  let expected = base + 1;
  for (const { sequence } of records) {
    if (sequence < expected) continue;
    if (sequence > expected) {
      return `the journal lacks the records ${String(expected)} to ${String(sequence - 1)}: what they say is lost`;
    }
    expected++;
  }
  return undefined;
}
