import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { eventually } from './helpers/eventually.ts';
import { call, podManifest, rawConnection, startTestApi, type TestApi } from './http-support.ts';

const PODS = '/api/v1/namespaces/default/pods';

async function stillServes({ socketPath }: TestApi): Promise<void> {
  expect((await call(socketPath, 'GET', '/healthz')).text).toBe('ok');
}

describe('a client that misbehaves does not harm the manager', () => {
  it('bytes that are not HTTP are answered 400 and cut', async () => {
    const api = await startTestApi();
    const garbage = [
      '\0\0\0\0',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'GET\r\n\r\n',
      randomBytes(5_000),
      'GET / HTTP/9.9\r\n\r\n',
    ];
    for (const bytes of garbage) {
      const { socket, closed } = await rawConnection(api.socketPath);
      socket.write(bytes);
      await eventually('the end of the connection', closed);
    }
    const { socket, received, closed } = await rawConnection(api.socketPath);
    socket.write('no such thing\r\n\r\n');
    await eventually('the answer', closed);
    expect(received()).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(received()).toContain('"kind":"Status"');
    await stillServes(api);
  });

  it.each([
    ['an absolute target', 'GET http://other.example/healthz HTTP/1.1\r\nHost: x\r\n'],
    ['a target that is no path', 'GET foo HTTP/1.1\r\nHost: x\r\n'],
    ['an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: x\r\n'],
    ['CONNECT', 'CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n'],
    ['TRACE', 'TRACE / HTTP/1.1\r\nHost: x\r\n'],
    ['an upgrade', 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'],
    ['a Host that is none', 'GET /healthz HTTP/1.1\r\nHost: a b/c@d:99999\r\n'],
    ['no Host', 'GET /healthz HTTP/1.1\r\n'],
    ['two lengths', 'POST /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n'],
    ['long headers', `GET /healthz HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(100_000)}\r\n`],
    [
      'a path full of escapes',
      `GET /api/v1/namespaces/%00%ff%C0%80/pods/${'%2e%2e%2f'.repeat(50)} HTTP/1.1\r\nHost: x\r\n`,
    ],
    ['names of prototypes', 'GET /api/v1/namespaces/__proto__/pods/constructor HTTP/1.1\r\nHost: x\r\n'],
  ])('%s', async (_what, request) => {
    const api = await startTestApi();
    const { socket, closed } = await rawConnection(api.socketPath);
    socket.write(`${request}Connection: close\r\n\r\n`);
    socket.end();
    await eventually('the end of the connection', closed);
    await stillServes(api);
  });

  it('requests that stop half way and connections that are cut', async () => {
    const api = await startTestApi();
    const halves = [
      'POST ',
      `POST ${PODS} HTTP/1.1\r\nHost:`,
      `POST ${PODS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"kind":`,
      `POST ${PODS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"kin`,
      `GET ${PODS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n`,
      `POST /devmgr/v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"limits":{}}`,
      `GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(200),
    ];
    for (const half of halves) {
      for (const cut of ['destroy', 'resetAndDestroy', 'end'] as const) {
        const { socket, closed } = await rawConnection(api.socketPath);
        socket.write(half);
        await new Promise((resolve) => setImmediate(resolve));
        if (cut === 'end') socket.end();
        else socket.destroy();
        if (cut === 'end') socket.destroySoon();
        await eventually('the end of the connection', closed);
      }
    }
    await eventually('no watch is left', () => api.pods.watchers.listeners.size === 0);
    expect(api.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
    await stillServes(api);
  });

  it('a service that throws, rejects or hangs does not stop the others', async () => {
    const api = await startTestApi();
    api.pods.list = () => {
      throw new Error('broken');
    };
    api.leases.attach = () => new Promise(() => undefined);
    expect((await call(api.socketPath, 'GET', PODS)).status).toBe(500);
    expect((await call(api.socketPath, 'GET', `${PODS}?watch=true`)).status).toBe(500);
    const hanging = call(api.socketPath, 'PUT', '/devmgr/v1/leases/u/process', { body: '{"pid":1,"startTime":2}' });
    hanging.catch(() => undefined);
    await stillServes(api);
    await api.api.close();
    await expect(hanging).rejects.toThrow();
  });

  it('many at once are all answered', async () => {
    const api = await startTestApi();
    await api.pods.create('default', podManifest('a'));
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => call(api.socketPath, 'GET', index % 2 === 0 ? PODS : '/nothing')),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 404]));
  });
});
