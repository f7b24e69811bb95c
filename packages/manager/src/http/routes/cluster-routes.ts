import { DevmgrError, type Event, type Node } from '@devmgr/core';
import type { ApiContext, Route } from '../context.ts';
import { METADATA_FIELDS, serveCollection, type ObjectCollection } from '../object-lists.ts';
import { pathParam } from '../request-params.ts';
import type { SelectableFields } from '../selectors.ts';

const EVENT_FIELDS: SelectableFields<Event> = {
  ...METADATA_FIELDS,
  'involvedObject.kind': (event) => event.involvedObject.kind,
  'involvedObject.name': (event) => event.involvedObject.name,
  'involvedObject.namespace': (event) => event.involvedObject.namespace ?? '',
  'involvedObject.uid': (event) => event.involvedObject.uid ?? '',
  reason: (event) => event.reason,
  type: (event) => event.type,
};

/** The node and the events, at Kubernetes' paths. */
export function clusterRoutes(context: ApiContext): readonly Route[] {
  const { node, events } = context;
  const nodes: ObjectCollection<Node> = {
    listKind: 'NodeList',
    list: () => [node.get()],
    watch: (listener) => node.watch(listener),
    fields: METADATA_FIELDS,
  };
  const eventCollection: ObjectCollection<Event> = {
    listKind: 'EventList',
    list: (namespace) => events.list(namespace),
    watch: (listener) => events.watch(listener),
    fields: EVENT_FIELDS,
  };
  return [
    { path: '/api/v1/nodes', handlers: { GET: (request) => serveCollection(request, context, nodes) } },
    {
      path: '/api/v1/nodes/:name',
      handlers: {
        GET: (request) => {
          const name = pathParam(request, 'name');
          const known = node.get();
          if (known.metadata.name !== name) {
            throw new DevmgrError('NOT_FOUND', `node "${name}" not found: this is "${known.metadata.name}"`);
          }
          return request.json(known);
        },
      },
    },
    { path: '/api/v1/events', handlers: { GET: (request) => serveCollection(request, context, eventCollection) } },
    {
      path: '/api/v1/namespaces/:namespace/events',
      handlers: { GET: (request) => serveCollection(request, context, eventCollection) },
    },
  ];
}
