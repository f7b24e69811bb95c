import { stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { socketPathProblem } from './socket-path.ts';

/** HTTP/2 connection preface and an empty SETTINGS frame: all a client says before it must be answered. (RFC 9113, 3.4) */
const HELLO = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
  Buffer.from([0, 0, 0, 0x4, 0, 0, 0, 0, 0]),
]);
const FRAME_HEADER_BYTES = 9;
const SETTINGS = 0x4;

/**
 * What is found behind a path: `grpc` someone completes the HTTP/2 handshake; `mute` someone accepts but does not speak
 * HTTP/2 within the time limit; `refused` a socket nobody listens on, or that may not be used; `missing` nothing;
 * `not-a-socket` something else, a regular file for example.
 */
export type UnixProbe = 'grpc' | 'mute' | 'refused' | 'missing' | 'not-a-socket';

/**
 * Finds out whether a gRPC server lives behind a path, without calling it. Never rejects and leaves no connection.
 *
 * Needed since grpc-js puts no time limit on the handshake (grpc-node #2785): a client to a mute socket would wait for
 * ever and keep its connection even when closed.
 */
export async function probeUnix(path: string, timeoutMs: number): Promise<UnixProbe> {
  if (path.includes('\0')) return 'missing';
  try {
    if (!(await stat(path)).isSocket()) return 'not-a-socket';
  } catch (error) {
    return isCode(error, 'EACCES') ? 'refused' : 'missing';
  }
  if (socketPathProblem(path) !== undefined) return 'refused'; // no socket call can name it
  return new Promise((resolve) => {
    const socket = connect({ path });
    const finish = (result: UnixProbe): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(finish, timeoutMs, 'mute');
    let received = Buffer.alloc(0);
    let connected = false;
    socket.once('connect', () => {
      connected = true;
      socket.write(HELLO);
    });
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= FRAME_HEADER_BYTES) finish(received.readUInt8(3) === SETTINGS ? 'grpc' : 'mute');
    });
    socket.on('error', (error) => {
      // EAGAIN: a listener with a full queue. ECONNRESET: one that closed while the connection waited in it.
      const isListening = connected || isCode(error, 'EAGAIN') || isCode(error, 'ECONNRESET');
      finish(isListening ? 'mute' : isCode(error, 'ENOENT') ? 'missing' : 'refused');
    });
    socket.on('close', () => {
      finish('mute');
    });
  });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
