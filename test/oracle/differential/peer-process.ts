import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Command, DeviceManagerPeer } from '../protocol.ts';

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** The process of a peer has ended by itself, which for the kubelet is a crash. */
export class PeerCrashed extends Error {}

/** A peer that is a process of its own: the real kubelet's parts, or devmgr's driver as others start it. */
export class PeerProcess implements DeviceManagerPeer {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #stderr = '';

  constructor(program: string, args: readonly string[] = []) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-4_000);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answered(line));
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new PeerCrashed(`${program} ended (${String(code ?? signal)}): ${this.#stderr}`));
      this.#waiting.clear();
    });
    this.#child.on('error', noop);
    this.#child.stdin.on('error', noop);
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async do(command: Command): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.ended) {
        reject(new PeerCrashed(`the peer has ended: ${this.#stderr}`));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ ...command, id })}\n`);
    });
  }

  async close(): Promise<void> {
    if (this.ended) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  #answered(line: string): void {
    const { id, result, error } = JSON.parse(line) as { id?: number; result?: unknown; error?: string };
    const waiting = this.#waiting.get(id ?? 0);
    this.#waiting.delete(id ?? 0);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }
}

function noop(): void {
  // told by the exit
}
