/** Kubelets before 1.26 and the plugin watcher dial a plugin under names that a bare Node server refuses. */
import { mkdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { servePlugin } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  RawPeer,
  frame,
  grpcHeaders,
  grpcMessage,
  literals,
} from '../../wire/test/support/http2-bytes.ts';
import { closing, temporaryDir } from './helpers.ts';

const SOCKET = '/var/lib/kubelet/plugins_registry/gpu.sock';

test.each([
  ['a raw path', SOCKET],
  ['a percent-encoded path', SOCKET.replaceAll('/', '%2F')],
  ['an empty string', ''],
  ['nothing', undefined],
])('a manager whose :authority is %s is answered, by every service of the plugin', async (_style, authority) => {
  const root = await temporaryDir();
  await mkdir(`${root}/plugins_registry`);
  const plugin = closing(
    servePlugin({
      resource: 'example.com/gpu',
      devices: ['a'],
      pluginDir: `${root}/plugins_registry`,
      registration: 'registry',
      lifecycle: { released: () => undefined, stateDir: `${root}/state` },
    }),
  );
  const peer = await until('the socket', () => RawPeer.connect(plugin.socketPath).catch(() => undefined));
  closing({
    close: () => {
      peer.close();
    },
  });
  peer.greet();
  const methods = [
    '/pluginregistration.Registration/GetInfo',
    '/v1beta1.DevicePlugin/GetDevicePluginOptions',
    '/v1beta1.DevicePlugin/ListAndWatch',
    '/devmgr.lifecycle.v1.DeviceLifecycle/Released',
  ];
  for (const [index, method] of methods.entries()) {
    const stream = 2 * index + 1;
    peer.send(
      Buffer.concat([
        frame(HEADERS, END_HEADERS, stream, literals(grpcHeaders(method, authority))),
        frame(DATA, END_STREAM, stream, grpcMessage(Buffer.alloc(0))),
      ]),
    );
    await until(method, () => peer.frames.some((one) => one.stream === stream));
    expect(peer.outcome(stream), method).not.toBe('reset');
    expect(
      peer.frames.some((one) => one.stream === stream && one.type === HEADERS),
      method,
    ).toBe(true);
  }
});
