import { setTimeout as delay } from 'node:timers/promises';
import { RpcCode, RpcError } from '@devmgr/wire';
import { Gadget } from '../gadget.js';

function preferring(prefer) {
  return class extends Gadget {
    prefer(request) {
      return prefer(request, (other) => super.prefer(other));
    }
  };
}

class PreparesOnce extends Gadget {
  prepared = new Set();

  async preStart(ids) {
    await super.preStart(ids);
    const key = ids.join(' ');
    if (this.prepared.has(key)) throw new RpcError(RpcCode.AlreadyExists, `${key} was prepared already`);
    this.prepared.add(key);
  }
}

export const PREFERENCE_DEFECTS = {
  'no-preference-around-others': {
    fails: ['preferred/answers'],
    Plugin: preferring((request, prefer) => {
      if (request.mustIncludeDeviceIDs.length > 0) throw new RpcError(RpcCode.Internal, 'cannot include');
      return prefer(request);
    }),
  },
  'prefers-too-few': {
    fails: ['preferred/size'],
    Plugin: preferring((request, prefer) => {
      const ids = prefer(request);
      return ids.length > 1 ? ids.slice(0, -1) : ids;
    }),
  },
  'prefers-what-is-taken': {
    fails: ['preferred/subset'],
    Plugin: preferring((request, prefer) => {
      const ids = prefer(request);
      return ids.length > 1 ? [...ids.slice(0, -1), 'gadget-9'] : ids;
    }),
  },
  'leaves-out-what-must-be': {
    fails: ['preferred/must-include'],
    Plugin: preferring((request, prefer) => prefer({ ...request, mustIncludeDeviceIDs: [] })),
  },
  'prefers-one-twice': {
    fails: ['preferred/no-id-twice'],
    Plugin: preferring((request, prefer) => {
      const ids = prefer(request);
      return ids.length > 1 ? [...ids.slice(0, -1), ids[0]] : ids;
    }),
  },
  'prefers-beyond-the-end': {
    fails: ['preferred/more-than-there-are'],
    Plugin: class extends Gadget {
      prefer(request) {
        if (request.availableDeviceIDs.length < request.allocationSize) throw this.exit(2);
        return super.prefer(request);
      }
    },
  },
  'refuses-to-prepare': {
    fails: ['pre-start/answers'],
    Plugin: class extends Gadget {
      async preStart(ids) {
        if (ids.length > 1) throw new RpcError(RpcCode.Internal, 'one device at a time');
      }
    },
  },
  'prepares-once': { fails: ['pre-start/again'], Plugin: PreparesOnce },
  'prepares-for-ever': {
    fails: ['pre-start/in-time'],
    Plugin: class extends Gadget {
      async preStart(ids) {
        if (ids.length > 1) await delay(60_000, undefined, { ref: false });
      }
    },
  },
};
