import { DevmgrError, parseResourceLimits } from '@devmgr/core';
import type { ApiContext, Route } from '../context.ts';

/** Why a pod got its devices or not (`?pod=NAMESPACE/NAME`), or what would come of a wish (`?limits=RESOURCE=NUMBER`). */
export function explainRoutes({ explain }: ApiContext): readonly Route[] {
  return [
    {
      path: '/devmgr/v1/explain',
      handlers: {
        GET: (request) => {
          const pod = request.req.query('pod');
          const limits = request.req.queries('limits') ?? [];
          if ((pod === undefined) === (limits.length === 0)) {
            throw new DevmgrError('BAD_REQUEST', 'explain needs either the query parameter pod or limits');
          }
          return request.json(pod === undefined ? explain.explainLimits(limitsOf(limits)) : explainPod(pod));
        },
      },
    },
  ];

  function explainPod(pod: string): unknown {
    const [namespace, name, ...rest] = pod.split('/');
    if (!namespace || !name || rest.length > 0) {
      throw new DevmgrError('BAD_REQUEST', `query parameter pod: "${pod}" is not NAMESPACE/NAME`);
    }
    return explain.explainPod(namespace, name);
  }
}

function limitsOf(texts: readonly string[]): Readonly<Record<string, number>> {
  const parsed = parseResourceLimits(texts);
  if (parsed.ok) return parsed.limits;
  throw new DevmgrError('BAD_REQUEST', `query parameter limits: ${parsed.message}`);
}
