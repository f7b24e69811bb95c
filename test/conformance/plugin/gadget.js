// A device plugin without the SDK: what a good one does, method by method, so that a defect is another version of one of them.
import { mkdirSync, writeFileSync, writeSync } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RpcCode, RpcError, bindService, createClient, deviceplugin, listenUnix } from '@devmgr/wire';

export const KUBELET_DIR = '/var/lib/kubelet';
const PLUGIN_DIR = `${KUBELET_DIR}/device-plugins`;
/** Ids of devices that are out of reach, a line each; this is how hardware changes here. Missing: none. */
const MISSING_FILE = `${KUBELET_DIR}/missing-gadgets`;
const CDI_SPEC = '/run/cdi/gadget.example-gadget.json';
const LOOK_EVERY_MS = 100;

export class Gadget {
  resource = 'example.com/gadget';
  socketName = 'gadget.sock';
  /** Whether there is a spec of ours for the names that Allocate hands out. */
  hasCdi = false;
  /** Ids of devices that are away. */
  missing = new Set();
  /** Wakes each open stream when what is listed may have changed. */
  streams = new Set();
  server = undefined;
  /** How often what is listed may have changed. */
  changes = 0;
  /** How often the socket was served. */
  serves = 0;
  /** How often a manager accepted the plugin. */
  registrations = 0;
  /** The kubelet.sock that accepted it. */
  acceptedBy = undefined;
  notBeforeMs = 0;
  stopping = false;

  // The life of the plugin.

  async run() {
    process.on('SIGTERM', () => void this.terminate());
    this.log('starting');
    this.hasCdi = this.writeCdiSpec();
    await this.start();
    while (!this.stopping) {
      // The directory may be away for a moment.
      await this.look().catch((error) => this.log(error.message));
      await delay(LOOK_EVERY_MS);
    }
  }

  /** Before anything is served. */
  async start() {}

  /** Compares what is with what should be. */
  async look() {
    await this.lookAtHardware();
    const isServed = await this.isServed();
    if (this.stopping) return;
    if (!isServed) await this.serve();
    const manager = await this.findManager();
    if (manager === undefined || manager === this.acceptedBy || Date.now() < this.notBeforeMs) return;
    await this.tryRegister(manager);
  }

  async tryRegister(manager) {
    try {
      await this.register();
      this.acceptedBy = manager;
      this.registrations += 1;
      this.log('registered');
      await this.registered();
    } catch (error) {
      this.log(`not registered: ${error.message}`);
      this.refused(error);
    }
  }

  /** After a registration that was accepted. */
  async registered() {}

  /** After one that was not, for whatever reason. */
  refused(_error) {
    this.notBeforeMs = Date.now() + 1_000;
  }

  async terminate() {
    this.stopping = true;
    await this.server?.close(200);
    this.exit(0);
  }

  exit(code) {
    process.exit(code);
  }

  log(text) {
    try {
      writeSync(2, `${text}\n`);
    } catch {
      // A full or closed pipe.
    }
  }

  // Its socket and the manager's.

  pathOf(name) {
    return join(PLUGIN_DIR, name);
  }

  /** Tells a socket from the next at the same path; undefined when there is none. */
  async identityOf(path) {
    const file = await lstat(path, { bigint: true }).catch(() => undefined);
    return file?.isSocket() === true ? `${file.ino} ${file.mtimeNs}` : undefined;
  }

  findManager() {
    return this.identityOf(this.pathOf('kubelet.sock'));
  }

  async isServed() {
    if (this.server === undefined) return false;
    const file = await lstat(this.server.path, { bigint: true }).catch(() => undefined);
    return file?.ino === this.server.inode;
  }

  async serve() {
    await this.server?.close(0);
    this.server = await listenUnix({ path: this.pathOf(this.socketName), services: this.services() });
    this.serves += 1;
    this.acceptedBy = undefined;
  }

  services() {
    return [bindService(this.service(), this.handlers())];
  }

  service() {
    return deviceplugin.DevicePluginService;
  }

  handlers() {
    return {
      getDevicePluginOptions: (_request, context) => this.answerOptions(context),
      listAndWatch: (_request, context) => this.listAndWatch(context),
      allocate: (request, context) => this.allocate(request, context),
      getPreferredAllocation: ({ containerRequests }) => ({
        containerResponses: containerRequests.map((container) => ({ deviceIDs: this.prefer(container) })),
      }),
      preStartContainer: async ({ devicesIds }) => {
        await this.preStart(devicesIds);
        return {};
      },
    };
  }

  // Registration.

  options() {
    return { preStartRequired: true, getPreferredAllocationAvailable: true };
  }

  answerOptions() {
    return this.options();
  }

  registerRequest() {
    return {
      version: 'v1beta1',
      endpoint: this.socketName,
      resourceName: this.resource,
      options: this.options(),
    };
  }

