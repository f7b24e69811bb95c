import { execFileSync } from 'node:child_process';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { devicesVariable, env, hostDevicePlugin, mount, parseHostDeviceFile } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeSession } from '@devmgr/plugin-sdk/testing';
import { closing, temporaryDir } from './helpers.ts';

const resource = 'example.com/node';
const healthOf = (session: FakeSession): Record<string, string> =>
  Object.fromEntries(session.devices.map(({ ID, health }) => [ID, health]));

test('real device nodes of every machine', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const devices = ['/dev/null', '/dev/zero', '/dev/full', '/dev/no-such-device', '/dev/zer?'];
  closing(hostDevicePlugin({ resource, devices, pluginDir, extras: [env({ MODE: 'test' }), mount('/etc/hosts')] }));
  const session = await manager.session(resource);
  expect(healthOf(session)).toEqual({
    null: 'Healthy',
    zero: 'Healthy',
    full: 'Healthy',
    'no-such-device': 'Unhealthy',
  });
  expect(await session.allocate(['null', 'full'])).toEqual({
    envs: new Map([
      ['EXAMPLE_COM_NODE_DEVICES', '/dev/null,/dev/full'],
      ['MODE', 'test'],
    ]),
    mounts: [{ hostPath: '/etc/hosts', containerPath: '/etc/hosts', readOnly: false }],
    devices: [
      { hostPath: '/dev/null', containerPath: '/dev/null', permissions: 'rw' },
      { hostPath: '/dev/full', containerPath: '/dev/full', permissions: 'rw' },
    ],
    annotations: new Map(),
    cdiDevices: [],
  });
  await expect(session.allocate(['no-such-device'])).rejects.toThrow('/dev/no-such-device does not exist');
});

test('shares of a device, and devices of several nodes', async () => {
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const devices = [{ id: 'pair', paths: ['/dev/null', '/dev/zero'], permissions: 'r' }, '/dev/full'];
  closing(hostDevicePlugin({ resource, devices, count: 2, pluginDir }));
  const session = await manager.session(resource);
  expect(Object.keys(healthOf(session))).toEqual(['pair-0', 'pair-1', 'full-0', 'full-1']);
  const response = await session.allocate(['pair-1', 'pair-0', 'full-1']);
  expect(response.devices.map(({ hostPath, permissions }) => `${hostPath} ${permissions}`)).toEqual([
    '/dev/null r',
    '/dev/zero r',
    '/dev/full rw',
  ]);
});

test('nodes that appear and vanish are seen without waiting for the next scan', async () => {
  const pluginDir = await temporaryDir();
  const dir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const devices = [join(dir, 'fixed'), join(dir, 'usb*')];
  closing(hostDevicePlugin({ resource, devices, pluginDir, allowNonDevices: true, scanEveryMs: 600_000 }));
  const session = await manager.session(resource);
  const id = (name: string): string => join(dir, name).slice(1).replaceAll('/', '-');
  expect(healthOf(session)).toEqual({ [id('fixed')]: 'Unhealthy' });

  execFileSync('mkfifo', [join(dir, 'fixed'), join(dir, 'usb0')]);
  await symlink('/dev/null', join(dir, 'usb1'));
  const everything = { [id('fixed')]: 'Healthy', [id('usb0')]: 'Healthy', [id('usb1')]: 'Healthy' };
  await until('all three', () => JSON.stringify(healthOf(session)) === JSON.stringify(everything));
  // A FIFO cannot be made by a runtime from its numbers: it is mounted. What a link leads to is given under both names.
  const response = await session.allocate([id('usb0'), id('usb1')]);
  expect(response.mounts).toMatchObject([{ hostPath: join(dir, 'usb0') }]);
  expect(response.devices).toEqual([
    { hostPath: '/dev/null', containerPath: join(dir, 'usb1'), permissions: 'rw' },
    { hostPath: '/dev/null', containerPath: '/dev/null', permissions: 'rw' },
  ]);

  await rm(join(dir, 'fixed'));
  await rm(join(dir, 'usb0'));
  const rest = { [id('fixed')]: 'Unhealthy', [id('usb1')]: 'Healthy' };
  await until('the loss', () => JSON.stringify(healthOf(session)) === JSON.stringify(rest));
});

test('a link is followed at each Allocate, and keeps what it leads to from being listed twice', async () => {
  const pluginDir = await temporaryDir();
  const dir = await temporaryDir();
  await symlink('/dev/full', join(dir, 'board-A50285BI'));
  const manager = closing(await startFakeManager({ pluginDir }));
  const devices = [join(dir, 'board-*'), '/dev/ful?', '/dev/zero'];
  closing(hostDevicePlugin({ resource, devices, pluginDir, scanEveryMs: 600_000 }));
  const session = await manager.session(resource);
  const id = join(dir, 'board-A50285BI').slice(1).replaceAll('/', '-');
  expect(Object.keys(healthOf(session))).toEqual([id, 'zero']);
  const paths = async (): Promise<string[]> =>
    (await session.allocate([id])).devices.map(({ hostPath, containerPath }) => `${hostPath} as ${containerPath}`);
  const link = join(dir, 'board-A50285BI');
  expect(await paths()).toEqual([`/dev/full as ${link}`, '/dev/full as /dev/full']);
  // Plugged in again, it is another node under the same name: what was true at the last scan is not what is given.
  await symlink('/dev/random', join(dir, 'new'));
  await rename(join(dir, 'new'), link);
  expect(await paths()).toEqual([`/dev/random as ${link}`, '/dev/random as /dev/random']);
});

