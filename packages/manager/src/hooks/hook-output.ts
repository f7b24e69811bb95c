import type { ChildProcess } from 'node:child_process';
import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import type { Logger } from '../ports.ts';

/** Longer lines are cut. */
const MAX_LINE = 1_000;
/** More than this of one run is not logged. */
const MAX_LINES = 1_000;

/** Reads what a command prints, into the log line by line, and remembers the last line of its standard error. */
export class HookOutput {
  /** Resolves when both streams are closed. */
  readonly closed: Promise<void>;
  readonly #child: ChildProcess;
  readonly #log: Logger;
  #lines = 0;
  #lastError = '';

  constructor(child: ChildProcess, log: Logger) {
    this.#child = child;
    this.#log = log;
    this.closed = Promise.all([
      this.#read(child.stdout, 'stdout', () => undefined),
      this.#read(child.stderr, 'stderr', (line) => (this.#lastError = line)),
    ]).then(() => undefined);
  }

  /** Last line on standard error that is not empty, cut and without control characters; empty when there was none. */
  get lastError(): string {
    return this.#lastError;
  }

  /** Stops reading: something that left the command's process group may hold the streams open. */
  destroy(): void {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  #read(stream: Readable | null, name: string, note: (line: string) => void): Promise<void> {
    return new Promise((resolve) => {
      if (stream === null) {
        resolve();
        return;
      }
      const decoder = new StringDecoder('utf8');
      let rest = '';
      const take = (line: string): void => {
        const shown = line.replaceAll(/\p{Cc}/gu, ' ').trim();
        if (shown === '') return;
        note(shown);
        this.#lines += 1;
        if (this.#lines <= MAX_LINES) this.#log.info({ stream: name, line: shown }, 'Hook output');
        else if (this.#lines === MAX_LINES + 1) this.#log.warn({}, 'A hook prints too much; the rest is not logged');
      };
      stream.on('data', (chunk: Buffer) => {
        const lines = (rest + decoder.write(chunk)).split('\n');
        rest = (lines.pop() ?? '').slice(0, MAX_LINE);
        for (const line of lines) take(line.slice(0, MAX_LINE));
      });
      stream.on('error', () => undefined);
      stream.once('close', () => {
        take(rest);
        resolve();
      });
    });
  }
}
