import { join, sep } from 'node:path';
import { checkResourceName, goQuote, goQuoteList } from '@devmgr/core';
import type { deviceplugin } from '@devmgr/wire';

/** The one version of the device plugin API there is. */
export const API_VERSION = 'v1beta1';
const SUPPORTED_VERSIONS = [API_VERSION];

export type CheckedRegistration =
  { readonly ok: true; readonly socketPath: string } | { readonly ok: false; readonly message: string };

/**
 * What can be said about a Register request without dialling, in the kubelet's order and words: version, resource name,
 * and then the endpoint, which is joined to the directory. The kubelet follows an endpoint out of the directory; here it
 * is refused, and so is an empty one. The request's options are not looked at: those the plugin answers itself count.
 */
export function checkRegistration(
  request: Pick<deviceplugin.RegisterRequest, 'version' | 'resourceName' | 'endpoint'>,
  devicePluginDir: string,
): CheckedRegistration {
  if (request.version !== API_VERSION) {
    const supported = goQuoteList(SUPPORTED_VERSIONS);
    return refused(
      `requested API version ${goQuote(request.version)} is not supported by kubelet. Supported version is ${supported}`,
    );
  }
  const name = checkResourceName(request.resourceName);
  if (!name.ok) return refused(name.message);
  const endpoint = request.endpoint;
  if (endpoint === '') {
    return refused(
      'the endpoint is empty: it must be the file name of the plugin socket in the device plugin directory',
    );
  }
  const socketPath = join(devicePluginDir, endpoint);
  const directory = join(devicePluginDir, sep);
  if (!socketPath.startsWith(directory) || socketPath === directory || endpoint.includes('\0')) {
    return refused(
      `the endpoint ${goQuote(endpoint)} is not inside the device plugin directory ${devicePluginDir}: it must be the file name of the plugin socket there`,
    );
  }
  return { ok: true, socketPath };
}

function refused(message: string): CheckedRegistration {
  return { ok: false, message };
}
