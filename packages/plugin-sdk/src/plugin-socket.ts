import { randomBytes } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { DevmgrError } from '@devmgr/core';
import { MAX_SOCKET_PATH_BYTES, listenUnix } from '@devmgr/wire';
import type { ServiceBinding, UnixServer } from '@devmgr/wire';

const MAX_STEM_CHARS = 40;

interface SocketOptions {
  readonly resource: string;
  readonly dir: string;
  readonly name: string | undefined;
  readonly mode: number | undefined;
  readonly services: readonly ServiceBinding[];
  /** The listener failed for good; `isPresent` is false from then on. */
  readonly onFailure: (error: Error) => void;
}

/**
 * The plugin's own listening socket, which others may delete at any time.
 *
 * Invariants: at most one server listens; what is at `path` is taken for ours only by its inode; a path that was
 * chosen for us (no name given) is unlike any other plugin's, in this process or another.
 */
export class PluginSocket {
  readonly #options: SocketOptions;
  #path: string;
  #server: UnixServer | undefined;
  #failed = false;

  /** @throws DevmgrError PATH_TOO_LONG, or PLUGIN_INVALID for a name that is not a plain file name. */
  constructor(options: SocketOptions) {
    this.#options = options;
    if (options.name !== undefined) checkName(options.resource, options.name);
    this.#path = this.#choosePath();
  }

  get path(): string {
    return this.#path;
  }

  /** True while our server listens and its socket is what is found at the path. */
  async isPresent(): Promise<boolean> {
    const server = this.#server;
    if (server === undefined || this.#failed) return false;
    const found = await lstat(server.path, { bigint: true }).catch(() => undefined);
    return found !== undefined && found.isSocket() && found.ino === server.inode;
  }

  /** Listens, anew if need be. Whatever still hangs on the old server is let go first. Rejects when the system refuses. */
  async bind(): Promise<void> {
    await this.close(0);
    const { services, mode, onFailure } = this.#options;
    this.#failed = false;
    this.#server = await listenUnix({
      path: this.#path,
      services,
      mode,
      onFailure: (error) => {
        this.#failed = true;
        onFailure(error);
      },
    });
  }

  /** Takes another name for the next `bind`, if the name was ours to choose. */
  rename(): boolean {
    if (this.#options.name !== undefined) return false;
    this.#path = this.#choosePath();
    return true;
  }

  /** Stops listening and unlinks the socket if it is still ours; calls being answered get `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.close(graceMs);
  }

  #choosePath(): string {
    const { dir, name, resource } = this.#options;
    const suffix = `-${randomBytes(4).toString('hex')}.sock`;
    const room = MAX_SOCKET_PATH_BYTES - Buffer.byteLength(join(dir, suffix));
    const stem = resource.replaceAll(/[^A-Za-z0-9._-]/g, '_').slice(0, Math.min(MAX_STEM_CHARS, Math.max(room, 0)));
    const path = join(dir, name ?? stem + suffix);
    const length = Buffer.byteLength(path);
    if (length > MAX_SOCKET_PATH_BYTES) {
      throw new DevmgrError(
        'PATH_TOO_LONG',
        `${resource}: the socket path ${path} has ${String(length)} bytes; the system allows ${String(MAX_SOCKET_PATH_BYTES)}`,
        { remedy: 'Use a shorter plugin directory or socket name.' },
      );
    }
    return path;
  }
}

function checkName(resource: string, name: string): void {
  const reserved = ['', '.', '..', 'kubelet.sock', 'kubelet_internal_checkpoint'];
  if (reserved.includes(name) || name.includes('/') || name.includes('\0')) {
    throw new DevmgrError(
      'PLUGIN_INVALID',
      `${resource}: socketName ${JSON.stringify(name)} is not a file name a plugin may use`,
    );
  }
}
