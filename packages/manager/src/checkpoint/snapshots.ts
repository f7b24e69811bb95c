import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { encodeCheckpoint, encodeFrame, encodeHeader } from '@devmgr/core';
import type { SnapshotSource } from '../ports.ts';
import { contentHash, ensureDirectory, keepDurably, writeDurably } from './durable-file.ts';
import type { Recovery, SnapshotFound, StatePaths } from './recovery.ts';
import type { StateImage } from './state-image.ts';
import { systemErrorName } from './system-error.ts';

/** One snapshot file with the generation before it. */
interface Generations {
  readonly path: string;
  readonly previousPath: string;
  sequence: number;
  previousSequence: number;
  /** Hash of the content, undefined when the file is not ours or not usable: it never becomes the previous generation. */
  hash: string | undefined;
  /** The generation before and the journal do not give the state any more: it is overwritten, not relied on. */
  previousStale: boolean;
}

/**
 * Writes the two snapshots of the state: devices in the kubelet's checkpoint file, pods in a file of our own.
 *
 * Invariants
 * - Each file is replaced as a whole and keeps one generation before it, so that one that is damaged later costs nothing:
 *   together with the journal from {@link Snapshots.neededFrom} on, the older one gives the same state.
 * - Nothing is written when neither the state nor its number has changed.
 */
export class Snapshots {
  readonly #bootId: string;
  readonly #checkpoint: Generations;
  readonly #pods: Generations;

  constructor(paths: StatePaths, bootId: string, recovery: Recovery) {
    const { checkpoint, pods, journalDamaged } = recovery;
    this.#bootId = bootId;
    this.#checkpoint = generations(paths.checkpoint, paths.previousCheckpoint, checkpoint, journalDamaged);
    this.#pods = generations(paths.pods, paths.previousPods, pods, journalDamaged);
  }

  /** Records with higher numbers are needed by one of the generations on disk; those up to it are not. */
  get neededFrom(): number {
    return Math.min(this.#checkpoint.previousSequence, this.#pods.previousSequence);
  }

  /** Writes the state as of record `sequence`. Rejects with the system's error; what was on disk before still is. */
  async write(
    image: StateImage,
    sequence: number,
    source: Pick<SnapshotSource, 'resources'> | undefined,
  ): Promise<void> {
    // Both contents are made before anything is awaited: they are of one state.
    const checkpoint = this.#encodeDevices(image, sequence, source);
    const pods = this.#encodePods(image, sequence);
    await replace(this.#checkpoint, checkpoint, sequence, 0o755);
    await replace(this.#pods, pods, sequence, 0o700);
  }

  #encodeDevices(
    image: StateImage,
    sequence: number,
    source: Pick<SnapshotSource, 'resources'> | undefined,
  ): Uint8Array {
    const { data, ...extension } = image.toCheckpoint(source);
    return encodeCheckpoint(data, { sequence, bootId: this.#bootId, ...extension });
  }

  #encodePods(image: StateImage, sequence: number): Uint8Array {
    const records = image.podRecords(sequence).map(encodeFrame);
    const header = encodeHeader({ type: 'pods', sequence, bootId: this.#bootId, count: records.length });
    return Buffer.concat([encodeFrame(header), ...records]);
  }
}

function generations(path: string, previousPath: string, found: SnapshotFound, journalDamaged: boolean): Generations {
  return {
    path,
    previousPath,
    sequence: found.sequence,
    previousSequence: found.previousSequence,
    hash: found.state === 'good' ? found.hash : undefined,
    previousStale: found.state === 'foreign' || journalDamaged,
  };
}

async function replace(file: Generations, content: Uint8Array, sequence: number, directoryMode: number): Promise<void> {
  const hash = contentHash(content);
  if (hash === file.hash && !file.previousStale && (await exists(file.path))) return;
  await ensureDirectory(dirname(file.path), directoryMode);
  await ensureDirectory(dirname(file.previousPath), 0o700);
  if (file.previousStale) {
    await writeDurably(file.previousPath, content);
    file.previousStale = false;
    file.previousSequence = sequence;
  } else if (file.hash !== undefined) {
    await keepPrevious(file);
  }
  await writeDurably(file.path, content);
  file.sequence = sequence;
  file.hash = hash;
}

async function keepPrevious(file: Generations): Promise<void> {
  try {
    await keepDurably(file.path, file.previousPath);
    file.previousSequence = file.sequence;
  } catch (error) {
    // Removed under us: the generation before stays what it was, and the file comes back with the new content.
    if (systemErrorName(error) !== 'ENOENT') throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
