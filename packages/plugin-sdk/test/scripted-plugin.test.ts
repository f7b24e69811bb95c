import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { RpcCode, RpcError } from '@devmgr/wire';
import { fail, hang, slow, startFakeManager, startScriptedPlugin, until } from '@devmgr/plugin-sdk/testing';
import { closing, temporaryDir } from './helpers.ts';

const resource = 'example.com/gpu';

test('lists what it is told to, repeated and wrong lists too', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(await startScriptedPlugin({ pluginDir, resource, devices: ['a'] }));
  await plugin.register();
  const session = await manager.session(resource);
  plugin.list(['a']);
  plugin.list(['a', 'a', { id: '', health: 'sick', numaNodes: [] }]);
  await until('three lists', () => session.lists.length === 3);
  expect(session.devices).toEqual([
    { ID: 'a', health: 'Healthy', topology: undefined },
    { ID: 'a', health: 'Healthy', topology: undefined },
    { ID: '', health: 'sick', topology: { nodes: [] } },
  ]);
  plugin.endStreams();
  await until('the end', () => session.endedWith === null);
});

test('ends streams with a status, also at their opening', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(await startScriptedPlugin({ pluginDir, resource, devices: ['a'] }));
  await plugin.register();
  const session = await manager.session(resource);
  plugin.list(['a', 'b']);
  plugin.endStreams(new RpcError(RpcCode.ResourceExhausted, 'too much'));
  await until('the end', () => !session.live);
  expect(session.lists, 'what was sent before the end arrives').toHaveLength(2);
  expect(session.endedWith).toMatchObject({ code: RpcCode.ResourceExhausted, details: 'too much' });
  plugin.script({ streamOpened: fail('closed today', RpcCode.Unimplemented) });
  await plugin.register();
  await until('the refusal', () => manager.sessions[1]?.endedWith instanceof RpcError);
  expect(plugin.streams).toBe(0);
});

test('records calls, fails, hangs and is slow as scripted', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(await startScriptedPlugin({ pluginDir, resource, devices: ['a'], endpoint: 'odd name' }));
  plugin.failOptions('not ready');
  await expect(plugin.register()).rejects.toThrow('not ready');
  plugin.failOptions();
  await plugin.register({ version: 'v1beta1' });
  await plugin.waitForStreams(1);
  const session = await manager.session(resource);
  expect((await session.allocate(['a', 'b'])).envs).toEqual(new Map([['SCRIPTED_DEVICES', 'a,b']]));
  const release = plugin.hangAllocate();
  const waiting = session.allocate(['c']);
  const [, call] = await plugin.waitForCalls('Allocate', 2);
  expect(call?.request).toEqual({ containerRequests: [{ devicesIds: ['c'] }] });
  release();
  expect((await waiting).envs.get('SCRIPTED_DEVICES')).toBe('c');
  plugin.script({ allocate: hang() });
  await expect(session.allocate(['a'], 100)).rejects.toThrow('DeadlineExceeded');
  plugin.script({ allocate: slow(50, () => ({ containerResponses: [Uint8Array.of(0xff)] })) });
  await expect(session.allocate(['a'])).rejects.toThrow('cannot be decoded');
  expect(plugin.calls.map(({ method }) => method).slice(0, 4)).toEqual([
    'GetDevicePluginOptions',
    'GetDevicePluginOptions',
    'ListAndWatch',
    'Allocate',
  ]);
});

test('stays silent without devices, and leaves its socket behind when killed', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const plugin = closing(await startScriptedPlugin({ pluginDir, resource, endpoint: 'p.sock', registry: true }));
  await manager.adopt(plugin.socketPath);
  await plugin.waitForStreams(1);
  expect(manager.sessions[0]?.lists).toHaveLength(0);
  plugin.list([]);
  await until('the empty list', () => manager.sessions[0]?.lists.length === 1);
  expect(plugin.callsOf('NotifyRegistrationStatus')).toMatchObject([
    { request: { pluginRegistered: true, error: '' } },
  ]);
  await plugin.kill();
  await until('the end', () => manager.sessions[0]?.live === false);
  expect((await readdir(pluginDir)).sort()).toEqual(['kubelet.sock', 'p.sock']);
  await plugin.listen();
  await plugin.register();
  await plugin.close();
  expect(await readdir(pluginDir)).toEqual(['kubelet.sock']);
});
