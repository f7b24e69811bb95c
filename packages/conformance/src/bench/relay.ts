import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';

/** A socket of our own that passes everything on to another one, until it is cut without a word. */
export interface Relay {
  readonly path: string;
  /** Drops both ends of every connection, as the kernel does for a process that is killed. */
  cut(): void;
  close(): Promise<void>;
}

/** Opens a relay to the socket `target`, in a directory of its own. */
export async function openRelay(target: string): Promise<Relay> {
  const dir = await mkdtemp('/tmp/dmr-'); // short, as socket paths have to be
  const path = join(dir, 'relay.sock');
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    path,
    cut,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cut();
      await closed;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
