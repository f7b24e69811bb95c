import type { ObjectList, ObjectMeta } from '@devmgr/core';
import type { WatchListener } from '../ports.ts';
import type { ApiContext, ApiRequest } from './context.ts';
import { booleanQuery } from './request-params.ts';
import { parseFieldSelector, parseLabelSelector, type SelectableFields } from './selectors.ts';
import { serveWatch } from './watch-stream.ts';

/** How one kind of object is listed and watched. */
export interface ObjectCollection<T> {
  /** Kind of the list, e.g. `PodList`. */
  readonly listKind: string;
  readonly list: (namespace: string | undefined) => readonly T[];
  readonly watch: (listener: WatchListener<T>) => () => void;
  readonly fields: SelectableFields<T>;
}

/** Fields every kind can be selected by. */
export const METADATA_FIELDS: SelectableFields<{ readonly metadata: ObjectMeta }> = {
  'metadata.name': ({ metadata }) => metadata.name,
  'metadata.namespace': ({ metadata }) => metadata.namespace ?? '',
};

/** Answers a list or, with `?watch=true`, a watch, both narrowed by the selectors and the namespace of the path. */
export function serveCollection<T extends { readonly metadata: ObjectMeta }>(
  request: ApiRequest,
  context: ApiContext,
  collection: ObjectCollection<T>,
): Response {
  const namespace = request.req.param('namespace');
  const byFields = parseFieldSelector(request.req.query('fieldSelector') ?? '', collection.fields);
  const byLabels = parseLabelSelector(request.req.query('labelSelector') ?? '');
  const selects = (object: T): boolean =>
    (namespace === undefined || object.metadata.namespace === namespace) && byFields(object) && byLabels(object);
  const list = (): readonly T[] => collection.list(namespace);
  if (booleanQuery(request, 'watch')) {
    return serveWatch(request, context, { list, watch: collection.watch, selects });
  }
  const answer: ObjectList<T> = {
    apiVersion: 'v1',
    kind: collection.listKind,
    metadata: { resourceVersion: context.versions.current() },
    items: list().filter(selects),
  };
  return request.json(answer);
}
