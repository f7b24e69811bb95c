import { checkResourceName } from '@devmgr/core';
import {
  bindService,
  deviceplugin,
  lifecycle,
  listenUnix,
  RpcCode,
  RpcError,
  type ServiceBinding,
  type UnixServer,
} from '@devmgr/wire';
import type { EventReason, Logger, PluginHost, PluginReportSink } from '../ports.ts';
import type { PluginConnector } from './plugin-connector.ts';
import { checkRegistration } from './registration.ts';

/** Records something about the node; `type` and `reason` as in a v1 Event. */
export type RecordNodeEvent = (type: 'Normal' | 'Warning', reason: EventReason, message: string) => void;

export interface RegistrationServerOptions {
  /** Where to listen: `kubelet.sock` in the device plugin directory. */
  readonly socketPath: string;
  readonly devicePluginDir: string;
  readonly connector: PluginConnector;
  readonly host: PluginHost;
  readonly log: Logger;
  readonly events: RecordNodeEvent;
  readonly reports?: PluginReportSink | undefined;
  /** The server stopped serving by itself. */
  readonly onFailure: (error: Error) => void;
}

/** gRPC's default, as the kubelet has it; a request is a hundred bytes. */
const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** Valid names and ordinary texts are shorter; what a confused client sends must not fill log and events. */
const SHOWN_CHARACTERS = 1_000;

/**
 * Serves Registration: validates, dials back and reads the plugin's options, and only then answers; it never waits for a
 * list of devices. Every refusal has status UNKNOWN and the kubelet's text, which is what plugins and people look for.
 * (kubelet: device plugin server, Register)
 */
export function listenForRegistrations(options: RegistrationServerOptions): Promise<UnixServer> {
  const { connector, host, log } = options;

  const register = async (
    request: deviceplugin.RegisterRequest,
    context: { readonly signal: AbortSignal },
  ): Promise<deviceplugin.Empty> => {
    const resource = request.resourceName;
    const shown = { resource: shorten(resource), endpoint: shorten(request.endpoint) };
    log.info(shown, 'Got registration request from device plugin with resource');
    host.registrationRequested(checkResourceName(resource).ok ? resource : 'invalid');
    try {
      const checked = checkRegistration(request, options.devicePluginDir);
      if (!checked.ok) throw new Error(checked.message);
      await connector.connect({ resource, socketPath: checked.socketPath, origin: 'register', signal: context.signal });
      return {};
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.warn({ ...shown, err: shorten(message) }, 'Bad registration request from device plugin');
      options.events('Warning', 'PluginRefused', shorten(`${shown.resource} at ${shown.endpoint}: ${message}`));
      // A plain error is what Go's handlers return: status UNKNOWN with the text.
      throw new Error(message, { cause: error });
    }
  };

  const services = [bindService(deviceplugin.RegistrationService, { register })];
  if (options.reports !== undefined) services.push(reportService(options.reports));
  return listenUnix({
    path: options.socketPath,
    maxReceiveBytes: MAX_REQUEST_BYTES,
    services,
    onFailure: options.onFailure,
  });
}

function reportService(reports: PluginReportSink): ServiceBinding {
  return bindService(lifecycle.PluginReportsService, {
    report: (request) => {
      const refusal = reports.report(request);
      if (refusal !== undefined) throw new RpcError(RpcCode.InvalidArgument, refusal);
      return {};
    },
  });
}

function shorten(text: string): string {
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS)}…`;
}
