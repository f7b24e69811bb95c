import type { ApiClient } from '@devmgr/manager';
import { apiSocketPath } from './root-dir.ts';

/**
 * The manager of a root directory. The manager's package is loaded only here and by commands that start one, so that
 * help, completion and version stay quick.
 */
export async function connectManager(rootDir: string): Promise<ApiClient> {
  const { createApiClient } = await import('@devmgr/manager/client');
  return createApiClient(apiSocketPath(rootDir));
}