  async register(request = this.registerRequest(), timeoutMs = 30_000) {
    const client = createClient(deviceplugin.RegistrationService, this.pathOf('kubelet.sock'));
    try {
      await client.register(request, { timeoutMs });
    } finally {
      client.close();
    }
  }

  // Devices.

  ids() {
    return ['gadget-0', 'gadget-1', 'gadget-2', 'gadget-3'];
  }

  /** Also under a longer name that some defects give it. */
  isMissing(id) {
    return this.missing.has(id) || this.missing.has(id.split('-').slice(0, 2).join('-'));
  }

  device(ID) {
    return { ID, health: this.isMissing(ID) ? 'Unhealthy' : 'Healthy', topology: { nodes: [{ ID: 0n }] } };
  }

  devices() {
    return this.ids().map((id) => this.device(id));
  }

  async lookAtHardware() {
    const text = await readFile(MISSING_FILE, 'utf8').catch(() => '');
    const missing = new Set(text.split('\n').filter((line) => line !== ''));
    if (missing.size === this.missing.size && [...missing].every((id) => this.missing.has(id))) return;
    this.missing = missing;
    this.hardwareChanged();
  }

  hardwareChanged() {
    this.changes += 1;
    for (const wake of this.streams) wake();
  }

  async *listAndWatch(context) {
    let wake = () => undefined;
    const notify = () => wake();
    const ended = new Promise((resolve) => context.signal.addEventListener('abort', resolve));
    this.streams.add(notify);
    try {
      let told = this.changes;
      yield { devices: this.devices() };
      while (!context.signal.aborted) {
        if (told === this.changes) {
          await Promise.race([new Promise((resolve) => (wake = resolve)), ended]);
          continue;
        }
        told = this.changes;
        yield { devices: this.changedDevices() };
      }
    } finally {
      this.streams.delete(notify);
    }
  }

  /** What is sent when something has changed. */
  changedDevices() {
    return this.devices();
  }

  // Allocation.

  async allocate({ containerRequests }) {
    return { containerResponses: containerRequests.map(({ devicesIds }) => this.answerFor(devicesIds)) };
  }

  answerFor(ids) {
    for (const id of ids) if (!this.ids().includes(id)) throw new RpcError(RpcCode.NotFound, `no device ${id}`);
    return {
      envs: this.envs(ids),
      mounts: this.mounts(ids),
      devices: this.nodes(ids),
      annotations: this.annotations(ids),
      cdiDevices: this.hasCdi ? this.cdiNames(ids).map((name) => ({ name })) : [],
    };
  }

  envs(ids) {
    return new Map([['GADGETS', ids.join(',')]]);
  }

  mounts() {
    return [{ hostPath: '/usr/share', containerPath: '/opt/gadget', readOnly: true }];
  }

  nodes(ids) {
    return ids.map((id) => ({ hostPath: '/dev/null', containerPath: `/dev/${id}`, permissions: 'rw' }));
  }

  annotations(ids) {
    return new Map([['gadget.example/ids', ids.join(',')]]);
  }

  cdiNames(ids) {
    return ids.map((id) => `gadget.example/gadget=${id}`);
  }

  cdiSpec() {
    const devices = this.ids().map((name) => ({ name, containerEdits: { env: [`GADGET_CDI=${name}`] } }));
    return { cdiVersion: '0.6.0', kind: 'gadget.example/gadget', devices };
  }

  /** Writes the spec where this process and its observers see it, and nobody else on the machine. False where that cannot be. */
  writeCdiSpec() {
    const { status } = spawnSync('mount', ['-n', '-t', 'tmpfs', '-o', 'mode=0755', 'gadget', '/run']);
    if (status !== 0) return false;
    mkdirSync('/run/cdi');
    writeFileSync(CDI_SPEC, JSON.stringify(this.cdiSpec()));
    return true;
  }

  prefer({ availableDeviceIDs, mustIncludeDeviceIDs, allocationSize }) {
    const others = availableDeviceIDs.filter((id) => !mustIncludeDeviceIDs.includes(id));
    if (availableDeviceIDs.length < allocationSize) throw new RpcError(RpcCode.InvalidArgument, 'not so many devices');
    return [...mustIncludeDeviceIDs, ...others].slice(0, allocationSize);
  }

  async preStart(ids) {
    for (const id of ids) if (!this.ids().includes(id)) throw new RpcError(RpcCode.NotFound, `no device ${id}`);
  }
}

/** A second resource of the same process; its life is the first one's. */
export class Companion extends Gadget {
  resource = 'example.com/widget';
  socketName = 'widget.sock';

  ids() {
    return ['widget-0', 'widget-1'];
  }

  writeCdiSpec() {
    return false;
  }
}
