// Plugins without a defect, as different as they may be: no check may find anything.
import { join } from 'node:path';
import { setInterval } from 'node:timers';
import { bindService, pluginregistration } from '@devmgr/wire';
import { Companion, Gadget, KUBELET_DIR } from './gadget.js';

/** Offers as little as the API allows. */
class Plain extends Gadget {
  options() {
    return { preStartRequired: false, getPreferredAllocationAvailable: false };
  }

  registerRequest() {
    return { ...super.registerRequest(), options: undefined };
  }

  device(ID) {
    return { ...super.device(ID), topology: undefined };
  }

  answerFor(ids) {
    return { ...super.answerFor(ids), mounts: [], devices: [], annotations: new Map() };
  }

  writeCdiSpec() {
    return false;
  }
}

/** Two resources, a socket each. */
class TwoResources extends Gadget {
  companion = new Companion();

  async look() {
    await super.look();
    await this.companion.look();
  }

  async terminate() {
    this.stopping = this.companion.stopping = true;
    await this.companion.server?.close(200);
    await super.terminate();
  }
}

/** A device that fails and recovers all the time. */
class Flapping extends Gadget {
  failed = false;

  async start() {
    setInterval(() => {
      this.failed = !this.failed;
      this.hardwareChanged();
    }, 700).unref();
  }

  device(ID) {
    const device = super.device(ID);
    return this.failed && ID === 'gadget-0' ? { ...device, health: 'Unhealthy' } : device;
  }
}

/** More devices than any machine has. */
class Many extends Gadget {
  ids() {
    return Array.from({ length: 2_000 }, (_, index) => `gadget-${index}`);
  }
}

/** Does not call Register: a kubelet finds its socket in plugins_registry. */
class Found extends Gadget {
  pathOf(name) {
    return join(KUBELET_DIR, name === 'kubelet.sock' ? 'device-plugins' : 'plugins_registry', name);
  }

  services() {
    const registration = bindService(pluginregistration.RegistrationService, {
      getInfo: () => ({ type: 'DevicePlugin', name: this.resource, endpoint: '', supportedVersions: ['v1beta1'] }),
      notifyRegistrationStatus: ({ pluginRegistered, error }) => {
        this.log(pluginRegistered ? 'registered' : `not registered: ${error}`);
        return {};
      },
    });
    return [...super.services(), registration];
  }

  async tryRegister() {}
}

export const GOOD_PLUGINS = {
  good: Gadget,
  'good-plain': Plain,
  'good-two-resources': TwoResources,
  'good-flapping': Flapping,
  'good-many': Many,
  'good-found': Found,
};
