import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join, relative } from 'node:path';
import { goQuote } from '@devmgr/core';
import { fail, hang, slow, type RegisterOverrides, type ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { RpcError } from '@devmgr/wire';
import { each } from '../checks/each.ts';
import { bad, good } from '../check.ts';
import { registerAs } from './raw-register.ts';
import type { ManagerBench } from './manager-bench.ts';
import type { ManagerCheck } from './run-manager-checks.ts';

/** A kubelet dials for 10 s; anything later is no answer to a plugin. */
const REFUSED_WITHIN_MS = 15_000;
/** A manager that answers at once, on a loaded machine. */
const AT_ONCE_MS = 5_000;
const SLOW_MS = 2_000;

const SOCKET = '/var/lib/kubelet/device-plugins/kubelet.sock';
/** Who sends what. (grpc-go before and since 1.57, C core, tonic, grpc-java, URLs) */
const AUTHORITIES = ['localhost', SOCKET, SOCKET.replaceAll('/', '%2F'), '', '[::]:50051', `unix://${SOCKET}`];

const BAD_NAMES = ['cpu', 'kubernetes.io/x', 'a.kubernetes.io/x', 'requests.foo/x', 'Foo/x', 'a/b/c', 'a/', '/b'];

/** How a Register ended: undefined when it was accepted, else its text. */
async function refusal(plugin: ScriptedPlugin, overrides: RegisterOverrides = {}): Promise<string | undefined> {
  return plugin.register(overrides).then(
    () => undefined,
    (error: unknown) => (error instanceof RpcError ? error.details : String(error)),
  );
}

export const REGISTRATION_CHECKS: readonly ManagerCheck[] = [
  {
    id: 'manager/registers',
    level: 'quick',
    severity: 'error',
    title: 'A manager that accepts a Register asks for the options once, and then opens one ListAndWatch.',
    why: 'Options come first since they say how the plugin is to be called; the list is what the registration is for. (kubelet: device plugin handler, client)',
    remedy: 'In Register dial the endpoint and call GetDevicePluginOptions; then open ListAndWatch and keep it.',
    async run(bench) {
      const plugin = await bench.registered();
      await bench.pause(700);
      const calls = plugin.calls.map(({ method }) => method);
      return calls.join(', ') === 'GetDevicePluginOptions, ListAndWatch'
        ? good('options, then the list')
        : bad('other calls than those two', calls.join(', '));
    },
  },
  {
    id: 'manager/refuses-versions',
    level: 'quick',
    severity: 'error',
    title: 'A manager refuses other API versions, in the words of the kubelet.',
    why: 'Operators and plugins look for the text in logs. (kubelet: device plugin registration server)',
    remedy:
      'Answer with status Unknown and the text \'requested API version "…" is not supported by kubelet. Supported version is ["v1beta1"]\'.',
    async run(bench) {
      const plugin = await bench.plugin();
      const wrong: string[] = [];
      for (const version of ['v1alpha1', 'v1beta2', '']) {
        const wanted = `requested API version ${goQuote(version)} is not supported by kubelet. Supported version is ["v1beta1"]`;
        const text = await refusal(plugin, { version });
        if (text !== wanted) wrong.push(`version ${goQuote(version)}: ${text ?? 'accepted'}`);
      }
      return each(wrong, (one) => one).outcome('refused', 'a version was accepted, or refused in other words');
    },
  },
  {
    id: 'manager/refuses-names',
    level: 'quick',
    severity: 'error',
    title: 'A manager refuses names that are not extended resources, in the words of the kubelet.',
    why: 'A pod could never ask for them, and some would shadow resources of the node. (Kubernetes: IsExtendedResourceName)',
    remedy: 'Answer with status Unknown and the text \'the ResourceName "…" is invalid\'.',
    async run(bench) {
      const plugin = await bench.plugin();
      const wrong: string[] = [];
      const names = [...BAD_NAMES, `a.b/${'x'.repeat(64)}`, `${'a'.repeat(245)}/x`];
      for (const resourceName of names) {
        const text = await refusal(plugin, { resourceName });
        if (text !== `the ResourceName ${goQuote(resourceName)} is invalid`)
          wrong.push(`${resourceName.slice(0, 80)}: ${text ?? 'accepted'}`);
      }
      return each(wrong, (one) => one).outcome('refused', 'a name was accepted, or refused in other words');
    },
  },
  {
    id: 'manager/accepts-names',
    level: 'quick',
    severity: 'error',
    title: 'A manager accepts every name that is an extended resource, up to the longest.',
    why: 'A stricter rule breaks plugins that run on every kubelet. (Kubernetes: IsExtendedResourceName)',
    remedy: 'Allow 63 characters after the slash and 244 before it.',
    async run(bench) {
      const tail = bench.resource().split('/')[1] ?? '';
      const longTail = `${tail}${'x'.repeat(63 - tail.length)}`;
      const longDomain = `${tail}.${'d'.repeat(60)}.${'e'.repeat(60)}.${'f'.repeat(60)}.`.padEnd(244, 'g');
      const wrong: string[] = [];
      for (const resource of [`a.b/C_d.e-f${tail}`, `conformance.devmgr.io/${longTail}`, `${longDomain}/x`]) {
        const text = await refusal(await bench.plugin({ resource }));
        if (text !== undefined) wrong.push(`${resource}: ${text}`);
      }
      return each(wrong, (one) => one).outcome('accepted', 'a good name was refused');
    },
  },
  {
    id: 'manager/authorities',
    level: 'quick',
    severity: 'error',
    title: 'A manager serves clients whatever :authority they send.',
    why: 'Go clients before 1.57 send the raw path, later ones encode it, Java sends a path, others nothing; HTTP/2 servers that insist on a host name cut them off. (grpc-go #6428, nodejs/node #32326)',
    remedy: 'Accept any authority, or replace it before the HTTP/2 library sees it.',
    async run(bench) {
      const wrong: string[] = [];
      for (const authority of AUTHORITIES) {
        const { endpoint, resource: resourceName } = await bench.plugin();
        const request = { version: 'v1beta1', endpoint, resourceName, options: undefined };
        const outcome = await registerAs(authority, bench.kubeletSocket, request);
        if (outcome !== 'OK') wrong.push(`${JSON.stringify(authority)}: ${outcome}`);
      }
      return each(wrong, (one) => one).outcome('all served', 'a client was cut off or refused');
    },
  },
  {
    id: 'manager/endpoint-missing',
    level: 'full',
    severity: 'error',
    title: 'A manager refuses a plugin whose socket is missing, and takes it once the socket is there.',
    why: 'Plugins that register too early read the reason from the answer and try again. (kubelet: failed to dial device plugin)',
    remedy:
      'Dial within 10 s, answer with a text that begins with "failed to dial device plugin", and keep nothing of the attempt.',
    run: (bench) => unreachable(bench, 'missing'),
  },
  {
    id: 'manager/endpoint-mute',
    level: 'full',
    severity: 'error',
    title: 'A manager refuses a plugin that accepts connections and never speaks.',
    why: 'A plugin that hangs in its start must not hold a registration for ever. (kubelet: dials for 10 s)',
    remedy: 'Put the limit of 10 s on the HTTP/2 handshake too, not only on connect.',
    run: (bench) => unreachable(bench, 'mute'),
  },
  {
    id: 'manager/endpoint-outside',
    level: 'quick',
    severity: 'warning',
    title: 'A manager refuses an endpoint that leaves the plugin directory.',
    why: 'With ../ in its endpoint a plugin makes the manager dial any socket of the machine.',
    remedy: 'Take the endpoint as a file name: refuse what has a slash or is "..".',
    async run(bench) {
      const elsewhere = await mkdtemp('/tmp/dmc-');
      try {
        const plugin = await bench.plugin({ pluginDir: elsewhere });
        const endpoint = relative(bench.pluginDir, plugin.socketPath);
        const text = await refusal(plugin, { endpoint, managerSocket: bench.kubeletSocket });
        return text === undefined ? bad('accepted', `endpoint ${endpoint}`) : good(`refused: ${text}`);
      } finally {
        await bench.clear();
        await rm(elsewhere, { recursive: true, force: true });
      }
    },
  },
  {
    id: 'manager/options-fail',
    level: 'quick',
    severity: 'error',
    title: 'A manager whose GetDevicePluginOptions fails says so, and calls nothing else.',
    why: 'A plugin whose options are not known cannot be called as it wants. (kubelet: failed to get device plugin options)',
    remedy:
      'Refuse with "failed to get device plugin options: …" and the plugin\'s own words; do not open ListAndWatch.',
    async run(bench) {
      const plugin = await bench.plugin({ script: { options: fail('boom') } });
      const text = (await refusal(plugin)) ?? 'accepted';
      await bench.pause(500);
      const calls = plugin.calls.map(({ method }) => method).join(', ');
      if (!text.includes('failed to get device plugin options') || !text.includes('boom'))
        return bad('other words', text);
      return calls === 'GetDevicePluginOptions' ? good('refused') : bad('other calls followed', calls);
    },
  },
  {
    id: 'manager/options-slow',
    level: 'quick',
    severity: 'error',
    title: 'A manager waits some seconds for the options.',
    why: 'Plugins that look for hardware first answer late; the kubelet waits as long as the plugin does.',
    remedy: 'Give GetDevicePluginOptions half a minute.',
    async run(bench) {
      const options = slow(SLOW_MS, () => ({ preStartRequired: false, getPreferredAllocationAvailable: false }));
      const plugin = await bench.registered({ script: { options } });
      return good(`waited, then ${String(plugin.streams)} stream`);
    },
  },
  {
    id: 'manager/one-hangs',
    level: 'quick',
    severity: 'error',
    title: 'While one registration hangs, others are served.',
    why: 'A node has several plugins, and one that is stuck must not take the others with it.',
    remedy: 'Serve every Register by itself; hold no lock while a plugin is being called.',
    async run(bench) {
      const stuck = await bench.plugin({ script: { options: hang() } });
      const hanging = refusal(stuck, { timeoutMs: AT_ONCE_MS * 2 });
      if (!(await bench.until(() => stuck.calls.length > 0))) return bad('the options were never asked for');
      const startedMs = performance.now();
      await bench.registered();
      const tookMs = performance.now() - startedMs;
      await stuck.close();
      await hanging;
      return tookMs < AT_ONCE_MS ? good('served meanwhile') : bad(`took ${String(Math.round(tookMs))} ms meanwhile`);
    },
  },
  {
    id: 'manager/many-at-once',
    level: 'quick',
    severity: 'error',
    title: 'A manager takes several resources that register at the same moment.',
    why: 'One program often has a socket for each of its resources and registers all of them at once.',
    remedy: 'Let registrations of different resources run side by side.',
    async run(bench) {
      const plugins = await Promise.all(Array.from({ length: 12 }, () => bench.plugin()));
      const texts = await Promise.all(plugins.map((plugin) => refusal(plugin)));
      await bench.until(() => plugins.every(({ streams }) => streams > 0));
      return each(
        plugins.map((plugin, index) => ({ plugin, text: texts[index] })),
        ({ plugin, text }) =>
          text ?? (plugin.streams === 1 ? undefined : `${plugin.resource}: ${String(plugin.streams)} streams`),
      ).outcome('all taken', 'not all were taken');
    },
  },
  {
    id: 'manager/caller-gone',
    level: 'quick',
    severity: 'error',
    title: 'A plugin that gave up in the middle of Register can register anew.',
    why: 'Plugins put a limit on Register and try again; what is left of the first attempt must not be in the way.',
    remedy: 'End the dial-back with the call that asked for it, and remember nothing of it.',
    async run(bench) {
      const plugin = await bench.plugin({ script: { options: hang() } });
      await refusal(plugin, { timeoutMs: 500 });
      plugin.failOptions();
      const text = await refusal(plugin);
      if (text !== undefined) return bad('refused', text);
      return (await bench.until(() => plugin.streams > 0)) ? good('taken') : bad('no ListAndWatch came');
    },
  },
  {
    id: 'manager/garbage',
    level: 'quick',
    severity: 'error',
    title: 'A manager outlives bytes that are no HTTP/2.',
    why: 'Whoever may write to the socket could end it otherwise, and with it every pod with a device.',
    remedy: 'Close the connection that sent them, and nothing else.',
    async run(bench) {
      for (const bytes of [
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
        Buffer.alloc(4096, 0xff),
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff'),
      ]) {
        const socket = connect(bench.kubeletSocket);
        socket.on('error', () => undefined);
        socket.end(bytes);
        await bench.pause(50);
        socket.destroy();
      }
      await bench.registered();
      return good('a plugin registered afterwards');
    },
  },
];

async function unreachable(bench: ManagerBench, how: 'missing' | 'mute') {
  const plugin = await bench.plugin();
  const endpoint = bench.endpoint();
  const held = new Set<Socket>();
  const server = createServer((socket) => {
    held.add(socket);
    socket.on('error', () => undefined);
  });
  if (how === 'mute') await new Promise<void>((resolve) => server.listen(join(bench.pluginDir, endpoint), resolve));
  try {
    const startedMs = performance.now();
    const text = await refusal(plugin, { endpoint, timeoutMs: REFUSED_WITHIN_MS });
    const took = `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
    if (text?.startsWith('failed to dial device plugin') !== true) return bad(`after ${took}`, text ?? 'accepted');
    const later = await refusal(plugin);
    return later === undefined ? good('refused, and taken later') : bad('refused later, too', later);
  } finally {
    for (const socket of held) socket.destroy();
    if (how === 'mute') await new Promise((resolve) => server.close(resolve));
  }
}
