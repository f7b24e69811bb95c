import { readFile } from 'node:fs/promises';
import { checkpointWriteFailed, DevmgrError } from '@devmgr/core';
import type { Clock, Logger, RecoveredState, SnapshotSource, StateRecord, StateWriter } from '../ports.ts';
import { ensureDirectory, sweepTemporaryFiles } from './durable-file.ts';
import { Journal, type JournalOptions } from './journal.ts';
import { recoverState, statePaths, type Recovery } from './recovery.ts';
import { Snapshots } from './snapshots.ts';
import type { StateImage } from './state-image.ts';
import { systemErrorText } from './system-error.ts';

/** Nothing has changed for so long: time for a snapshot. */
const CALM_MS = 1_000;
/** The longest that a change waits for calm. */
const MAX_DIRTY_MS = 30_000;
/** Wait after a snapshot that failed. */
const RETRY_MS = 5_000;
/** A journal that grew by this much since the last snapshot is not waited with. */
const MAX_JOURNAL_BYTES = 4 * 1024 * 1024;
/** After a snapshot, a segment of this size is not written on. */
const MIN_SEGMENT_BYTES = 256 * 1024;

export interface StateStoreOptions {
  /** Where the kubelet's checkpoint file is. */
  readonly devicePluginDir: string;
  /** For everything else; nobody but devmgr needs to read it. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Identity of this run of the system. Default: the kernel's. */
  readonly bootId?: string;
}

/**
 * Everything that must survive: who holds which devices, which resources are known, which pods there are.
 *
 * Invariants
 * - `append` resolves when its record is on disk; its cost does not depend on how much state there is.
 * - The state on disk is at every instant exactly that of some prefix of the records that includes all acknowledged ones:
 *   snapshots are made from the records written so far ({@link StateImage}), never from what is only in memory.
 * - One snapshot is written at a time. A snapshot changes nothing about what a start would read, only how fast.
 */
export class StateStore implements StateWriter {
  /** Told, in one line, when state could not be made durable in the background. */
  onProblem?: (message: string) => void;

  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #image: StateImage;
  readonly #snapshots: Snapshots;
  #journal!: Journal;
  #source: SnapshotSource | undefined;
  #snapshotting: Promise<void> = Promise.resolve();
  #cancelTimer: (() => void) | undefined;
  /** Monotonic times; undefined when nothing has changed since the last snapshot. */
  #dirtySinceMs: number | undefined;
  #changedAtMs = 0;
  #notBeforeMs = 0;
  #journalBytesAtSnapshot = 0;
  #closing: Promise<void> | undefined;

