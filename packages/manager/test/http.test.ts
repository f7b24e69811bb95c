import { describe, expect, it } from 'vitest';
import type { Status } from '@devmgr/core';
import { call, podManifest, resourceView, startTestApi } from './http-support.ts';

const PODS = '/api/v1/namespaces/default/pods';

function json(value: unknown): { body: string; headers: Record<string, string> } {
  return { body: JSON.stringify(value), headers: { 'content-type': 'application/json' } };
}

describe('pods', () => {
  it('are created, listed, read and deleted at the paths of Kubernetes', async () => {
    const { socketPath, pods } = await startTestApi();
    const created = await call(socketPath, 'POST', PODS, json(podManifest('a')));
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ kind: 'Pod', metadata: { name: 'a', namespace: 'default' } });

    expect((await call(socketPath, 'GET', `${PODS}/a`)).body).toEqual(created.body);
    expect((await call(socketPath, 'GET', PODS)).body).toMatchObject({
      apiVersion: 'v1',
      kind: 'PodList',
      metadata: { resourceVersion: expect.any(String) as string },
      items: [{ metadata: { name: 'a' } }],
    });
    expect((await call(socketPath, 'GET', '/api/v1/namespaces/other/pods')).body).toMatchObject({ items: [] });
    expect((await call(socketPath, 'GET', '/api/v1/pods')).body).toMatchObject({
      items: [{ metadata: { name: 'a' } }],
    });

    const deleted = await call(socketPath, 'DELETE', `${PODS}/a`, json({ gracePeriodSeconds: 7 }));
    expect(deleted.body).toMatchObject({ metadata: { deletionTimestamp: expect.any(String) as string } });
    expect(pods.removedWith).toEqual({ gracePeriodSeconds: 7 });
    expect((await call(socketPath, 'GET', `${PODS}/a`)).status).toBe(404);
  });

  it('take the grace period from the query before the body', async () => {
    const { socketPath, pods } = await startTestApi();
    await pods.create('default', podManifest('a'));
    await call(socketPath, 'DELETE', `${PODS}/a?gracePeriodSeconds=0`, json({ gracePeriodSeconds: 7 }));
    expect(pods.removedWith).toEqual({ gracePeriodSeconds: 0 });
  });

  it('are applied with PUT, which says what it did', async () => {
    const { socketPath } = await startTestApi();
    const first = await call(socketPath, 'PUT', `${PODS}/a`, json(podManifest('a')));
    const second = await call(socketPath, 'PUT', `${PODS}/a`, json(podManifest('a')));
    expect([first.status, first.headers['devmgr-outcome']]).toEqual([201, 'created']);
    expect([second.status, second.headers['devmgr-outcome']]).toEqual([200, 'unchanged']);
  });

  it('are read as YAML and JSON, whatever the content type says', async () => {
    const { socketPath } = await startTestApi();
    const yaml = '# a pod\napiVersion: v1\nkind: Pod\nmetadata: {name: y}\nspec: {containers: [{name: main}]}\n';
    const types = [undefined, 'application/yaml', 'application/x-www-form-urlencoded', 'text/plain'];
    for (const [index, type] of types.entries()) {
      const answer = await call(socketPath, 'POST', PODS, {
        body: yaml.replace('name: y', `name: y${String(index)}`),
        headers: type === undefined ? {} : { 'content-type': type },
      });
      expect(answer.status, String(type)).toBe(201);
    }
    const flow = await call(socketPath, 'POST', PODS, { body: '{apiVersion: v1, kind: Pod, metadata: {name: flow}}' });
    expect(flow.status).toBe(201);
  });

  it('are narrowed by field and label selectors', async () => {
    const { socketPath, pods } = await startTestApi();
    await pods.create('default', podManifest('a', { labels: { app: 'x', tier: 'one' } }));
    await pods.create('default', podManifest('b', { labels: { app: 'y' } }));
    const names = async (query: string): Promise<string[]> => {
      const { body } = await call(socketPath, 'GET', `${PODS}?${query}`);
      return (body as { items: { metadata: { name: string } }[] }).items.map(({ metadata }) => metadata.name);
    };
    expect(await names('fieldSelector=metadata.name%3Da')).toEqual(['a']);
    expect(await names('fieldSelector=metadata.name!%3Da')).toEqual(['b']);
    expect(await names('fieldSelector=status.phase%3D%3DPending,metadata.name%3Db')).toEqual(['b']);
    expect(await names('labelSelector=app%3Dx')).toEqual(['a']);
    expect(await names('labelSelector=tier')).toEqual(['a']);
    expect(await names('labelSelector=!tier')).toEqual(['b']);
    expect(await names('labelSelector=tier!%3Done')).toEqual(['b']);
    expect(await names('labelSelector=constructor')).toEqual([]);
    for (const bad of ['fieldSelector=spec.foo%3Da', 'fieldSelector=toString%3Da', 'labelSelector=a%20in%20(b)']) {
      expect((await call(socketPath, 'GET', `${PODS}?${bad}`)).status, bad).toBe(400);
    }
  });

  it('show the log of a container', async () => {
    const { socketPath, pods } = await startTestApi();
    await pods.create('default', podManifest('a'));
    let asked: unknown;
    pods.log = async function* ({ container, follow, previous, tailLines }) {
      asked = { container, follow, previous, tailLines };
      yield Buffer.from('one\n');
      yield Buffer.from([0xff, 0x00, 0x0a]);
    };
    const answer = await call(socketPath, 'GET', `${PODS}/a/log?container=c&follow=true&previous=1&tailLines=3`);
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toContain('text/plain');
    expect(answer.text.startsWith('one\n')).toBe(true);
    expect(asked).toEqual({ container: 'c', follow: true, previous: true, tailLines: 3 });
    expect((await call(socketPath, 'HEAD', `${PODS}/a/log?follow=true`)).status).toBe(200);
    expect((await call(socketPath, 'GET', `${PODS}/b/log`)).status).toBe(404);
  });
});

