import type { Readable } from 'node:stream';

const KEEP_CHARACTERS = 64 * 1024;

/** What a plugin prints, on either stream: counted whole, kept in part. */
export class PluginLog {
  /** Line ends seen so far. */
  lines = 0;
  #tail = '';

  follow(stream: Readable): void {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) this.lines += 1;
      this.#tail = (this.#tail + text).slice(-KEEP_CHARACTERS);
    });
    stream.on('error', () => undefined); // the plugin is gone, its end is reported elsewhere
  }

  /** The last lines, oldest first. */
  last(count: number): readonly string[] {
    return this.#tail.trimEnd().split('\n').slice(-count);
  }
}
