import { arch, platform } from 'node:os';
import type { ApiContext, ApiRequest, Route } from '../context.ts';

/** About the daemon itself: version, health and metrics. */
export function daemonRoutes(context: ApiContext): readonly Route[] {
  const startedAt = new Date(context.clock.now()).toISOString();
  const health = (path: 'healthz' | 'livez' | 'readyz') => (request: ApiRequest) => {
    const { ok, text } = context.health.report(path, request.req.query('verbose') !== undefined);
    return request.text(text, ok ? 200 : 500, { 'cache-control': 'no-cache' });
  };
  return [
    {
      path: '/devmgr/v1/version',
      handlers: {
        GET: (request) =>
          request.json({
            version: context.version,
            nodeVersion: process.version,
            platform: `${platform()}/${arch()}`,
            pid: process.pid,
            startedAt,
          }),
      },
    },
    { path: '/healthz', handlers: { GET: health('healthz') } },
    { path: '/livez', handlers: { GET: health('livez') } },
    { path: '/readyz', handlers: { GET: health('readyz') } },
    {
      path: '/metrics',
      handlers: {
        GET: async (request) =>
          request.body(await context.metrics.render(), 200, { 'content-type': context.metrics.contentType }),
      },
    },
  ];
}
