import type { ApiContext, ApiRequest, Route } from '../context.ts';
import { serveListWatch } from '../list-stream.ts';
import { booleanQuery, pathParam } from '../request-params.ts';

/** What Kubernetes has no shape for: resources, devices, plugins and releases, each `{"items": […]}`. */
export function inventoryRoutes(context: ApiContext): readonly Route[] {
  const { inventory } = context;
  const serve = (request: ApiRequest, list: () => readonly unknown[]): Response => {
    if (!booleanQuery(request, 'watch')) return request.json({ items: list() });
    const render = (): string => JSON.stringify({ items: list() });
    return serveListWatch(request, context, render, (listener) => inventory.onChange(listener));
  };
  return [
    {
      path: '/devmgr/v1/resources',
      handlers: { GET: (request) => serve(request, () => inventory.resources()) },
    },
    {
      path: '/devmgr/v1/devices',
      handlers: {
        GET: (request) => {
          const resource = request.req.query('resource');
          return serve(request, () => inventory.devices(resource));
        },
      },
    },
    {
      path: '/devmgr/v1/plugins',
      handlers: { GET: (request) => serve(request, () => inventory.plugins()) },
    },
    {
      path: '/devmgr/v1/releases',
      handlers: { GET: (request) => serve(request, () => inventory.releases()) },
    },
    {
      path: '/devmgr/v1/releases/:name',
      handlers: {
        DELETE: async (request) => {
          await inventory.forgetRelease(pathParam(request, 'name'));
          return request.json({});
        },
      },
    },
  ];
}
