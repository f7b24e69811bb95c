import { DevmgrError, isDnsLabel, type Pod } from '@devmgr/core';
import type { ApiContext, ApiRequest, Route } from '../context.ts';
import { METADATA_FIELDS, serveCollection, type ObjectCollection } from '../object-lists.ts';
import { readDocument } from '../request-body.ts';
import { asMap, booleanQuery, pathParam, wholeNumberField, wholeNumberQuery } from '../request-params.ts';
import type { SelectableFields } from '../selectors.ts';
import { serveSource } from '../source-stream.ts';

/** Response header of an apply: `created`, `unchanged` or `configured`. */
export const OUTCOME_HEADER = 'devmgr-outcome';

const POD_FIELDS: SelectableFields<Pod> = {
  ...METADATA_FIELDS,
  'status.phase': ({ status }) => status?.phase ?? 'Pending',
  'spec.nodeName': ({ spec }) => spec.nodeName ?? '',
};

/** Pods at Kubernetes' paths. */
export function podRoutes(context: ApiContext): readonly Route[] {
  const { pods } = context;
  const collection: ObjectCollection<Pod> = {
    listKind: 'PodList',
    list: (namespace) => pods.list(namespace),
    watch: (listener) => pods.watch(listener),
    fields: POD_FIELDS,
  };
  return [
    { path: '/api/v1/pods', handlers: { GET: (request) => serveCollection(request, context, collection) } },
    {
      path: '/api/v1/namespaces/:namespace/pods',
      handlers: {
        GET: (request) => serveCollection(request, context, collection),
        POST: (request) => createPod(request, context),
      },
    },
    {
      path: '/api/v1/namespaces/:namespace/pods/:name',
      handlers: {
        GET: (request) => request.json(existingPod(request, context)),
        PUT: (request) => applyPod(request, context),
        DELETE: (request) => deletePod(request, context),
      },
    },
    {
      path: '/api/v1/namespaces/:namespace/pods/:name/log',
      handlers: { GET: (request) => podLog(request, context) },
    },
  ];
}

async function createPod(request: ApiRequest, context: ApiContext): Promise<Response> {
  const namespace = namespaceForWriting(request);
  const manifest = await readManifest(request, context);
  return request.json(await context.pods.create(namespace, manifest), 201);
}

async function applyPod(request: ApiRequest, context: ApiContext): Promise<Response> {
  const namespace = namespaceForWriting(request);
  const manifest = await readManifest(request, context);
  const { pod, outcome } = await context.pods.apply(namespace, manifest);
  return request.json(pod, outcome === 'created' ? 201 : 200, { [OUTCOME_HEADER]: outcome });
}

async function deletePod(request: ApiRequest, context: ApiContext): Promise<Response> {
  const options = asMap(await readDocument(request.env.incoming, context.limits.maxBodyBytes));
  refuseDryRun(request, options);
  const gracePeriodSeconds =
    wholeNumberQuery(request, 'gracePeriodSeconds') ?? wholeNumberField(options, 'gracePeriodSeconds');
  const pod = await context.pods.remove(
    pathParam(request, 'namespace'),
    pathParam(request, 'name'),
    gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds },
  );
  return request.json(pod);
}

async function podLog(request: ApiRequest, context: ApiContext): Promise<Response> {
  const container = request.req.query('container');
  const tailLines = wholeNumberQuery(request, 'tailLines');
  const follow = booleanQuery(request, 'follow');
  const previous = booleanQuery(request, 'previous');
  const { namespace = '', name } = existingPod(request, context).metadata;
  return await serveSource(request, context, {
    contentType: 'text/plain; charset=utf-8',
    open: (signal) =>
      context.pods.logs(namespace, name, {
        follow,
        previous,
        signal,
        ...(container === undefined ? {} : { container }),
        ...(tailLines === undefined ? {} : { tailLines }),
      }),
    encode: (chunk) => chunk,
  });
}

function existingPod(request: ApiRequest, context: ApiContext): Pod {
  const namespace = pathParam(request, 'namespace');
  const name = pathParam(request, 'name');
  const pod = context.pods.get(namespace, name);
  if (!pod) throw new DevmgrError('NOT_FOUND', `pod "${name}" not found in namespace "${namespace}"`);
  return pod;
}

function namespaceForWriting(request: ApiRequest): string {
  refuseDryRun(request, {});
  const namespace = pathParam(request, 'namespace');
  if (!isDnsLabel(namespace)) {
    throw new DevmgrError('BAD_REQUEST', `namespace "${namespace}": must be a DNS label in lower case`);
  }
  return namespace;
}

/** The manifest of the body; what its metadata says may not contradict the path. */
async function readManifest(request: ApiRequest, context: ApiContext): Promise<unknown> {
  const manifest = await readDocument(request.env.incoming, context.limits.maxBodyBytes);
  if (manifest === undefined || manifest === null) {
    throw new DevmgrError('BAD_REQUEST', 'the request body is empty: send a v1 Pod as JSON or YAML');
  }
  const metadata: unknown = typeof manifest === 'object' && 'metadata' in manifest ? manifest.metadata : undefined;
  if (typeof metadata !== 'object' || metadata === null) return manifest;
  const expected = { namespace: request.req.param('namespace'), name: request.req.param('name') };
  for (const field of ['namespace', 'name'] as const) {
    const value = (metadata as Record<string, unknown>)[field];
    if (typeof value === 'string' && value !== '' && expected[field] !== undefined && value !== expected[field]) {
      throw new DevmgrError(
        'BAD_REQUEST',
        `metadata.${field}: "${value}" does not match "${expected[field]}" of the request's path`,
      );
    }
  }
  return manifest;
}

/** Carrying out what was only to be tried would be worse than an error. */
function refuseDryRun(request: ApiRequest, options: Record<string, unknown>): void {
  const inBody = options['dryRun'];
  if (request.req.query('dryRun') !== undefined || (Array.isArray(inBody) && inBody.length > 0)) {
    throw new DevmgrError('BAD_REQUEST', 'dryRun is not supported');
  }
}