describe('what a client does wrong', () => {
  it.each([
    ['JSON that ends early', 'POST', PODS, { body: '{"kind":', headers: { 'content-type': 'application/json' } }, 400],
    ['YAML that is none', 'POST', PODS, { body: 'a: [1\nb: }' }, 400],
    ['several YAML documents', 'POST', PODS, { body: 'a: 1\n---\nb: 2\n' }, 400],
    ['no body', 'POST', PODS, {}, 400],
    ['a YAML comment alone', 'POST', PODS, { body: '# nothing' }, 400],
    ['a manifest that is none', 'POST', PODS, { body: '[1,2]' }, 422],
    ['another name than the path', 'PUT', `${PODS}/a`, json(podManifest('b')), 400],
    ['another namespace than the path', 'POST', PODS, json(podManifest('b', { namespace: 'x' })), 400],
    ['a namespace that is a path', 'POST', '/api/v1/namespaces/..%2F..%2Fetc/pods', json(podManifest('b')), 400],
    ['a dry run', 'POST', `${PODS}?dryRun=All`, json(podManifest('b')), 400],
    ['a dry deletion', 'DELETE', `${PODS}/b`, json({ dryRun: ['All'] }), 400],
    ['a grace period in words', 'DELETE', `${PODS}/b?gracePeriodSeconds=long`, {}, 400],
    ['a negative grace period', 'DELETE', `${PODS}/b`, json({ gracePeriodSeconds: -1 }), 400],
    ['watch=maybe', 'GET', `${PODS}?watch=maybe`, {}, 400],
    [
      'protobuf',
      'POST',
      PODS,
      { body: 'k8s', headers: { 'content-type': 'application/vnd.kubernetes.protobuf' } },
      415,
    ],
    ['an unknown path', 'GET', '/apis/apps/v1/deployments', {}, 404],
    ['an unknown pod', 'DELETE', `${PODS}/b`, {}, 404],
    ['an unknown node', 'GET', '/api/v1/nodes/elsewhere', {}, 404],
    ['an escape that is none', 'GET', `${PODS}/%zz`, {}, 404],
    ['a method that is not possible', 'PATCH', `${PODS}/b`, {}, 405],
    ['OPTIONS', 'OPTIONS', PODS, {}, 405],
    ['too deep nesting', 'POST', PODS, { body: `${'['.repeat(5_000)}${']'.repeat(5_000)}` }, 400],
    ['nesting that ends the YAML parser', 'POST', PODS, { body: 'a: [{'.repeat(20_000) }, 400],
    ['aliases that expand', 'POST', PODS, { body: bomb() }, 400],
  ])('%s is answered with a Status', async (_what, method, path, options, status) => {
    const { socketPath } = await startTestApi();
    const answer = await call(socketPath, method, path, options);
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.body).toMatchObject({ apiVersion: 'v1', kind: 'Status', status: 'Failure', code: status });
    expect((answer.body as Status).message).not.toBe('');
    expect((await call(socketPath, 'GET', '/healthz')).text).toBe('ok');
  });

  it('an object that exists is a conflict that names its code and remedy', async () => {
    const { socketPath, pods } = await startTestApi();
    await pods.create('default', podManifest('a'));
    const answer = await call(socketPath, 'POST', PODS, json(podManifest('a')));
    expect(answer.body).toEqual({
      apiVersion: 'v1',
      kind: 'Status',
      status: 'Failure',
      message: 'pods "a" already exists',
      reason: 'AlreadyExists',
      code: 409,
      details: { code: 'ALREADY_EXISTS', remedy: 'Choose another name, or delete the existing object first.' },
    });
  });

  it('a failure nobody foresaw is an InternalError, and logged', async () => {
    const { socketPath, pods, log } = await startTestApi();
    pods.create = () => Promise.reject(new TypeError('x is not a function'));
    const answer = await call(socketPath, 'POST', PODS, json(podManifest('a')));
    expect(answer.body).toMatchObject({ reason: 'InternalError', code: 500, details: { code: 'INTERNAL' } });
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });

  it('a body over the limit is refused, announced or not', async () => {
    const { socketPath } = await startTestApi({ limits: { maxBodyBytes: 1_000 } });
    const body = 'a'.repeat(200_000);
    const announced = await call(socketPath, 'POST', PODS, { body });
    const chunked = await call(socketPath, 'POST', PODS, { body, headers: { 'transfer-encoding': 'chunked' } });
    for (const answer of [announced, chunked]) {
      expect(answer.body).toMatchObject({ reason: 'RequestEntityTooLarge', code: 413 });
    }
    const fits = JSON.stringify(podManifest('a')).padEnd(1_000);
    expect((await call(socketPath, 'POST', PODS, { body: fits })).status).toBe(201);
  });

  it('a method that is not possible names those that are', async () => {
    const { socketPath } = await startTestApi();
    expect((await call(socketPath, 'POST', `${PODS}/a`)).headers['allow']).toBe('GET, PUT, DELETE');
  });
});

