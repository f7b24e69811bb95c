import { DevmgrError } from '@devmgr/core';
import type { LeaseMessage, LeaseRequest } from '../../ports.ts';
import type { ApiContext, ApiRequest, Route } from '../context.ts';
import { readDocument } from '../request-body.ts';
import { asMap, pathParam, wholeNumberField, wholeNumberQuery } from '../request-params.ts';
import { serveSource } from '../source-stream.ts';
import { statusOf } from '../status-map.ts';

/** Leases: devices for a process that is not the daemon's child. */
export function leaseRoutes(context: ApiContext): readonly Route[] {
  return [
    { path: '/devmgr/v1/leases', handlers: { POST: (request) => acquireLease(request, context) } },
    {
      path: '/devmgr/v1/leases/:uid',
      handlers: {
        DELETE: async (request) => {
          await context.leases.end(pathParam(request, 'uid'), wholeNumberQuery(request, 'exitCode', -1));
          return request.json({});
        },
      },
    },
    {
      path: '/devmgr/v1/leases/:uid/process',
      handlers: {
        PUT: async (request) => {
          const body = asMap(await readDocument(request.env.incoming, context.limits.maxBodyBytes));
          const pid = wholeNumberField(body, 'pid', 1);
          const startTime = wholeNumberField(body, 'startTime', 0);
          if (pid === undefined || startTime === undefined) {
            throw new DevmgrError('BAD_REQUEST', 'a process needs pid and startTime');
          }
          await context.leases.attach(pathParam(request, 'uid'), { pid, startTime });
          return request.json({});
        },
      },
    },
  ];
}

/** A client that leaves before it has read `granted` and the end of the stream gets nothing, and nothing stays held. */
async function acquireLease(request: ApiRequest, context: ApiContext): Promise<Response> {
  const lease = parseLeaseRequest(asMap(await readDocument(request.env.incoming, context.limits.maxBodyBytes)));
  let granted: string | undefined;
  return await serveSource<LeaseMessage>(request, context, {
    contentType: 'application/json; stream=lease',
    open: (signal) => context.leases.acquire(lease, signal),
    encode: (message) => {
      if (message.type === 'granted') granted = message.uid;
      return `${JSON.stringify(message)}\n`;
    },
    encodeError: (error) => `${JSON.stringify(statusOf(error))}\n`,
    onEnd: (delivered) => {
      if (delivered || granted === undefined) return;
      context.leases.end(granted, undefined).catch((error: unknown) => {
        context.log.warn({ err: error, uid: granted }, 'Could not end a lease whose client went away');
      });
    },
  });
}

function parseLeaseRequest(body: Record<string, unknown>): LeaseRequest {
  const limits = asMap(body['limits']);
  const command: unknown = body['command'] ?? [];
  if (!Array.isArray(command) || !command.every((word): word is string => typeof word === 'string')) {
    throw new DevmgrError('BAD_REQUEST', 'command: must be a list of strings');
  }
  const name = optionalString(body, 'name');
  const namespace = optionalString(body, 'namespace');
  return {
    limits: Object.fromEntries(
      Object.keys(limits).map((resource) => [resource, wholeNumberField(limits, resource) ?? 0]),
    ),
    command,
    waitForDevicesMs: wholeNumberField(body, 'waitForDevicesMs') ?? 0,
    ...(name === undefined ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

function optionalString(body: Record<string, unknown>, field: string): string | undefined {
  const value = body[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new DevmgrError('BAD_REQUEST', `${field}: must be a string`);
  return value;
}
