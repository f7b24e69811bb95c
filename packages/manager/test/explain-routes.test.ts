import { createApiClient } from '@devmgr/manager';
import { expect, test } from 'vitest';
import { call, startTestApi } from './http-support.ts';

test('explains a pod or a wish, asked by the client', async () => {
  const { socketPath, explain } = await startTestApi();
  const client = createApiClient(socketPath);
  expect(await client.explainPod('team-a', 'web')).toMatchObject({ kind: 'Explanation' });
  expect(await client.explainLimits({ 'example.com/gpu': 2, 'a.b/c': 1 })).toMatchObject({ kind: 'Explanation' });
  expect(explain.asked).toEqual([
    { namespace: 'team-a', name: 'web' },
    { 'example.com/gpu': 2, 'a.b/c': 1 },
  ]);
});

test('limits may be repeated', async () => {
  const { socketPath, explain } = await startTestApi();
  const answer = await call(socketPath, 'GET', '/devmgr/v1/explain?limits=example.com/gpu=2&limits=a.b/c=1');
  expect(answer.status).toBe(200);
  expect(explain.asked).toEqual([{ 'example.com/gpu': 2, 'a.b/c': 1 }]);
});

test.each([
  ['', 'explain needs either the query parameter pod or limits'],
  ['?pod=a/b&limits=a.b/c=1', 'explain needs either the query parameter pod or limits'],
  ['?pod=web', 'query parameter pod: "web" is not NAMESPACE/NAME'],
  ['?pod=a/b/c', 'query parameter pod: "a/b/c" is not NAMESPACE/NAME'],
  ['?pod=', 'query parameter pod: "" is not NAMESPACE/NAME'],
  ['?limits=gpu', 'query parameter limits: "gpu" is not RESOURCE=NUMBER'],
  ['?limits=a.b/c=0', 'query parameter limits: "0" of a.b/c is not a whole number above zero'],
])('a question that is none is refused: %j', async (query, message) => {
  const { socketPath, explain } = await startTestApi();
  const answer = await call(socketPath, 'GET', `/devmgr/v1/explain${query}`);
  expect(answer).toMatchObject({ status: 400, body: { kind: 'Status', reason: 'BadRequest', message } });
  expect(explain.asked).toEqual([]);
});
