import { stat } from 'node:fs/promises';
import { RpcCode, RpcError, createClient, deviceplugin } from '@devmgr/wire';
import { messageOf } from './plugin-log.ts';

/** The one version of the device plugin API there is. (kubelet: device plugin API v1beta1) */
export const API_VERSION = 'v1beta1';

/** What came of one call of Register. `absent`: nobody answers on the socket. */
export type RegisterOutcome =
  | { readonly result: 'accepted' }
  | { readonly result: 'refused'; readonly message: string }
  | { readonly result: 'absent'; readonly message: string };

/** Calls Register on a manager's socket. Never rejects. */
export async function callRegister(options: {
  readonly socketPath: string;
  readonly request: deviceplugin.RegisterRequest;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<RegisterOutcome> {
  const client = createClient(deviceplugin.RegistrationService, options.socketPath);
  try {
    await client.register(options.request, { signal: options.signal, timeoutMs: options.timeoutMs });
    return { result: 'accepted' };
  } catch (error) {
    const unavailable = error instanceof RpcError && error.code === RpcCode.Unavailable;
    if (unavailable) return { result: 'absent', message: `nobody answers on ${options.socketPath}` };
    return { result: 'refused', message: error instanceof RpcError ? error.details : messageOf(error) };
  } finally {
    client.close();
  }
}

/**
 * What tells one manager's socket from the next at the same path; undefined when there is none. The inode alone does
 * not do, since file systems give the number of a deleted file to the next one; the modification time of a socket is
 * the moment it was bound, and neither chmod nor rename change it.
 */
export async function socketIdentity(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (found?.isSocket() !== true) return undefined;
  return `${String(found.dev)}:${String(found.ino)}:${String(found.mtimeNs)}`;
}
