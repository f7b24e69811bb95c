import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeFrame, encodeHeader, encodeRecordBody, numberRecord } from '@devmgr/core';
import type { StateRecord } from '../ports.ts';
import { ensureDirectory, syncDirectory } from './durable-file.ts';
import { systemErrorText } from './system-error.ts';

const SEGMENT_NAME = /^journal\.(\d{16})$/;

/** File name of the segment whose records have numbers above `base`. */
export function segmentName(base: number): string {
  return `journal.${String(base).padStart(16, '0')}`;
}

/** The number in a segment's file name, undefined for other files. */
export function segmentBase(name: string): number | undefined {
  const digits = SEGMENT_NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A segment as it was found on disk. */
export interface SegmentOnDisk {
  readonly path: string;
  /** Number of its last record, or its base when it has none. */
  readonly lastSequence: number;
  /** Where its last undamaged record ends. */
  readonly endBytes: number;
}

export interface JournalOptions {
  readonly directory: string;
  readonly bootId: string;
  /** Number of the last record that is on disk. */
  readonly sequence: number;
  /** Segments on disk, oldest first. */
  readonly segments: readonly SegmentOnDisk[];
  /** Whether to go on writing at the end of the last segment. */
  readonly continueLast: boolean;
  /** Called for each record once it is on disk, in order, before its append resolves. Must not throw. */
  readonly onDurable: (record: StateRecord, body: string) => void;
  /** Called before a new segment is started when {@link Journal.requireBaseline} was called; records then wait for it. */
  readonly writeBaseline: () => Promise<void>;
}

interface Entry {
  readonly record: StateRecord;
  /** The record's text, made when it was appended: what changes later belongs to a later record. */
  readonly body: string;
}

interface Waiting extends Entry {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface Segment {
  readonly path: string;
  readonly handle: FileHandle;
  /** End of what is certainly on disk and meant to be. */
  endBytes: number;
  /** Bytes of a failed write may follow `endBytes` and are to be cut off before anything else is written. */
  torn: boolean;
}

/**
 * Append-only record of state changes, in segments. Appends that arrive while one is being made durable share the next
 * write and fsync.
 *
 * Invariants
 * - Records on disk are numbered without gaps; a number is given when a record is written and given again when it failed.
 * - An append resolves only after fsync, and rejects only when its record will not be found by a later start; as long as
 *   a failed write cannot be cut off again, nothing else is written.
 * - One write is under way at a time. Segments other than the last are never written again.
 * - A `released` record whose write failed is written before anything else that follows: its devices may be in other
 *   hands by then.
 */
export class Journal {
  readonly #options: JournalOptions;
  #closed: { readonly path: string; readonly lastSequence: number }[];
  #segment: Segment | undefined;
  #sequence: number;
  #queue: Waiting[] = [];
  #owed: Entry[] = [];
  #draining: Promise<void> | undefined;
  #rotate = false;
  #needsBaseline = false;
  #shut = false;

  private constructor(options: JournalOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
    this.#closed = [...options.segments];
  }

  /** Writes nothing, except that a torn tail of the last segment is cut off. Rejects with the system's error. */
  static async open(options: JournalOptions): Promise<Journal> {
    const journal = new Journal(options);
    const last = options.segments.at(-1);
    if (options.continueLast && last !== undefined) {
      const handle = await open(last.path, 'r+');
      const segment = { path: last.path, handle, endBytes: last.endBytes, torn: false };
      try {
        await cutBack(segment);
      } catch (error) {
        await handle.close();
        throw error;
      }
      journal.#segment = segment;
      journal.#closed.pop();
    }
    return journal;
  }

  /** Number of the last record that is on disk. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Size of the segment that is being written. */
  get segmentBytes(): number {
    return this.#segment?.endBytes ?? 0;
  }

  /** Resolves when the record is on disk; rejects with the system's error in the words of Go. */
  async append(record: StateRecord): Promise<void> {
    if (this.#shut) throw new Error('the state store is closed');
    const body = encodeRecordBody(record);
    const written = new Promise<void>((resolve, reject) => {
      this.#queue.push({ record, body, resolve, reject });
    });
    this.#draining ??= this.#drain();
    await written;
  }

  /** The next record starts a new segment. */
  rotate(): void {
    this.#rotate = true;
  }

  /** The next record starts a new segment, and waits for a snapshot of the state before it. */
  requireBaseline(): void {
    this.#needsBaseline = true;
    this.#rotate = true;
  }

  /** A snapshot of the state as of record `sequence` is on disk. */
  snapshotWritten(sequence: number): void {
    if (sequence === this.#sequence) this.#needsBaseline = false;
  }

  /** Removes segments that hold nothing but records up to `sequence`. Rejects with the system's error. */
  async discardThrough(sequence: number): Promise<void> {
    while (this.#closed[0] !== undefined && this.#closed[0].lastSequence <= sequence) {
      await rm(this.#closed[0].path, { force: true });
      this.#closed.shift();
    }
  }

  /** Waits for what was appended, then closes the file. */
  async close(): Promise<void> {
    this.#shut = true;
    await this.#draining;
    // A last chance for what is owed; when it fails, the devices are held by the pod that let go of them, and by no other.
    if (this.#owed.length > 0) await this.#write(this.#owed).catch(() => undefined);
    await this.#segment?.handle.close();
    this.#segment = undefined;
  }

  async #drain(): Promise<void> {
    // Appends made in the same turn share the first write too.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        await this.#write([...this.#owed, ...batch]);
        this.#owed = [];
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const entry of batch) {
          if (entry.record.type === 'released') this.#owed.push(entry);
          entry.reject(error);
        }
      }
    }
    this.#draining = undefined;
  }

  async #write(entries: readonly Entry[]): Promise<void> {
    const segment = await this.#readySegment();
    const frames = entries.map(({ body }, index) => encodeFrame(numberRecord(this.#sequence + index + 1, body)));
    const bytes = Buffer.concat(frames);
    segment.torn = true;
    try {
      await writeAll(segment.handle, bytes, segment.endBytes);
      await segment.handle.datasync();
      await this.#checkNamed(segment);
    } catch (error) {
      await this.#recover(segment);
      throw new Error(systemErrorText(error, segment.path), { cause: error });
    }
    segment.torn = false;
    segment.endBytes += bytes.length;
    this.#sequence += entries.length;
    for (const { record, body } of entries) this.#options.onDurable(record, body);
  }

  /** What is written to a file without a name is found by nobody. */
  async #checkNamed(segment: Segment): Promise<void> {
    const { nlink } = await segment.handle.stat();
    if (nlink > 0) return;
    this.#segment = undefined;
    this.requireBaseline();
    await segment.handle.close();
    throw new Error(`write ${segment.path}: the file was removed`);
  }

  async #recover(segment: Segment): Promise<void> {
    if (segment !== this.#segment) return;
    try {
      await cutBack(segment);
    } catch {
      // Stays torn: the next write tries again first, and fails when that fails.
    }
  }

  async #readySegment(): Promise<Segment> {
    if (this.#segment?.torn === true) await cutBack(this.#segment);
    if (this.#segment !== undefined && !this.#rotate) return this.#segment;
    if (this.#needsBaseline) {
      await this.#options.writeBaseline();
      this.#needsBaseline = false;
    }
    const next = await createSegment(this.#options.directory, this.#sequence, this.#options.bootId);
    const previous = this.#segment;
    if (previous !== undefined) {
      this.#closed.push({ path: previous.path, lastSequence: this.#sequence });
      await previous.handle.close();
    }
    // A segment of the same name was found on disk without a single record, and is this one now.
    this.#closed = this.#closed.filter(({ path }) => path !== next.path);
    this.#segment = next;
    this.#rotate = false;
    return next;
  }
}

/** A segment of that base can only exist without records: those it had were cut off. */
async function createSegment(directory: string, base: number, bootId: string): Promise<Segment> {
  await ensureDirectory(directory, 0o700);
  const path = join(directory, segmentName(base));
  const handle = await open(path, 'w', 0o600);
  try {
    const header = encodeFrame(encodeHeader({ type: 'journal', sequence: base, bootId, count: 0 }));
    await writeAll(handle, header, 0);
    await handle.datasync();
    await syncDirectory(directory);
    return { path, handle, endBytes: header.length, torn: false };
  } catch (error) {
    await handle.close();
    await rm(path, { force: true }).catch(() => undefined);
    throw error;
  }
}

async function cutBack(segment: Segment): Promise<void> {
  const { size } = await segment.handle.stat();
  if (size !== segment.endBytes) {
    await segment.handle.truncate(segment.endBytes);
    await segment.handle.datasync();
  }
  segment.torn = false;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    if (bytesWritten === 0) throw new Error('write: nothing was written');
    written += bytesWritten;
  }
}
