/**
 * Devices chosen on the USB and PCI buses, from a tree laid out as Linux lays out /sys and /dev. Nodes are links
 * to those every machine has: making real ones would need root.
 */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { hostDevicePlugin } from '@devmgr/plugin-sdk';
import type { HostDevice } from '@devmgr/plugin-sdk';
import { startFakeManager, until } from '@devmgr/plugin-sdk/testing';
import type { FakeSession } from '@devmgr/plugin-sdk/testing';
import { closing, temporaryDir } from './helpers.ts';

const resource = 'example.com/board';
/** What the nodes of the tree are links to: no two of a test to the same, as no two nodes are one device. */
const REAL_NODES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'].map((name) => `/dev/${name}`);
const USB_CONTROLLER = 'devices/pci0000:00/0000:00:14.0';

/** A machine in a directory: `sys` and `dev` below it. */
class Machine {
  readonly dir: string;
  #nodes = 0;

  constructor(dir: string) {
    this.dir = dir;
  }

  get sysDir(): string {
    return join(this.dir, 'sys');
  }

  get devDir(): string {
    return join(this.dir, 'dev');
  }

  /** A directory in sysfs with attributes. */
  async device(path: string, attributes: Readonly<Record<string, string>>): Promise<void> {
    const dir = join(this.sysDir, path);
    await mkdir(dir, { recursive: true });
    for (const [name, value] of Object.entries(attributes)) await writeFile(join(dir, name), `${value}\n`);
  }

