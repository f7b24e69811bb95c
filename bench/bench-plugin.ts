import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';

/** The Go plugin of the oracle: N devices, told over its standard input what to list. The same one serves both managers. */
export class BenchPlugin {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: ((line: string) => boolean)[] = [];

  constructor(
    program: string,
    options: { dir: string; resource: string; devices: number; numa: number; socket: string },
  ) {
    this.#child = spawn(program, [
      ...['-dir', options.dir, '-resource', options.resource, '-socket', options.socket],
      ...['-n', String(options.devices), '-numa', String(options.numa)],
    ]);
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const index = this.#waiting.findIndex((accept) => accept(line));
      if (index >= 0) this.#waiting.splice(index, 1);
    });
    this.#child.stderr.resume();
  }

  /** Resolves with the next line that begins with `word`, split at blanks. */
  next(word: string): Promise<string[]> {
    return new Promise((resolve, reject) => {
      this.#child.once('exit', () => reject(new Error('the plugin ended')));
      this.#waiting.push((line) => {
        if (!line.startsWith(`${word} `)) return false;
        resolve(line.split(' '));
        return true;
      });
    });
  }

  /** Sends a command and resolves with the time, in milliseconds of the monotonic clock, at which it was written. */
  tell(command: string): number {
    const at = performance.now();
    this.#child.stdin.write(`${command}\n`);
    return at;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
