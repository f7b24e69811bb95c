import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { DevmgrError, type Status } from '@devmgr/core';
import type { ApiContext, Route } from './context.ts';
import { clusterRoutes } from './routes/cluster-routes.ts';
import { daemonRoutes } from './routes/daemon-routes.ts';
import { explainRoutes } from './routes/explain-routes.ts';
import { inventoryRoutes } from './routes/inventory-routes.ts';
import { leaseRoutes } from './routes/lease-routes.ts';
import { podRoutes } from './routes/pod-routes.ts';
import { HTTP_FAILURES, HttpError, statusOf } from './status-map.ts';

/** Every path the API knows. */
export function apiRoutes(context: ApiContext): readonly Route[] {
  return [
    ...podRoutes(context),
    ...clusterRoutes(context),
    ...inventoryRoutes(context),
    ...explainRoutes(context),
    ...leaseRoutes(context),
    ...daemonRoutes(context),
  ];
}

/** The API as one function from request to response; whatever a handler throws becomes a Status object. */
export function createApp(context: ApiContext): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  const routes = apiRoutes(context);
  for (const { path, handlers } of routes) {
    for (const [method, handler] of Object.entries(handlers)) app.on(method, path, handler);
    const allowed = Object.keys(handlers).join(', ');
    app.all(path, (request) =>
      statusResponse(
        new HttpError(HTTP_FAILURES.methodNotAllowed, `${request.req.method} is not possible here, only ${allowed}`),
        { allow: allowed },
      ),
    );
  }
  // As the API server does at its root: what there is.
  app.get('/', (request) => request.json({ paths: routes.map(({ path }) => path) }));
  app.notFound((request) =>
    statusResponse(
      new DevmgrError('NOT_FOUND', `the API has no path ${request.req.path}`, {
        remedy: 'docs/api.md lists the paths.',
      }),
    ),
  );
  app.onError((error, request) => {
    const answer = statusOf(error);
    if (answer.code >= 500) {
      context.log.error({ err: error, method: request.req.method, path: request.req.path }, 'A request failed');
    }
    return statusResponse(error);
  });
  return app;
}

/** A response whose body is the Status object of `error`. Never throws. */
export function statusResponse(error: unknown, headers: Record<string, string> = {}): Response {
  const answer: Status = statusOf(error);
  return new Response(`${JSON.stringify(answer)}\n`, {
    status: answer.code,
    headers: { 'content-type': 'application/json', ...headers },
  });
}