  private constructor(options: StateStoreOptions, bootId: string, recovery: Recovery) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#image = recovery.image;
    this.#snapshots = new Snapshots(statePaths(options.devicePluginDir, options.stateDir), bootId, recovery);
  }

  /**
   * Reads what is there, and cuts off what was torn. Rejects with ROOT_DIR_UNUSABLE when the directories cannot be made
   * or listed; whatever is in them is at worst set aside and told in `recovered.problems`.
   */
  static async open(options: StateStoreOptions): Promise<{ store: StateStore; recovered: RecoveredState }> {
    const bootId = options.bootId ?? (await systemBootId());
    const recovery = await readState(options);
    const problems = [...recovery.problems];
    const store = new StateStore(options, bootId, recovery);
    const sound = recovery.lastSegmentSound;
    store.#journal = await store.#openJournal(options, bootId, recovery, sound).catch((error: unknown) => {
      problems.push(`the journal cannot be continued: ${systemErrorText(error)}`);
      return store.#openJournal(options, bootId, recovery, false);
    });
    if (!sound || recovery.segmentBootId !== bootId) store.#journal.rotate();
    // Until a kubelet's file is replaced by one with our numbers, records written after it would be taken for older than it.
    if (recovery.checkpoint.state === 'foreign') store.#journal.requireBaseline();
    const { checkpoint, pods, sequence } = recovery;
    const behind = Math.min(checkpoint.sequence, pods.sequence) < sequence;
    if (behind || problems.length > 0 || checkpoint.state === 'foreign') store.touch();
    const recovered: RecoveredState = {
      allocations: recovery.image.allocations(),
      resources: recovery.image.resources(),
      releases: recovery.image.releases(),
      releaseRequired: recovery.image.releaseRequired(),
      pods: recovery.image.pods(),
      rebooted: recovery.bootIds.size > 0 && !recovery.bootIds.has(bootId),
      problems,
    };
    return { store, recovered };
  }

  /** Who knows the ids that are healthy now. Until then snapshots name resources without any. */
  bind(source: SnapshotSource): void {
    this.#source = source;
  }

  /** See {@link StateWriter.append}. The message of a rejection is the kubelet's for a checkpoint it cannot write. */
  async append(record: StateRecord): Promise<void> {
    try {
      await this.#journal.append(record);
    } catch (error) {
      throw writeFailed(error);
    }
  }

  touch(): void {
    this.#changedAtMs = this.#clock.monotonicMs();
    this.#dirtySinceMs ??= this.#changedAtMs;
    this.#schedule();
  }

  /** Writes a snapshot now, unless the one on disk says the same. Rejects with STATE_WRITE_FAILED. */
  async snapshot(): Promise<void> {
    const turn = this.#snapshotting.then(() => this.#writeSnapshot());
    this.#snapshotting = turn.catch(() => undefined);
    try {
      await turn;
    } catch (error) {
      throw writeFailed(error);
    }
  }

  /** Waits for what was appended, writes a last snapshot, and closes. A snapshot that fails is reported and costs nothing: the journal has it all. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#journal.close();
    if (this.#dirtySinceMs === undefined) return;
    await this.snapshot().catch((error: unknown) => {
      this.#report(error);
    });
  }

  #openJournal(
    options: StateStoreOptions,
    bootId: string,
    recovery: Recovery,
    continueLast: boolean,
  ): Promise<Journal> {
    const journalOptions: JournalOptions = {
      directory: options.stateDir,
      bootId,
      sequence: recovery.sequence,
      segments: recovery.segments,
      continueLast,
      onDurable: (record, body) => {
        this.#image.apply(record, body);
        this.touch();
      },
      writeBaseline: () => this.snapshot(),
    };
    return Journal.open(journalOptions);
  }

  async #writeSnapshot(): Promise<void> {
    const { sequence } = this.#journal;
    // From here to the first await nothing else runs: the image is the state as of that record.
    const dirtySinceMs = this.#dirtySinceMs;
    this.#dirtySinceMs = undefined;
    this.#journalBytesAtSnapshot = this.#journal.segmentBytes;
    try {
      await this.#snapshots.write(this.#image, sequence, this.#source);
    } catch (error) {
      this.#dirtySinceMs ??= dirtySinceMs ?? this.#clock.monotonicMs();
      throw error;
    }
    this.#journal.snapshotWritten(sequence);
    if (this.#journal.segmentBytes >= MIN_SEGMENT_BYTES) this.#journal.rotate();
    await this.#journal.discardThrough(this.#snapshots.neededFrom);
  }

  #schedule(): void {
    if (this.#cancelTimer !== undefined || this.#dirtySinceMs === undefined || this.#closing !== undefined) return;
    const now = this.#clock.monotonicMs();
    const full = this.#journal.segmentBytes - this.#journalBytesAtSnapshot >= MAX_JOURNAL_BYTES;
    const calmAtMs = full ? now : Math.min(this.#changedAtMs + CALM_MS, this.#dirtySinceMs + MAX_DIRTY_MS);
    const dueMs = Math.max(calmAtMs, this.#notBeforeMs);
    this.#cancelTimer = this.#clock.setTimeout(
      () => {
        this.#cancelTimer = undefined;
        void this.#snapshotWhenDue();
      },
      Math.max(dueMs - now, 0),
    );
  }

  async #snapshotWhenDue(): Promise<void> {
    const now = this.#clock.monotonicMs();
    const dirtySinceMs = this.#dirtySinceMs;
    if (dirtySinceMs === undefined || this.#closing !== undefined) return;
    const calm = now >= this.#changedAtMs + CALM_MS || now >= dirtySinceMs + MAX_DIRTY_MS;
    const full = this.#journal.segmentBytes - this.#journalBytesAtSnapshot >= MAX_JOURNAL_BYTES;
    if ((calm || full) && now >= this.#notBeforeMs) {
      try {
        await this.snapshot();
      } catch (error) {
        this.#notBeforeMs = this.#clock.monotonicMs() + RETRY_MS;
        this.#report(error);
      }
    }
    this.#schedule();
  }

  #report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#log.error({ err: message }, 'Failed to write checkpoint file');
    this.onProblem?.(message);
  }
}

async function readState(options: StateStoreOptions): Promise<Recovery> {
  const { devicePluginDir, stateDir } = options;
  try {
    await ensureDirectory(devicePluginDir, 0o755);
    await ensureDirectory(stateDir, 0o700);
    await sweepTemporaryFiles(devicePluginDir);
    await sweepTemporaryFiles(stateDir);
    return await recoverState(statePaths(devicePluginDir, stateDir), options.clock.now());
  } catch (error) {
    throw new DevmgrError('ROOT_DIR_UNUSABLE', `the state cannot be read: ${systemErrorText(error)}`, { cause: error });
  }
}

async function systemBootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  } catch {
    // Not Linux, or no /proc: restart and reboot cannot be told apart.
    return 'unknown';
  }
}

function writeFailed(error: unknown): DevmgrError {
  if (error instanceof DevmgrError) return error;
  return new DevmgrError('STATE_WRITE_FAILED', checkpointWriteFailed(systemErrorText(error)), { cause: error });
}
