import type { ScriptedPlugin } from '@devmgr/plugin-sdk/testing';
import { RpcCode, RpcError } from '@devmgr/wire';
import { bad, good } from '../check.ts';
import type { ManagerBench } from './manager-bench.ts';
import type { ManagerCheck } from './run-manager-checks.ts';

/** From the end of a plugin to the moment a manager must have noticed. */
const NOTICED_MS = 1_000;

/** How a Register ended: undefined when it was accepted, else its text. */
function refusal(plugin: ScriptedPlugin): Promise<string | undefined> {
  return plugin.register().then(
    () => undefined,
    (error: unknown) => (error instanceof RpcError ? error.details : String(error)),
  );
}

async function gainsStream(bench: ManagerBench, plugin: ScriptedPlugin, opened: number): Promise<boolean> {
  return bench.until(() => plugin.callsOf('ListAndWatch').length > opened && plugin.streams > 0);
}

export const SESSION_CHECKS: readonly ManagerCheck[] = [
  {
    id: 'manager/stream-fails',
    level: 'quick',
    severity: 'error',
    title: 'When ListAndWatch fails at once, a manager leaves the plugin alone.',
    why: 'A plugin that ends its stream registers again when it is ready; calling it in a loop keeps it from that. (kubelet: exactly two calls)',
    remedy: 'Take the end of the stream as the end of the session, and wait for the next Register.',
    async run(bench) {
      const plugin = await bench.plugin({
        script: {
          streamOpened: () => {
            throw new RpcError(RpcCode.Internal, 'no hardware');
          },
        },
      });
      const text = await refusal(plugin);
      if (text !== undefined) return bad('Register was refused', text);
      await bench.until(() => plugin.callsOf('ListAndWatch').length > 0);
      await bench.pause(NOTICED_MS);
      const calls = plugin.calls.map(({ method }) => method).join(', ');
      return plugin.calls.length === 2 ? good('two calls') : bad('other calls followed', calls);
    },
  },
  {
    id: 'manager/comes-back',
    level: 'quick',
    severity: 'error',
    title: 'A plugin that ended can come back on its socket and register.',
    why: 'Plugins are restarted by their DaemonSet, most of them under the same socket name. (KEP-606)',
    remedy: 'Forget the session when its stream ends, and dial the new socket when Register comes.',
    async run(bench) {
      const plugin = await bench.registered();
      await plugin.kill();
      await bench.pause(NOTICED_MS);
      await plugin.listen();
      const text = await refusal(plugin);
      if (text !== undefined) return bad('refused', text);
      return (await gainsStream(bench, plugin, 1)) ? good('watched again') : bad('no ListAndWatch came');
    },
  },
  {
    id: 'manager/same-socket-again',
    level: 'quick',
    severity: 'error',
    title: 'A Register on the socket of a living session is accepted.',
    why: 'Plugins register again when kubelet.sock is made anew or when they are not sure; the newest Register is the truth. (KEP-606; kubernetes#127803)',
    remedy: 'Open a new session beside the old one, and let it take over with its first list.',
    async run(bench) {
      const plugin = await bench.registered();
      const text = await refusal(plugin);
      if (text !== undefined) return bad('refused', text);
      return (await gainsStream(bench, plugin, 1)) ? good('accepted, and watched') : bad('no ListAndWatch came');
    },
  },
  {
    id: 'manager/same-socket-recovers',
    level: 'quick',
    severity: 'error',
    title: 'After a second Register on one socket, the plugin can end, come back and register.',
    why: 'Otherwise one Register too many makes the resource unusable until the manager is restarted. (measured on kubelet 1.37.2)',
    remedy:
      'Whatever comes of the second Register, the end of the first session has to be noticed and its place freed.',
    async run(bench) {
      const plugin = await bench.registered();
      await refusal(plugin);
      await plugin.kill();
      await bench.pause(NOTICED_MS);
      await plugin.listen();
      const opened = plugin.callsOf('ListAndWatch').length;
      const text = await refusal(plugin);
      if (text !== undefined) return bad('refused', text);
      return (await gainsStream(bench, plugin, opened)) ? good('watched again') : bad('no ListAndWatch came');
    },
  },
  {
    id: 'manager/same-socket-death',
    level: 'quick',
    severity: 'error',
    title: 'After a second Register on one socket, the end of the plugin is noticed.',
    why: 'Devices of a plugin that is gone are given to pods that then fail. (measured on kubelet 1.37.2)',
    remedy: 'Watch the stream of the session that lives, whatever came of the second Register.',
    async run(bench) {
      const plugin = await bench.registered();
      if (!(await bench.sees(plugin.resource, ['d0', 'd1']))) return bad('its list was not shown');
      await refusal(plugin);
      await plugin.kill();
      return (await bench.sees(plugin.resource, [])) ? good('devices gone') : bad('its devices are still offered');
    },
  },
  {
    id: 'manager/second-plugin',
    level: 'quick',
    severity: 'error',
    title: 'A second plugin for the same resource is accepted and watched.',
    why: 'In a rolling update the new one starts before the old one ends, on a socket of its own. (KEP-606)',
    remedy: 'Keep sessions by their socket, and let the newest that has listed speak for the resource.',
    async run(bench) {
      const first = await bench.registered();
      const second = await bench.plugin({ resource: first.resource });
      const text = await refusal(second);
      if (text !== undefined) return bad('refused', text);
      if (!(await gainsStream(bench, second, 0))) return bad('no ListAndWatch came');
      return good('accepted, and watched');
    },
  },
  {
    id: 'manager/rolling-upgrade',
    level: 'quick',
    severity: 'error',
    title: 'The end of the old plugin does not end the session of its successor.',
    why: 'Otherwise every update of a DaemonSet ends with no devices. (kubernetes#121994, #127803)',
    remedy: 'Know a session by its connection, not by the name of its resource.',
    async run(bench) {
      const old = await bench.registered();
      const successor = await bench.plugin({ resource: old.resource });
      await successor.register();
      if (!(await gainsStream(bench, successor, 0))) return bad('the successor was not watched');
      await bench.pause(500);
      await old.kill();
      await bench.pause(NOTICED_MS);
      if (successor.streams === 0) return bad('its stream was ended');
      if (!bench.hasView) return good('its stream lives on');
      return (await bench.sees(old.resource, ['d0', 'd1'])) ? good('its devices stay') : bad('the devices are gone');
    },
  },
  {
    id: 'manager/upgrade-without-gap',
    level: 'quick',
    severity: 'error',
    title: 'During a rolling upgrade no device is away, not for a moment.',
    why: 'Pods that come in the gap fail for good. (KEP-606; kubernetes#120146)',
    remedy: 'Replace the list in one step, when the first list of the successor has come.',
    async run(bench) {
      const old = await bench.registered();
      if (!(await bench.sees(old.resource, ['d0', 'd1']))) return bad('its list was not shown');
      const low: string[] = [];
      const over = new AbortController();
      const watching = (async (): Promise<void> => {
        while (!over.signal.aborted) {
          const { size } = await bench.allocatable(old.resource);
          if (size !== 2) low.push(`${String(size)} devices`);
          await bench.pause(100);
        }
      })();
      try {
        const successor = await bench.plugin({ resource: old.resource });
        await successor.register();
        await gainsStream(bench, successor, 0);
        await bench.pause(500);
        await old.close();
        await bench.pause(NOTICED_MS);
      } finally {
        over.abort();
        await watching;
      }
      return low.length === 0 ? good('two devices all the time') : bad('there was a gap', [...new Set(low)]);
    },
  },
  {
    id: 'manager/old-plugin-lists',
    level: 'quick',
    severity: 'error',
    title: 'A list of a plugin that was replaced does not replace the list of its successor.',
    why: 'The old one may go on for minutes in a rolling update, and what it says is old. (kubernetes#121994)',
    remedy: 'Take lists of the session that owns the resource only.',
    async run(bench) {
      const old = await bench.registered();
      const successor = await bench.plugin({ resource: old.resource, devices: ['n0', 'n1', 'n2'] });
      await successor.register();
      if (!(await bench.sees(old.resource, ['n0', 'n1', 'n2']))) return bad('the list of the successor was not taken');
      old.list(['o0']);
      await bench.pause(NOTICED_MS);
      const ids = [...(await bench.allocatable(old.resource)).keys()].sort().join(' ');
      return ids === 'n0 n1 n2' ? good('the list of the successor stays') : bad('it was replaced', `offered: ${ids}`);
    },
  },
  {
    id: 'manager/plugin-ends',
    level: 'quick',
    severity: 'error',
    title: 'The devices of a plugin that ended are not offered any more.',
    why: 'A pod that gets one fails in Allocate. (kubelet: PluginDisconnected)',
    remedy: 'Take the devices out of what can be allocated when the stream ends.',
    async run(bench) {
      const plugin = await bench.registered();
      if (!(await bench.sees(plugin.resource, ['d0', 'd1']))) return bad('its list was not shown');
      await plugin.kill();
      if (!(await bench.sees(plugin.resource, []))) return bad('still offered');
      await plugin.listen();
      await plugin.register();
      return (await bench.sees(plugin.resource, ['d0', 'd1']))
        ? good('gone, and back')
        : bad('not back after Register');
    },
  },
  {
    id: 'manager/stream-cut',
    level: 'quick',
    severity: 'error',
    title: 'When the plugin ends its stream in good order, its devices are not offered any more.',
    why: 'Some plugins end ListAndWatch and keep their server when hardware resets. (kubelet: PluginDisconnected)',
    remedy: 'Treat an end with OK as any other end.',
    async run(bench) {
      const plugin = await bench.registered();
      if (!(await bench.sees(plugin.resource, ['d0', 'd1']))) return bad('its list was not shown');
      plugin.endStreams();
      return (await bench.sees(plugin.resource, [])) ? good('gone') : bad('still offered');
    },
  },
];
