/** The longest path a unix socket can have, in bytes: `sun_path` without its closing NUL. (Linux: unix(7)) */
export const MAX_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/** A path that no unix socket can have. Node would cut it short and use another path, so it is refused before. */
export class SocketPathError extends Error {
  override readonly name = 'SocketPathError';
  readonly path: string;

  constructor(path: string, problem: string) {
    super(`socket path ${JSON.stringify(path)} ${problem}`);
    this.path = path;
  }
}

/** What is wrong with a unix socket path, or undefined when it can be used. */
export function socketPathProblem(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.includes('\0')) return 'contains a NUL character';
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes > MAX_SOCKET_PATH_BYTES) {
    return `is ${String(sizeBytes)} bytes long, the system allows ${String(MAX_SOCKET_PATH_BYTES)}: use a shorter directory`;
  }
  return undefined;
}

/** @throws SocketPathError when no unix socket can have the path. */
export function assertSocketPath(path: string): void {
  const problem = socketPathProblem(path);
  if (problem !== undefined) throw new SocketPathError(path, problem);
}
