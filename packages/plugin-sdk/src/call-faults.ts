import { RpcCode, RpcError } from '@devmgr/wire';
import type { CallInfo } from './plugin-spec.ts';

interface Fault {
  hang?: Promise<void>;
  release?: () => void;
  failure?: string;
  delayMs?: number;
}

/** What each call of a simulated plugin is made to suffer, until it is calmed. */
export class CallFaults<Call extends string> {
  readonly #faults = new Map<Call, Fault>();

  /** What goes on now, in words. */
  get troubles(): string[] {
    return [...this.#faults].flatMap(([call, { hang, failure, delayMs }]) => [
      ...(hang === undefined ? [] : [`${call} hangs`]),
      ...(failure === undefined ? [] : [`${call} fails: ${failure}`]),
      ...(delayMs === undefined ? [] : [`${call} takes ${String(delayMs)} ms`]),
    ]);
  }

  /** Leaves calls unanswered until `calm`. */
  hang(call: Call): void {
    const fault = this.#of(call);
    fault.hang ??= new Promise<void>((resolve) => {
      fault.release = resolve;
    });
  }

  /** Fails calls with this message. */
  fail(call: Call, message: string): void {
    this.#of(call).failure = message;
  }

  /** Answers calls after a pause. */
  slow(call: Call, delayMs: number): void {
    this.#of(call).delayMs = delayMs;
  }

  /** Ends all faults of a call; calls that hang are answered now. */
  calm(call: Call): void {
    this.#faults.get(call)?.release?.();
    this.#faults.delete(call);
  }

  /** Lets a call through, holds it up, or throws. */
  async suffer(call: Call, { signal }: CallInfo): Promise<void> {
    const fault = this.#faults.get(call);
    if (fault === undefined) return;
    const { hang, delayMs = 0, failure } = fault;
    if (hang !== undefined) await orAborted(hang, signal);
    if (delayMs > 0) await pause(delayMs, signal);
    if (failure !== undefined) throw new RpcError(RpcCode.Unknown, failure);
  }

  #of(call: Call): Fault {
    const fault = this.#faults.get(call) ?? {};
    this.#faults.set(call, fault);
    return fault;
  }
}

async function orAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let onAbort = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
    signal.addEventListener('abort', onAbort);
  });
  await Promise.race([promise, aborted]);
  signal.removeEventListener('abort', onAbort);
}

async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, delayMs);
  });
  await orAborted(elapsed, signal);
  clearTimeout(timer);
}