test('a file where a device should be is unhealthy', async () => {
  const pluginDir = await temporaryDir();
  const dir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  await writeFile(join(dir, 'null'), '');
  closing(hostDevicePlugin({ resource, devices: [{ id: 'n', paths: [join(dir, 'null')] }], pluginDir }));
  const session = await manager.session(resource);
  expect(healthOf(session)).toEqual({ n: 'Unhealthy' });
  await expect(session.allocate(['n'])).rejects.toThrow('is not a device node');
});

test('NUMA nodes come from sysfs', async () => {
  const pluginDir = await temporaryDir();
  const sysDir = await temporaryDir();
  // /dev/null is 1:3 and /dev/zero 1:5 on every Linux.
  for (const [numbers, node] of [
    ['1:3', '1\n'],
    ['1:5', '-1\n'],
  ] as const) {
    await mkdir(join(sysDir, 'dev/char', numbers, 'device'), { recursive: true });
    await writeFile(join(sysDir, 'dev/char', numbers, 'device/numa_node'), node);
  }
  const manager = closing(await startFakeManager({ pluginDir }));
  closing(hostDevicePlugin({ resource, devices: ['/dev/null', '/dev/zero', '/dev/full'], pluginDir, sysDir }));
  const session = await manager.session(resource);
  expect(session.devices.map(({ topology }) => topology?.nodes.map(({ ID }) => Number(ID)))).toEqual([
    [1],
    undefined,
    undefined,
  ]);
});

test('ids stay unique and short', async () => {
  const pluginDir = await temporaryDir();
  const dir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const long = join(dir, 'x'.repeat(100));
  const devices = [join(dir, 'a/b'), join(dir, 'a-b'), long, `${long}y`];
  closing(hostDevicePlugin({ resource, devices, count: 10, pluginDir }));
  const ids = (await manager.session(resource)).devices.map(({ ID }) => ID);
  expect(new Set(ids).size).toBe(40);
  expect(Math.max(...ids.map((id) => id.length))).toBeLessThanOrEqual(63);
});

test('names of the variable', () => {
  expect(devicesVariable('example.com/my-tty')).toBe('EXAMPLE_COM_MY_TTY_DEVICES');
  expect(devicesVariable('3com.example/nic')).toBe('_3COM_EXAMPLE_NIC_DEVICES');
});

test('what cannot work is refused at once', () => {
  const cases: [() => unknown, RegExp][] = [
    [() => hostDevicePlugin({ resource, devices: [] }), /devices must name at least one device/],
    [() => hostDevicePlugin({ resource, devices: ['null'] }), /devices\[0\]: "null" is not an absolute path/],
    [() => hostDevicePlugin({ resource, devices: ['/dev/null'], count: 0 }), /count must be/],
    [() => hostDevicePlugin({ resource, devices: ['/dev/null'], permissions: 'x' }), /permissions "x"/],
    [() => hostDevicePlugin({ resource, devices: [{ id: 'x', paths: ['/dev/tty*'] }] }), /the pattern \/dev\/tty\*/],
    [() => hostDevicePlugin({ resource: 'null', devices: ['/dev/null'] }), /ResourceName "null"/],
  ];
  for (const [attempt, message] of cases) expect(attempt, String(message)).toThrow(message);
});

test('a file describes several host resources', () => {
  const text = `
resources:
  - resource: example.com/serial
    devices:
      - /dev/ttyUSB*
      - { paths: [/dev/null, /dev/zero], id: both, permissions: r }
      - { usb: 0403:6001:A5*, nodes: [tty*] }
      - pci: 10de:*,class=0302
    count: 4
    scanEvery: 2s
    env: { SPEED: 9600 }
    mounts: [{ hostPath: /run/udev, readOnly: true }]
`;
  expect(parseHostDeviceFile(text, 'host.yaml')).toEqual([
    {
      resource: 'example.com/serial',
      devices: [
        '/dev/ttyUSB*',
        { paths: ['/dev/null', '/dev/zero'], id: 'both', permissions: 'r' },
        { usb: '0403:6001:A5*', nodes: ['tty*'] },
        { pci: '10de:*,class=0302' },
      ],
      count: 4,
      scanEveryMs: 2_000,
      extras: [mount('/run/udev', { readOnly: true }), env({ SPEED: '9600' }), { annotations: new Map() }],
    },
  ]);
});

test.each([
  [
    '[null]\n    permissions: q',
    /^host\.yaml:3:15: .*devices\[0\]: expected an absolute path.*; host\.yaml:4:18: .*permissions "q"/,
  ],
  [
    '\n      - usb: "403:6001"',
    /^host\.yaml:4:14: resources\[0\]\.devices\[0\]\.usb: "403:6001" does not select USB devices/,
  ],
  [
    '\n      - pci: 10de',
    /^host\.yaml:4:14: .*devices\[0\]\.pci: "10de" does not select PCI devices: expected VENDOR:DEVICE/,
  ],
  ['\n      - /dev/a\n      - { usb: 0403:*, node: x }', /^host\.yaml:5:24: .*devices\[1\]: unknown field "node"$/],
  ['\n      - { paths: [/dev/a], id: 3 }', /^host\.yaml:4:32: .*devices\[0\]\.id: /],
  [
    '\n      - { path: [/dev/a] }',
    /^host\.yaml:4:9: .*devices\[0\]: expected an absolute path or pattern, or an object with/,
  ],
  [
    '[/dev/a]\n  - { resource: example.com/x, devices: [/dev/b] }',
    /^host\.yaml:4:17: .*example\.com\/x is there twice$/,
  ],
])('devices: %j is refused with its place', (devices, message) => {
  const text = `resources:\n  - resource: example.com/x\n    devices: ${devices}\n`;
  expect(() => parseHostDeviceFile(text, 'host.yaml')).toThrow(message);
});
