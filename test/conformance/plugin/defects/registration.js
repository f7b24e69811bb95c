import { lstat, rename, unlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { RpcCode, RpcError, listenUnix } from '@devmgr/wire';
import { Gadget } from '../gadget.js';

class TwoOnOneSocket extends Gadget {
  async register() {
    const another = { ...this.registerRequest(), resourceName: 'example.com/widget' };
    await Promise.all([super.register(), super.register(another)]);
  }
}

/** Its name fits the directory of the test and not the kubelet's: no system call was ever given the whole path. */
class LongName extends Gadget {
  socketName = `${'g'.repeat(71)}.sock`;
  boundName = 'gadget.sock';

  async serve() {
    await this.server?.close(0);
    this.server = await listenUnix({ path: this.pathOf(this.boundName), services: this.services() });
    await rename(this.server.path, this.pathOf(this.socketName));
    this.acceptedBy = undefined;
  }

  async isServed() {
    const file = await lstat(this.pathOf(this.socketName), { bigint: true }).catch(() => undefined);
    return file !== undefined && file.ino === this.server?.inode;
  }

  async terminate() {
    await unlink(this.pathOf(this.socketName));
    await super.terminate();
  }
}

class ServesLate extends Gadget {
  isLate = true;

  async look() {
    if (!this.isLate) return super.look();
    const manager = await this.findManager();
    if (manager === undefined) return;
    this.isLate = false;
    const registering = this.tryRegister(manager);
    await delay(500);
    await this.serve();
    await registering;
  }
}

/** Once it was refused it goes on calling, from several places at once. */
class Impatient extends Gadget {
  async tryRegister(manager) {
    await super.tryRegister(manager);
    if (this.acceptedBy === manager) return;
    const attempts = Array.from({ length: 4 }, async () => {
      while (!this.stopping && this.acceptedBy !== manager && (await this.findManager()) === manager) {
        await super.tryRegister(manager);
      }
    });
    await Promise.race(attempts);
  }

  refused() {
    this.notBeforeMs = 0;
  }
}

/** Binds its socket once, at its start, and takes it for granted until it was registered. */
class BoundOnce extends Gadget {
  async isServed() {
    return (this.server !== undefined && this.registrations === 0) || super.isServed();
  }
}

/** Its start and its watch for kubelet.sock both register once the manager is there. */
class LateTwice extends Gadget {
  async start() {
    this.isEarly = (await this.findManager()) === undefined;
  }

  async register() {
    const times = this.isEarly && this.registrations === 0 ? 2 : 1;
    await Promise.all(Array.from({ length: times }, () => super.register()));
  }
}

export const REGISTRATION_DEFECTS = {
  'never-registers': {
    fails: ['registration/registers'],
    Plugin: class extends Gadget {
      async tryRegister() {}
    },
  },
  'ends-at-once': {
    fails: ['registration/registers'],
    Plugin: class extends Gadget {
      async start() {
        this.log('no gadgets here');
        this.exit(3);
      }
    },
  },
  'alpha-version': {
    fails: ['registration/api-version'],
    Plugin: class extends Gadget {
      registerRequest() {
        return { ...super.registerRequest(), version: 'v1alpha1' };
      }
    },
  },
  'bare-resource-name': {
    fails: ['registration/resource-name'],
    Plugin: class extends Gadget {
      resource = 'gadget';
    },
  },
  'endpoint-is-a-path': {
    fails: ['registration/endpoint-is-file-name'],
    Plugin: class extends Gadget {
      registerRequest() {
        return { ...super.registerRequest(), endpoint: this.pathOf(this.socketName) };
      }
    },
  },
  'serves-late': { fails: ['registration/serves-before-register'], Plugin: ServesLate },
  'options-unimplemented': {
    fails: ['registration/options-answered'],
    Plugin: class extends Gadget {
      answerOptions() {
        throw new RpcError(RpcCode.Unimplemented, 'method GetDevicePluginOptions not implemented');
      }
    },
  },
  'options-disagree': {
    fails: ['registration/options-agree'],
    Plugin: class extends Gadget {
      answerOptions() {
        return { ...super.answerOptions(), preStartRequired: false };
      }
    },
  },
  'registers-twice': {
    fails: ['registration/once'],
    Plugin: class extends Gadget {
      async register() {
        await Promise.all(this.registrations === 0 ? [super.register(), super.register()] : [super.register()]);
      }
    },
  },
  'two-on-one-socket': { fails: ['registration/one-socket-a-resource'], Plugin: TwoOnOneSocket },
  'long-socket-name': { fails: ['registration/socket-path-fits'], Plugin: LongName },
  'address-in-use': {
    fails: ['registration/after-a-kill'],
    Plugin: class extends Gadget {
      async start() {
        if ((await this.identityOf(this.pathOf(this.socketName))) === undefined) return;
        this.log('bind: address already in use');
        this.exit(1);
      }
    },
  },
  'gives-up-when-refused': {
    fails: ['registration/tries-again'],
    Plugin: class extends Gadget {
      refused(error) {
        super.refused(error);
        if (error.code !== RpcCode.Unavailable) this.notBeforeMs = Infinity;
      }
    },
  },
  'hammers-when-refused': { fails: ['registration/patient-when-refused'], Plugin: Impatient },
  'ends-without-manager': {
    fails: ['registration/waits-for-manager'],
    Plugin: class extends Gadget {
      async start() {
        if ((await this.findManager()) === undefined) this.exit(1);
      }
    },
  },
  'bound-once': { fails: ['registration/finds-late-manager'], Plugin: BoundOnce },
  'late-and-twice': { fails: ['registration/late-manager-once'], Plugin: LateTwice },
};
