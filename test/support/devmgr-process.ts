import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createApiClient, type ApiClient } from '@devmgr/manager';
import { until } from '@devmgr/plugin-sdk/testing';

const BIN = fileURLToPath(new URL('../../packages/devmgr/bin/devmgr.js', import.meta.url));

/** A short directory for one test; unix socket paths may not be long. */
export function makeRootDir(): string {
  return mkdtempSync(join(tmpdir(), 'dm-'));
}

/** The built command line as a child process, with what it printed. */
export class DevmgrProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<number | string>;
  output = '';

  constructor(args: readonly string[], options: { rootDir: string; env?: Readonly<Record<string, string>> }) {
    this.child = spawn(process.execPath, [BIN, ...args], {
      env: { ...process.env, DEVMGR_ROOT_DIR: options.rootDir, NO_COLOR: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const keep = (text: Buffer): void => {
      this.output += text.toString();
    };
    this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
    });
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    if (this.running) this.child.kill(signal);
    return this.exited;
  }
}

/** Starts `devmgr start` and waits until its API answers. */
export async function startManager(
  rootDir: string,
  args: readonly string[] = [],
): Promise<{ manager: DevmgrProcess; api: ApiClient }> {
  const manager = new DevmgrProcess(['start', ...args], { rootDir });
  const api = createApiClient(join(rootDir, 'devmgr', 'api.sock'));
  const answering = until(
    'the API to answer',
    async () => {
      if (!manager.running) throw new Error(`devmgr start ended: ${manager.output}`);
      return api.version().then(
        () => true,
        () => false,
      );
    },
    60_000,
  );
  await answering.catch(async (error: unknown) => {
    await manager.end('SIGKILL');
    throw new Error(`${String(error)}: ${manager.output}`, { cause: error });
  });
  return { manager, api };
}

export function removeRootDir(rootDir: string): void {
  rmSync(rootDir, { recursive: true, force: true });
}
