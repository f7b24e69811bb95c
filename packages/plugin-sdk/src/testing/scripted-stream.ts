import type { RpcError, deviceplugin } from '@devmgr/wire';

/** One open ListAndWatch of a scripted plugin: every message that was sent is delivered, in order, before its end. */
export class ScriptedStream {
  readonly #queue: deviceplugin.ListAndWatchResponse[] = [];
  readonly #signal: AbortSignal;
  #ended: { error: RpcError | undefined } | undefined;
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  send(message: deviceplugin.ListAndWatchResponse): void {
    this.#queue.push(message);
    this.#wake();
  }

  end(error: RpcError | undefined): void {
    this.#ended ??= { error };
    this.#wake();
  }

  async *messages(): AsyncGenerator<deviceplugin.ListAndWatchResponse> {
    const onAbort = (): void => {
      this.end(undefined);
    };
    this.#signal.addEventListener('abort', onAbort);
    if (this.#signal.aborted) onAbort();
    try {
      for (;;) {
        const message = this.#queue.shift();
        if (message !== undefined) yield message;
        else if (this.#ended === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        } else if (this.#ended.error === undefined) return;
        else throw this.#ended.error;
      }
    } finally {
      this.#signal.removeEventListener('abort', onAbort);
    }
  }
}
