import { mkdir, mkdtemp, readdir, rename, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { deviceNode, env, servePlugin } from '@devmgr/plugin-sdk';
import type { Plugin, PluginBehaviour, PluginPlacement } from '@devmgr/plugin-sdk';
import { until } from '@devmgr/plugin-sdk/testing';
import { afterEach, describe, expect, it } from 'vitest';
import type {
  AdmitAnswer,
  AllocatableAnswer,
  CapacityAnswer,
  Command,
  DeviceManagerPeer,
  OptionsAnswer,
  ProtocolPod,
} from '../oracle/protocol.ts';

/** Makes a manager that does nothing until its `start`. Ending it is as good as killing it. May skip the test aloud. */
export type NewPeer = (skip: (why: string) => never) => DeviceManagerPeer;

const QUICK = { pollMs: 100, retryFirstMs: 20, retryMaxMs: 200 };
const R = 'example.com/widget';

/** One test's directories, managers and plugins, all gone afterwards. */
class Stage {
  readonly root: string;
  readonly dir: string;
  readonly registry: string;
  readonly #newPeer: () => DeviceManagerPeer;
  readonly #peers: DeviceManagerPeer[] = [];
  readonly #plugins: Plugin[] = [];

  constructor(root: string, newPeer: () => DeviceManagerPeer) {
    this.root = root;
    this.dir = join(root, 'device-plugins');
    this.registry = join(root, 'plugins_registry');
    this.#newPeer = newPeer;
  }

  /** Starts another manager, as the kubelet starts: what sockets there are in its directory are deleted first. */
  async manager(dir = this.dir): Promise<Manager> {
    await mkdir(dir, { recursive: true });
    await mkdir(this.registry, { recursive: true });
    const peer = this.#newPeer();
    this.#peers.push(peer);
    const manager = new Manager(peer);
    await manager.do({ op: 'start', dir: `${dir}/`, watch: this.registry });
    return manager;
  }

  serve(options: Partial<PluginBehaviour & PluginPlacement> = {}): Plugin {
    const pluginDir = options.registration === 'registry' ? this.registry : this.dir;
    const plugin = servePlugin({ resource: R, devices: ['a', 'b'], pluginDir, timing: QUICK, ...options });
    this.#plugins.push(plugin);
    return plugin;
  }

  async close(): Promise<void> {
    await Promise.all(this.#plugins.map((plugin) => plugin.close()));
    await Promise.all(this.#peers.map((peer) => peer.close()));
    await rm(this.root, { recursive: true, force: true });
  }
}

class Manager {
  readonly peer: DeviceManagerPeer;

  constructor(peer: DeviceManagerPeer) {
    this.peer = peer;
  }

  do(command: Command): Promise<unknown> {
    return this.peer.do(command);
  }

  /** Ends without a word to anybody. */
  kill(): Promise<void> {
    return this.peer.close();
  }

  /** Waits until exactly these devices of the resource can be allocated. */
  async untilOffered(ids: readonly string[], resource = R): Promise<void> {
    let last = '';
    await until(`${resource} to have ${ids.join(', ')}`, async () => {
      const answer = (await this.do({ op: 'allocatable' })) as AllocatableAnswer;
      last = Object.keys(answer[resource] ?? {})
        .sort()
        .join();
      return last === ids.join();
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}, but it has ${last}`);
    });
  }

  async admit(uid: string, count: number, resource = R): Promise<AdmitAnswer> {
    return (await this.do({ op: 'admit', pod: podOf(uid, count, resource) })) as AdmitAnswer;
  }
}

function podOf(uid: string, count: number, resource: string): ProtocolPod {
  return { uid, containers: [{ name: 'c', limits: { [resource]: String(count) } }] };
}

/** The good case of everything that plugins and managers do to each other, against any manager. */
export function sdkPluginSuite(manager: string, newPeer: NewPeer): void {
  let stage: Stage | undefined;
  afterEach(async () => {
    await stage?.close();
    stage = undefined;
  });
  const setUp = async (skip: (why: string) => never): Promise<Stage> => {
    stage = new Stage(await mkdtemp(join(tmpdir(), 'sp-')), () => newPeer(skip));
    return stage;
  };

  describe(`a plugin of the SDK and ${manager}`, () => {
    it('registers, serving already, and gives a container what it needs', async ({ skip }) => {
      const bench = await setUp(skip);
      const started: string[] = [];
      bench.serve({
        devices: ['a', { id: 'b', health: 'Unhealthy' }, { id: 'c', numaNodes: [0] }],
        allocate: (ids) => [env({ WIDGETS: ids.join() }), deviceNode('/dev/null')],
        preferredAllocation: ({ available, size }) => [...available].sort().slice(-size),
        preStart: (ids) => {
          started.push(ids.join());
        },
      });
      const kubelet = await bench.manager();
      await kubelet.untilOffered(['a', 'c']);
      const answer = await kubelet.admit('one', 1);
      expect(answer).toMatchObject({ admit: true, devices: { c: { [R]: ['c'] } } });
      const options = (await kubelet.do({ op: 'options', uid: 'one', container: 'c' })) as OptionsAnswer;
      expect(options.Envs).toEqual([{ Name: 'WIDGETS', Value: 'c' }]);
      expect(options.Devices).toMatchObject([{ PathOnHost: '/dev/null', Permissions: 'rw' }]);
      expect(started, 'PreStartContainer is called because the plugin has it').toEqual(['c']);
    });

    it('registers several resources at the same moment, under names of their own', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      const resources = ['example.com/one', 'example.com/two', 'example.com/three'];
      const plugins = resources.map((resource) => bench.serve({ resource, devices: ['x'] }));
      await Promise.all(plugins.map(({ registered }) => registered));
      for (const resource of resources) await kubelet.untilOffered(['x'], resource);
      expect(new Set(plugins.map(({ socketPath }) => socketPath)).size).toBe(3);
    });

    it('hears of each change: health, devices that come and go, none at all', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      const plugin = bench.serve({ devices: [] }); // an empty list first
      await plugin.registered;
      plugin.update(['a', 'b']);
      await kubelet.untilOffered(['a', 'b']);
      plugin.update(['a', { id: 'b', health: 'Unhealthy' }]);
      await kubelet.untilOffered(['a']);
      plugin.update(['b', 'c']);
      await kubelet.untilOffered(['b', 'c']);
      plugin.update([]);
      await kubelet.untilOffered([]);
    });

    it('is found by its socket in plugins_registry, again after a restart of the manager', async ({ skip }) => {
      const bench = await setUp(skip);
      const first = await bench.manager();
      const plugin = bench.serve({ registration: 'registry' });
      await plugin.registered;
      await first.untilOffered(['a', 'b']);
      await first.kill();
      const second = await bench.manager();
      await second.untilOffered(['a', 'b']);
      expect((await second.admit('one', 2)).admit).toBe(true);
    });

    it('waits for a manager that is not there yet, and for one that is away', async ({ skip }) => {
      const bench = await setUp(skip);
      const plugin = bench.serve();
      await until('it to wait', () => plugin.state === 'waiting');
      const first = await bench.manager();
      await first.untilOffered(['a', 'b']);
      await first.kill();
      await until('it to notice', () => plugin.state === 'waiting' && plugin.streams === 0);
      expect(plugin.problem).toBeDefined();
      const second = await bench.manager();
      await second.untilOffered(['a', 'b']);
      expect(plugin.problem).toBeUndefined();
    });

    it('comes back when the manager was killed and starts anew, which deletes all sockets', async ({ skip }) => {
      const bench = await setUp(skip);
      const first = await bench.manager();
      bench.serve();
      bench.serve({ resource: 'example.com/other', devices: ['x'] });
      await first.untilOffered(['a', 'b']);
      await first.untilOffered(['x'], 'example.com/other');
      expect((await first.admit('one', 1)).admit).toBe(true);
      await first.kill();
      const second = await bench.manager();
      await second.untilOffered(['a', 'b']);
      await second.untilOffered(['x'], 'example.com/other');
      // What is in a pod's hands is remembered; the rest is free.
      await second.do({ op: 'adopt', pod: podOf('one', 1, R) });
      expect((await second.admit('two', 1)).admit).toBe(true);
      expect((await second.admit('three', 1)).admit).toBe(false);
    });

    it('comes back when the manager stops in good order and starts again', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      const plugin = bench.serve();
      await kubelet.untilOffered(['a', 'b']);
      await kubelet.do({ op: 'stop' });
      await until('the end of the stream', () => plugin.streams === 0);
      await kubelet.do({ op: 'start', dir: `${bench.dir}/` });
      await kubelet.untilOffered(['a', 'b']);
    });

    it('registers with another manager that takes the place of kubelet.sock, its own socket untouched', async ({
      skip,
    }) => {
      const bench = await setUp(skip);
      const first = await bench.manager();
      const plugin = bench.serve();
      await first.untilOffered(['a', 'b']);
      const elsewhere = join(bench.root, 'other');
      const second = await bench.manager(elsewhere);
      // It dials plugins in its own directory: there, the plugin's socket goes by the same name.
      await symlink(plugin.socketPath, join(elsewhere, basename(plugin.socketPath)));
      await rename(join(elsewhere, 'kubelet.sock'), join(bench.dir, 'kubelet.sock'));
      await second.untilOffered(['a', 'b']);
      await first.untilOffered(['a', 'b']); // The stream of the old one lives on: a healthy stream is never cut.
    });

    it('comes back when the directory was replaced', async ({ skip }) => {
      const bench = await setUp(skip);
      const first = await bench.manager();
      bench.serve();
      await first.untilOffered(['a', 'b']);
      await first.kill();
      await rename(bench.dir, `${bench.dir}.old`);
      const second = await bench.manager();
      await second.untilOffered(['a', 'b']);
    });

    it('comes back when somebody deleted its socket', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      const plugin = bench.serve();
      await kubelet.untilOffered(['a', 'b']);
      await rm(plugin.socketPath);
      await until('a socket again', async () => (await readdir(bench.dir)).includes(basename(plugin.socketPath)));
      await until('it to be registered', () => plugin.state === 'registered' && plugin.streams > 0);
      plugin.update(['a', 'b', 'c']);
      await kubelet.untilOffered(['a', 'b', 'c']);
    });

    it('hands over to its successor in a rolling update, and ends leaving nothing behind', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      const old = bench.serve({ devices: ['a'] });
      await kubelet.untilOffered(['a']);
      const next = bench.serve({ devices: ['a', 'b'] });
      await next.registered;
      expect(basename(next.socketPath)).not.toBe(basename(old.socketPath));
      await kubelet.untilOffered(['a', 'b']);
      await old.close();
      await kubelet.untilOffered(['a', 'b']);
      await next.close();
      await until('no device to be offered', async () => {
        const { allocatable } = (await kubelet.do({ op: 'capacity' })) as CapacityAnswer;
        return (allocatable[R] ?? 0) === 0;
      });
      expect((await readdir(bench.dir)).filter((name) => name.endsWith('.sock'))).toEqual(['kubelet.sock']);
    });

    it('is refused with a reason that shows, and accepted once the reason is gone', async ({ skip }) => {
      const bench = await setUp(skip);
      const kubelet = await bench.manager();
      let refuse = true;
      const plugin = bench.serve({
        intercept: (method) => {
          if (method === 'GetDevicePluginOptions' && refuse) throw new Error('not before noon');
        },
      });
      await until('the refusal', () => plugin.problem?.includes('not before noon'));
      refuse = false;
      await kubelet.untilOffered(['a', 'b']);
    });
  });
}