  /** A node, and the directory in sysfs that tells of it. */
  async node(path: string, name: string): Promise<void> {
    await this.device(path, { uevent: `MAJOR=1\nMINOR=3\nDEVNAME=${name}` });
    await mkdir(dirname(join(this.devDir, name)), { recursive: true });
    await symlink(REAL_NODES[this.#nodes++ % REAL_NODES.length]!, join(this.devDir, name));
  }

  async link(from: string, to: string): Promise<void> {
    await mkdir(dirname(join(this.sysDir, from)), { recursive: true });
    await symlink(relative(dirname(from), to), join(this.sysDir, from));
  }

  /** Plugs in a serial adapter. `port` is where, `1-1` or `1-1.4`; the numbers of its nodes are the caller's to choose. */
  async plugIn(port: string, ids: { vendor: string; product: string; serial?: string; tty: number; number: number }) {
    const dir = join(USB_CONTROLLER, 'usb1', port);
    const usbNode = `bus/usb/001/${String(ids.number).padStart(3, '0')}`;
    await this.device(dir, {
      idVendor: ids.vendor,
      idProduct: ids.product,
      ...(ids.serial === undefined ? {} : { serial: ids.serial }),
    });
    await this.node(dir, usbNode);
    const tty = `ttyUSB${String(ids.tty)}`;
    await this.node(join(dir, `${port}:1.0`, tty, 'tty', tty), tty);
    await this.link(`bus/usb/devices/${port}:1.0`, join(dir, `${port}:1.0`));
    await this.link(`bus/usb/devices/${port}`, dir);
    return async (): Promise<void> => {
      await rm(join(this.sysDir, 'bus/usb/devices', port));
      await rm(join(this.sysDir, 'bus/usb/devices', `${port}:1.0`));
      await rm(join(this.sysDir, dir), { recursive: true });
      await rm(join(this.devDir, tty));
      await rm(join(this.devDir, usbNode));
    };
  }

  async pciFunction(
    address: string,
    attributes: { vendor: string; device: string; class: string; numa_node?: string },
    links: { driver?: string; iommuGroup?: string } = {},
  ): Promise<string> {
    const dir = join('devices/pci0000:00', address);
    await this.device(dir, attributes);
    await this.link(`bus/pci/devices/${address}`, dir);
    if (links.driver !== undefined) await this.link(join(dir, 'driver'), `bus/pci/drivers/${links.driver}`);
    if (links.iommuGroup !== undefined)
      await this.link(join(dir, 'iommu_group'), `kernel/iommu_groups/${links.iommuGroup}`);
    return dir;
  }
}

async function serve(
  devices: (machine: Machine) => readonly HostDevice[],
  prepare: (machine: Machine) => Promise<unknown>,
  options: { count?: number } = {},
): Promise<{ machine: Machine; session: FakeSession }> {
  const machine = new Machine(await temporaryDir());
  await mkdir(machine.devDir, { recursive: true });
  await prepare(machine);
  const pluginDir = await temporaryDir();
  const manager = closing(await startFakeManager({ pluginDir }));
  const { sysDir, devDir } = machine;
  closing(
    hostDevicePlugin({ resource, devices: devices(machine), pluginDir, sysDir, devDir, scanEveryMs: 200, ...options }),
  );
  return { machine, session: await manager.session(resource) };
}

const idsOf = (session: FakeSession): string[] => session.devices.map(({ ID }) => ID);
const healthOf = (session: FakeSession): string[] => session.devices.map(({ ID, health }) => `${ID} ${health}`);
const nodesOf = (session: FakeSession): (number | undefined)[] =>
  session.devices.map(({ topology }) => (topology === undefined ? undefined : Number(topology.nodes[0]?.ID)));

/** What a container sees, but for what the links lead to, which it sees as well. */
const seen = (response: Awaited<ReturnType<FakeSession['allocate']>>): string[] =>
  response.devices
    .filter(({ containerPath }) => !REAL_NODES.includes(containerPath))
    .map(({ containerPath, permissions }) => `${containerPath} ${permissions}`);

const FTDI = { vendor: '0403', product: '6001' };

test('USB devices by vendor, product and serial number, with all their nodes', async () => {
  const { session } = await serve(
    () => [{ usb: '0403:6001:A5*' }, { usb: '2341:*', nodes: ['tty*'], permissions: 'r' }],
    async (machine) => {
      await machine.device(USB_CONTROLLER, { numa_node: '1' });
      await machine.plugIn('1-1', { ...FTDI, serial: 'A50285BI', tty: 0, number: 4 });
      await machine.plugIn('1-2', { ...FTDI, serial: 'B1', tty: 1, number: 5 });
      await machine.plugIn('1-3', { vendor: '2341', product: '0043', tty: 2, number: 6 });
    },
  );
  expect(healthOf(session)).toEqual(['usb-1-1-A50285BI Healthy', 'usb-1-3 Healthy']);
  // The node of the controller they hang on.
  expect(nodesOf(session)).toEqual([1, 1]);
  const response = await session.allocate(['usb-1-1-A50285BI', 'usb-1-3']);
  expect(seen(response)).toEqual(['/dev/bus/usb/001/004 rw', '/dev/ttyUSB0 rw', '/dev/ttyUSB2 r']);
  expect(Object.fromEntries(response.envs)).toEqual({
    EXAMPLE_COM_BOARD_DEVICES: '/dev/bus/usb/001/004,/dev/ttyUSB0,/dev/ttyUSB2',
    USBDEVICE_EXAMPLE_COM_BOARD: '1-1,1-3',
  });
});

test('a device that is unplugged and plugged in again is the same one, with its new nodes', async () => {
  let unplug = async (): Promise<void> => undefined;
  const { machine, session } = await serve(
    () => [{ usb: '0403:6001' }],
    async (machine) => {
      unplug = await machine.plugIn('1-1', { ...FTDI, serial: 'A50285BI', tty: 0, number: 4 });
    },
  );
  expect(idsOf(session)).toEqual(['usb-1-1-A50285BI']);
  await unplug();
  await until('the device to go', () => session.devices.length === 0);
  await expect(session.allocate(['usb-1-1-A50285BI'])).rejects.toThrow('no device "usb-1-1-A50285BI"');

  const unplugAgain = await machine.plugIn('1-1', { ...FTDI, serial: 'A50285BI', tty: 7, number: 9 });
  await until('the same device', () => healthOf(session).join() === 'usb-1-1-A50285BI Healthy');
  const response = await session.allocate(['usb-1-1-A50285BI']);
  expect(response.envs.get('EXAMPLE_COM_BOARD_DEVICES')).toBe('/dev/bus/usb/001/009,/dev/ttyUSB7');

  // Another device in the same socket is another device.
  await unplugAgain();
  await machine.plugIn('1-1', { ...FTDI, serial: 'B1', tty: 0, number: 10 });
  await until('the other device', () => idsOf(session).join() === 'usb-1-1-B1');
});

test('a device whose node is missing is there and unhealthy', async () => {
  const { machine, session } = await serve(
    () => [{ usb: '0403:*' }],
    (machine) => machine.plugIn('1-1', { ...FTDI, tty: 0, number: 4 }),
    { count: 2 },
  );
  expect(healthOf(session)).toEqual(['usb-1-1-0 Healthy', 'usb-1-1-1 Healthy']);
  await rm(join(machine.devDir, 'ttyUSB0'));
  await until('its loss', () => healthOf(session).every((line) => line.endsWith('Unhealthy')));
  await expect(session.allocate(['usb-1-1-0'])).rejects.toThrow(/ttyUSB0 does not exist/);
  await symlink('/dev/null', join(machine.devDir, 'ttyUSB0'));
  await until('its return', () => healthOf(session).every((line) => line.endsWith(' Healthy')));
});

test('PCI functions by ids, class and driver, on the NUMA node sysfs says, with the nodes of their drivers', async () => {
  const { session } = await serve(
    () => [{ pci: '10de:*,class=0300' }, { pci: 'class=02,driver=mlx5_core' }],
    async (machine) => {
      const gpu = { vendor: '0x10de', device: '0x2204', class: '0x030000' };
      const dir = await machine.pciFunction('0000:3b:00.0', { ...gpu, numa_node: '1' }, { driver: 'nouveau' });
      await machine.node(join(dir, 'drm/card0'), 'dri/card0');
      await machine.node(join(dir, 'drm/renderD128'), 'dri/renderD128');
      await machine.pciFunction('0000:3b:00.1', { ...gpu, class: '0x040300', numa_node: '1' });
      // A function behind this one is a device of its own.
      await machine.node(join(dir, '0000:3c:00.0/nvme/nvme0'), 'nvme0');
      const nic = { vendor: '0x15b3', device: '0x101e', class: '0x020000', numa_node: '-1' };
      await machine.pciFunction('0000:5e:00.2', nic, { driver: 'mlx5_core' });
      await machine.pciFunction('0000:5e:00.3', nic, { driver: 'vfio-pci', iommuGroup: '9' });
    },
  );
  expect(healthOf(session)).toEqual(['pci-0000:3b:00.0 Healthy', 'pci-0000:5e:00.2 Healthy']);
  expect(nodesOf(session)).toEqual([1, undefined]);
  const response = await session.allocate(['pci-0000:3b:00.0', 'pci-0000:5e:00.2']);
  expect(Object.fromEntries(response.envs)).toEqual({
    EXAMPLE_COM_BOARD_DEVICES: '/dev/dri/card0,/dev/dri/renderD128',
    PCIDEVICE_EXAMPLE_COM_BOARD: '0000:3b:00.0,0000:5e:00.2',
  });
});

test('functions bound to vfio-pci are given by IOMMU group', async () => {
  const { machine, session } = await serve(
    () => [{ pci: 'driver=vfio-pci' }],
    async (machine) => {
      const gpu = { vendor: '0x10de', device: '0x2204', class: '0x030000', numa_node: '0' };
      await machine.pciFunction('0000:3b:00.0', gpu, { driver: 'vfio-pci', iommuGroup: '12' });
      await machine.pciFunction('0000:3b:00.1', gpu, { driver: 'vfio-pci', iommuGroup: '12' });
      await machine.pciFunction('0000:86:00.0', { ...gpu, numa_node: '1' }, { driver: 'vfio-pci', iommuGroup: '30' });
      for (const name of ['12', 'vfio']) await machine.node(`devices/virtual/vfio/${name}`, `vfio/${name}`);
    },
  );
  expect(healthOf(session)).toEqual(['pci-0000:3b:00.0 Healthy', 'pci-0000:86:00.0 Unhealthy']);
  expect(nodesOf(session)).toEqual([0, 1]);
  const response = await session.allocate(['pci-0000:3b:00.0']);
  expect(seen(response)).toEqual(['/dev/vfio/12 rw', '/dev/vfio/vfio rw']);
  expect(response.envs.get('PCIDEVICE_EXAMPLE_COM_BOARD')).toBe('0000:3b:00.0,0000:3b:00.1');
  await machine.node('devices/virtual/vfio/30', 'vfio/30');
  await until('the other group', () => healthOf(session).includes('pci-0000:86:00.0 Healthy'));
});

test('what one entry lists another does not', async () => {
  const { session } = await serve(
    (machine) => [{ usb: '0403:6001' }, { usb: '0403:*' }, join(machine.devDir, 'ttyUSB*')],
    async (machine) => {
      await machine.plugIn('1-1', { ...FTDI, tty: 0, number: 4 });
      await machine.plugIn('1-2', { vendor: '0403', product: '6015', tty: 1, number: 5 });
    },
  );
  expect(idsOf(session)).toEqual(['usb-1-1', 'usb-1-2']);
});

test('a choice that cannot be understood is refused at once', () => {
  for (const [device, message] of [
    [{ usb: '0403' }, /"0403" does not select USB devices: expected VENDOR:PRODUCT/],
    [{ usb: '0403:60012' }, /does not select USB devices/],
    [{ pci: '10de' }, /"10de" does not select PCI devices: expected VENDOR:DEVICE/],
    [{ pci: '10de:*,class=3' }, /does not select PCI devices/],
    [{ pci: '10de:*', permissions: 'q' }, /devices\[0\]: permissions "q"/],
  ] as const) {
    expect(() => hostDevicePlugin({ resource, devices: [device] }), JSON.stringify(device)).toThrow(message);
  }
});
