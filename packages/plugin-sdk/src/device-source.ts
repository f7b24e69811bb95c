import { DevmgrError } from '@devmgr/core';
import { pause } from './pause.ts';
import type { DeviceInput } from './plugin-device.ts';
import { WakeUp } from './wake-up.ts';

/**
 * Where a plugin's devices come from. Each list is the whole truth, never a delta. The last list stays when an async
 * iterable ends or throws.
 */
export type DeviceSource = readonly DeviceInput[] | AsyncIterable<readonly DeviceInput[]> | DeviceScan;

/** Looks for devices again and again. A scan that fails is logged and repeated; the last list stays until then. */
export interface DeviceScan {
  /** Lists the devices that are there now. Never called again before the last call has ended. */
  scan(signal: AbortSignal): readonly DeviceInput[] | Promise<readonly DeviceInput[]>;
  /** Pause between two scans, in milliseconds. */
  readonly everyMs: number;
  /** Optional: calls `rescan` when something may have changed, so that nobody waits for the next turn; returns how to stop. */
  watch?(rescan: () => void): () => void;
}

/** Milliseconds a burst of hints may last before the scan it asked for begins. */
const HINT_SETTLE_MS = 50;

interface Receiver {
  /** Takes a list; throws when it cannot be used. */
  readonly onDevices: (devices: readonly DeviceInput[]) => void;
  /** The source, or a list of it, failed; the source is followed further where it can be. */
  readonly onError: (error: unknown) => void;
  readonly signal: AbortSignal;
  /** Is given a function that makes a scan begin at once; called before the first. */
  readonly onScanning?: ((rescan: () => void) => void) | undefined;
}

export function isScan(source: DeviceSource): source is DeviceScan {
  return 'scan' in source && typeof source.scan === 'function';
}

/** @throws DevmgrError PLUGIN_INVALID when `source` is none of the things a source can be. */
export function checkSource(resource: string, source: unknown): void {
  if (Array.isArray(source)) return;
  if (typeof source === 'object' && source !== null) {
    if (Symbol.asyncIterator in source) return;
    if ('scan' in source && typeof source.scan === 'function') {
      const everyMs = 'everyMs' in source ? source.everyMs : undefined;
      if (typeof everyMs === 'number' && everyMs > 0 && everyMs < 2 ** 31) return;
      throw new DevmgrError(
        'PLUGIN_INVALID',
        `${resource}: devices.everyMs must be a number of milliseconds above zero`,
      );
    }
  }
  throw new DevmgrError(
    'PLUGIN_INVALID',
    `${resource}: devices must be a list, an async iterable of lists, or { scan, everyMs }`,
  );
}

/** Follows a source until it ends or `signal` aborts. Never rejects. */
export async function followSource(source: DeviceSource, receiver: Receiver): Promise<void> {
  try {
    if (isScan(source)) await repeatScan(source, receiver);
    else if (Symbol.asyncIterator in source) await readIterable(source, receiver);
    else receiver.onDevices(source);
  } catch (error) {
    receiver.onError(error);
  }
}

async function repeatScan(source: DeviceScan, { onDevices, onError, signal, onScanning }: Receiver): Promise<void> {
  const wakeUp = new WakeUp();
  const hint = (): void => {
    wakeUp.hint();
  };
  signal.addEventListener('abort', hint);
  onScanning?.(hint);
  const unwatch = source.watch?.(hint);
  try {
    while (!signal.aborted) {
      wakeUp.clear();
      try {
        const devices = await source.scan(signal);
        if (!isAborted(signal)) onDevices(devices);
      } catch (error) {
        if (!isAborted(signal)) onError(error);
      }
      if (isAborted(signal)) return;
      await wakeUp.sleep(source.everyMs);
      // A directory rarely changes once only: wait for the burst to pass, and never scan in a hot loop.
      await pause(Math.min(HINT_SETTLE_MS, source.everyMs), signal);
    }
  } finally {
    signal.removeEventListener('abort', hint);
    unwatch?.();
  }
}

async function readIterable(source: AsyncIterable<readonly DeviceInput[]>, receiver: Receiver): Promise<void> {
  const { onDevices, onError, signal } = receiver;
  const iterator = source[Symbol.asyncIterator]();
  const aborted = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve(undefined);
    });
  });
  for (;;) {
    const next = iterator.next();
    const result = await Promise.race([next, aborted]);
    if (result === undefined) {
      // The iterator may be waiting for something that never comes: do not wait for it to notice.
      next.catch(() => undefined);
      Promise.resolve(iterator.return?.()).catch(() => undefined);
      return;
    }
    if (result.done === true) return;
    try {
      onDevices(result.value);
    } catch (error) {
      onError(error);
    }
  }
}

/** Read afresh: the compiler would otherwise remember that a signal was not aborted before an await. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
