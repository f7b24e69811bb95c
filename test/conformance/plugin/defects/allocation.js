import { setTimeout as delay } from 'node:timers/promises';
import { RpcCode, RpcError } from '@devmgr/wire';
import { Gadget } from '../gadget.js';

const refusal = (text) => new RpcError(RpcCode.FailedPrecondition, text);

/** A plugin whose containers get something else than they should. */
function answering(change) {
  return class extends Gadget {
    answerFor(ids) {
      const answer = super.answerFor(ids);
      return { ...answer, ...change(answer, ids) };
    }
  };
}

const node = { hostPath: '/dev/null', containerPath: '/dev/gadget', permissions: 'rw' };
const mount = { hostPath: '/usr/share', containerPath: '/opt/gadget', readOnly: true };

class KeepsBooks extends Gadget {
  given = new Set();

  answerFor(ids) {
    const answer = super.answerFor(ids);
    for (const id of ids) if (this.given.has(id)) throw refusal(`${id} is allocated already`);
    for (const id of ids) this.given.add(id);
    return answer;
  }
}

class OneAtATime extends Gadget {
  busy = false;

  async allocate(request) {
    if (this.busy) throw refusal('busy');
    this.busy = true;
    await delay(50);
    this.busy = false;
    return super.allocate(request);
  }
}

/** What a container gets is kept in one place for all containers of a call. */
class SharedAnswer extends Gadget {
  async allocate(request) {
    const { containerResponses } = await super.allocate(request);
    return { containerResponses: containerResponses.map(() => containerResponses.at(-1)) };
  }
}

class SlowOnce extends Gadget {
  warm = false;

  async allocate(request) {
    if (!this.warm) await delay(11_000);
    this.warm = true;
    return super.allocate(request);
  }
}

export const ALLOCATION_DEFECTS = {
  'refuses-one-device': {
    fails: ['allocation/every-id'],
    Plugin: class extends Gadget {
      answerFor(ids) {
        if (ids.includes('gadget-2')) throw refusal('gadget-2 is not initialised');
        return super.answerFor(ids);
      }
    },
  },
  'crashes-over-one-device': {
    fails: ['allocation/every-id'],
    Plugin: class extends Gadget {
      answerFor(ids) {
        if (ids.includes('gadget-2')) throw this.exit(2);
        return super.answerFor(ids);
      }
    },
  },
  'refuses-several': {
    fails: ['allocation/several-ids'],
    Plugin: class extends Gadget {
      answerFor(ids) {
        if (ids.length > 1) throw refusal('one device a container');
        return super.answerFor(ids);
      }
    },
  },
  'keeps-books': { fails: ['allocation/again'], Plugin: KeepsBooks },
  'one-answer-too-many': {
    fails: ['allocation/one-answer-a-container'],
    Plugin: class extends Gadget {
      async allocate(request) {
        const { containerResponses } = await super.allocate(request);
        const [first, ...others] = containerResponses;
        return { containerResponses: others.length > 0 ? containerResponses : [first, first] };
      }
    },
  },
  'answers-for-no-container': {
    fails: ['allocation/one-answer-a-container', 'allocation/two-containers'],
    because: 'two containers get no answer either',
    Plugin: class extends Gadget {
      async allocate(request) {
        await super.allocate(request);
        return { containerResponses: [] };
      }
    },
  },
  'shared-answer': { fails: ['allocation/two-containers'], Plugin: SharedAnswer },
  'accepts-any-id': {
    fails: ['allocation/unknown-id'],
    Plugin: class extends Gadget {
      async allocate({ containerRequests }) {
        const known = containerRequests.map(({ devicesIds }) => ({
          devicesIds: devicesIds.filter((id) => this.ids().includes(id)),
        }));
        return super.allocate({ containerRequests: known });
      }
    },
  },
  'one-call-at-a-time': { fails: ['allocation/concurrent'], Plugin: OneAtATime },
  'slow-allocate': { fails: ['allocation/in-time'], Plugin: SlowOnce },
  'relative-device-path': {
    fails: ['allocation/device-paths-absolute'],
    Plugin: answering(() => ({ devices: [{ ...node, containerPath: 'dev/gadget' }] })),
  },
  'missing-device-node': {
    fails: ['allocation/device-nodes-exist'],
    Plugin: answering(() => ({ devices: [{ ...node, hostPath: '/dev/no-such-gadget' }] })),
  },
  'file-as-device-node': {
    fails: ['allocation/device-nodes-are-devices'],
    Plugin: answering(() => ({ devices: [{ ...node, hostPath: '/etc/passwd' }] })),
  },
  'execute-permission': {
    fails: ['allocation/device-permissions'],
    Plugin: answering(() => ({ devices: [{ ...node, permissions: 'rx' }] })),
  },
  'no-permission': {
    fails: ['allocation/device-permissions'],
    Plugin: answering(() => ({ devices: [{ ...node, permissions: '' }] })),
  },
  'relative-mount-path': {
    fails: ['allocation/mount-paths-absolute'],
    Plugin: answering(() => ({ mounts: [{ ...mount, containerPath: 'gadget' }] })),
  },
  'missing-mount': {
    fails: ['allocation/mounts-exist'],
    Plugin: answering(() => ({ mounts: [{ ...mount, hostPath: '/usr/share/no-such-gadget' }] })),
  },
  'two-at-one-path': {
    fails: ['allocation/no-path-twice'],
    Plugin: answering(() => ({ mounts: [mount, { ...mount, hostPath: '/usr' }] })),
  },
  'equals-sign-in-name': {
    fails: ['allocation/environment-names'],
    Plugin: answering(() => ({ envs: new Map([['GADGET=ID', '0']]) })),
  },
  'hyphen-in-name': {
    fails: ['allocation/environment-names-portable'],
    Plugin: answering(() => ({ envs: new Map([['GADGET-0', 'yes']]) })),
  },
  'annotation-with-blanks': {
    fails: ['allocation/annotation-keys'],
    Plugin: answering(() => ({ annotations: new Map([['my gadget', '0']]) })),
  },
  'bare-cdi-name': {
    fails: ['allocation/cdi-names'],
    Plugin: class extends Gadget {
      cdiNames(ids) {
        return ids;
      }
    },
  },
  'cdi-device-nowhere-defined': {
    fails: ['allocation/cdi-spec-exists'],
    Plugin: class extends Gadget {
      cdiNames() {
        return ['gadget.example/gadget=another'];
      }
    },
  },
  'cdi-spec-without-edits': {
    fails: ['allocation/cdi-spec-valid'],
    Plugin: class extends Gadget {
      cdiSpec() {
        const { devices, ...spec } = super.cdiSpec();
        return { ...spec, devices: devices.map(({ name }) => ({ name })) };
      }
    },
  },
};
