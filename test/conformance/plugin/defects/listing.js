import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Gadget } from '../gadget.js';

/** A plugin that lists its first device in another way than it should. */
function listingFirst(change) {
  return class extends Gadget {
    devices() {
      const [first, ...others] = super.devices();
      return [change(first), ...others];
    }
  };
}

/** A plugin whose first device has another id. */
function namingFirst(id) {
  return class extends Gadget {
    ids() {
      return [id, ...super.ids().slice(1)];
    }

    nodes() {
      return super.nodes(['gadget']);
    }

    writeCdiSpec() {
      return false;
    }
  };
}

/** Sends something after every registration but the first, a while later: in the quiet time of the test. */
class Restless extends Gadget {
  async registered() {
    if (this.registrations > 1) setTimeout(() => this.hardwareChanged(), 1_500).unref();
  }
}

/** Once, on its first stream, it sends only what it takes for news. */
class SendsChanges extends Gadget {
  hasSent = false;

  async *listAndWatch(context) {
    if (!this.hasSent) setTimeout(() => this.hardwareChanged(), 50).unref();
    yield* super.listAndWatch(context);
  }

  changedDevices() {
    const devices = this.hasSent ? this.devices() : this.devices().slice(-1);
    this.hasSent = true;
    return devices;
  }
}

export const LISTING_DEFECTS = {
  'ends-before-first-list': {
    fails: ['listing/first-list'],
    Plugin: class extends Gadget {
      async *listAndWatch() {}
    },
  },
  'late-first-list': {
    fails: ['listing/first-list'],
    only: ['listing/first-list', 'listing/health-strings', 'allocation', 'registration'],
    Plugin: class extends Gadget {
      async *listAndWatch(context) {
        await delay(11_000);
        yield* super.listAndWatch(context);
      }
    },
  },
  'all-unhealthy': {
    fails: ['listing/has-devices'],
    Plugin: class extends Gadget {
      device(ID) {
        return { ...super.device(ID), health: 'Unhealthy' };
      }
    },
  },
  'health-in-small-letters': {
    fails: ['listing/health-strings'],
    Plugin: class extends Gadget {
      device(ID) {
        return { ...super.device(ID), health: 'healthy' };
      }
    },
  },
  'health-empty': {
    fails: ['listing/health-strings'],
    Plugin: listingFirst((device) => ({ ...device, health: '' })),
  },
  'empty-id': { fails: ['listing/ids-not-empty'], Plugin: namingFirst('') },
  'id-twice': {
    fails: ['listing/unique-ids'],
    Plugin: class extends Gadget {
      devices() {
        return [...super.devices(), this.device('gadget-1')];
      }
    },
  },
  'long-id': { fails: ['listing/id-length'], Plugin: namingFirst('g'.repeat(64)) },
  'padded-id': { fails: ['listing/id-characters'], Plugin: namingFirst('gadget 0') },
  'numa-node-minus-one': {
    fails: ['listing/numa-nodes-valid'],
    Plugin: listingFirst((device) => ({ ...device, topology: { nodes: [{ ID: -1n }] } })),
  },
  'numa-node-of-another-machine': {
    fails: ['listing/numa-nodes-exist'],
    Plugin: listingFirst((device) => ({ ...device, topology: { nodes: [{ ID: 63n }] } })),
  },
  'too-many-devices': {
    fails: ['listing/fits-a-message'],
    Plugin: class extends Gadget {
      all = Array.from({ length: 62_000 }, (_, index) => String(index).padStart(60, 'g'));

      ids() {
        return [...super.ids(), ...this.all];
      }

      writeCdiSpec() {
        return false;
      }
    },
  },
  'stream-ends': {
    fails: ['listing/stream-stays-open'],
    Plugin: class extends Gadget {
      async *listAndWatch(context) {
        yield { devices: this.devices() };
        if (this.serves > 1) await delay(2_000);
        else yield* super.listAndWatch(context);
      }
    },
  },
  'lists-what-changed': {
    fails: ['listing/whole-lists'],
    // Without the check that starts the plugin again first: the first instance has had the time to send something.
    only: ['listing', 'allocation', 'preferred', 'pre-start', 'restart', 'manners', 'hardware', 'compatibility'],
    Plugin: SendsChanges,
  },
  'repeats-its-list': { fails: ['listing/no-repeats'], Plugin: Restless },
  'new-ids-each-start': {
    fails: ['listing/stable-ids'],
    Plugin: class extends Gadget {
      token = randomUUID();

      ids() {
        return super.ids().map((id) => `${id}-${this.token}`);
      }
    },
  },
};