describe('the rest of the API', () => {
  it('shows the node', async () => {
    const { socketPath } = await startTestApi();
    expect((await call(socketPath, 'GET', '/api/v1/nodes')).body).toMatchObject({
      kind: 'NodeList',
      items: [{ metadata: { name: 'here' } }],
    });
    expect((await call(socketPath, 'GET', '/api/v1/nodes/here')).body).toMatchObject({ kind: 'Node' });
  });

  it('shows events, by namespace and object', async () => {
    const { socketPath, events } = await startTestApi();
    events.record({ kind: 'Pod', name: 'a', namespace: 'x' }, 'Normal', 'Started', 'started');
    events.record({ kind: 'Node', name: 'here' }, 'Warning', 'PluginDisconnected', 'gone');
    const reasons = async (path: string): Promise<unknown[]> => {
      const { body } = await call(socketPath, 'GET', path);
      return (body as { items: { reason: string }[] }).items.map(({ reason }) => reason);
    };
    expect(await reasons('/api/v1/events')).toEqual(['Started', 'PluginDisconnected']);
    expect(await reasons('/api/v1/namespaces/x/events')).toEqual(['Started']);
    expect(await reasons('/api/v1/events?fieldSelector=involvedObject.name%3Dhere')).toEqual(['PluginDisconnected']);
  });

  it('shows resources, devices and plugins', async () => {
    const { socketPath, inventory } = await startTestApi();
    inventory.setResources(resourceView('example.com/gpu', 2));
    inventory.deviceList = ['example.com/gpu', 'example.com/nic'].map((resource) => ({
      resource,
      id: 'd0',
      health: 'Healthy',
      numaNodes: [],
      state: 'Free',
      pod: null,
      container: null,
      since: '2026-01-01T00:00:00Z',
    }));
    expect((await call(socketPath, 'GET', '/devmgr/v1/resources')).body).toEqual({ items: inventory.resourceList });
    expect((await call(socketPath, 'GET', '/devmgr/v1/devices')).body).toEqual({ items: inventory.deviceList });
    expect((await call(socketPath, 'GET', '/devmgr/v1/devices?resource=example.com/nic')).body).toEqual({
      items: inventory.deviceList.slice(1),
    });
    expect((await call(socketPath, 'GET', '/devmgr/v1/plugins')).body).toEqual({ items: [] });
  });

  it('tells version, health and metrics', async () => {
    const { socketPath } = await startTestApi();
    expect((await call(socketPath, 'GET', '/devmgr/v1/version')).body).toMatchObject({
      version: '1.2.3',
      pid: process.pid,
    });
    for (const path of ['/healthz', '/livez', '/readyz']) expect((await call(socketPath, 'GET', path)).text).toBe('ok');
    expect((await call(socketPath, 'GET', '/readyz?verbose')).text).toBe('[+]ping ok\nreadyz check passed\n');
    const metrics = await call(socketPath, 'GET', '/metrics');
    expect(metrics.text).toBe('devmgr_test 1\n');
    expect(metrics.headers['content-type']).toContain('version=0.0.4');
    expect((await call(socketPath, 'GET', '/')).body).toMatchObject({
      paths: expect.arrayContaining(['/metrics']) as string[],
    });
  });
});

/** Nine levels of nine aliases each: 387 million items if it were followed. */
function bomb(): string {
  const lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x]'];
  for (let level = 1; level < 9; level += 1) {
    const aliases = Array.from({ length: 9 }, () => `*a${String(level - 1)}`).join(',');
    lines.push(`a${String(level)}: &a${String(level)} [${aliases}]`);
  }
  return lines.join('\n');
}
