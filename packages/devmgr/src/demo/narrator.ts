import { print } from '../context.ts';
import type { Style } from '../output/style.ts';

/** Thrown in the middle of a story that nobody wants to hear the end of. */
export class StoryInterrupted extends Error {
  override readonly name = 'StoryInterrupted';
}

/** Tells the demo's story on stdout: short headings, the commands it stands for, what they print, and time to read. */
export class Narrator {
  readonly #style: Style;
  readonly #signal: AbortSignal;
  readonly #paceMs: number;
  readonly #runCommand: (words: readonly string[]) => Promise<number>;
  #chapter = 0;

  constructor(options: {
    style: Style;
    /** Aborts the story at its next pause. */
    signal: AbortSignal;
    /** Time to read a paragraph; 0 when nobody reads along. */
    paceMs: number;
    /** Runs a command line of devmgr in this process; resolves to its exit code. */
    runCommand: (words: readonly string[]) => Promise<number>;
  }) {
    this.#style = options.style;
    this.#signal = options.signal;
    this.#paceMs = options.paceMs;
    this.#runCommand = options.runCommand;
  }

  /** A numbered heading. */
  async chapter(title: string): Promise<void> {
    if (this.#chapter > 0) await this.pause();
    this.#check();
    this.#chapter += 1;
    print(`\n${this.#style.bold(`${String(this.#chapter)}. ${title}`)}\n`);
  }

  /** A sentence. */
  say(text: string): void {
    this.#check();
    print(`${text}\n`);
  }

  /** A command that something else stands for (it goes on in the background, or was waited for). */
  show(command: string): void {
    this.#check();
    print(`${this.#style.cyan(`$ ${command}`)}\n`);
  }

  /** A real command of devmgr, run in this process: what is printed is what it prints. Returns its exit code. */
  async run(words: readonly string[]): Promise<number> {
    this.show(['devmgr', ...words].map(quoted).join(' '));
    const exitCode = await this.#runCommand(words);
    this.#check();
    return exitCode;
  }

  /** Time to read. Throws StoryInterrupted when there is no more. */
  async pause(share = 1): Promise<void> {
    this.#check();
    const pauseMs = this.#paceMs * share;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, pauseMs);
      this.#signal.addEventListener('abort', done, { once: true });
    });
    this.#check();
  }

  #check(): void {
    if (this.#signal.aborted) throw new StoryInterrupted('interrupted');
  }
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
