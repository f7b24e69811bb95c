import { readFile } from 'node:fs/promises';
import { DevmgrError } from '@devmgr/core';

/** The text of a file, or of standard input for `-`. Throws NOT_FOUND, PERMISSION_DENIED, or `otherwise` for every other reason. */
export async function readTextFile(path: string, otherwise: 'CONFIG_INVALID' | 'MANIFEST_INVALID'): Promise<string> {
  try {
    if (path !== '-') return await readFile(path, 'utf8');
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw unreadable(path, error, otherwise);
  }
}

/** Why a file or directory cannot be read, with its remedy. */
export function unreadable(
  path: string,
  error: unknown,
  otherwise: 'CONFIG_INVALID' | 'MANIFEST_INVALID',
): DevmgrError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT')
    return new DevmgrError('NOT_FOUND', `${path}: there is no such file`, { cause: error, remedy: 'Check the path.' });
  if (code === 'EACCES') return new DevmgrError('PERMISSION_DENIED', `${path}: may not be read`, { cause: error });
  return new DevmgrError(otherwise, `${path}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}
