import { openSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { RpcCode, RpcError } from '@devmgr/wire';
import { Gadget } from '../gadget.js';

/** Registers once in its life. */
class NeverAgain extends Gadget {
  async tryRegister(manager) {
    if (this.registrations === 0) await super.tryRegister(manager);
  }
}

/** Sees a new kubelet.sock, and takes the loss of its own socket for the order to be still. */
class ShyAfterLoss extends Gadget {
  async look() {
    if (this.server === undefined || (await this.isServed())) await super.look();
  }
}

/** Binds its socket once; the registration is repeated without it. */
class NeverBindsAgain extends Gadget {
  async isServed() {
    return this.server !== undefined;
  }
}

/** Sees only that its own socket is gone. */
class WatchesItself extends Gadget {
  async findManager() {
    const manager = await super.findManager();
    return this.acceptedBy !== undefined && manager !== undefined ? this.acceptedBy : manager;
  }
}

class CrashesLater extends Gadget {
  lossesOfSocket = 0;

  async serve() {
    if (this.server !== undefined) this.lossesOfSocket += 1;
    await super.serve();
  }

  async registered() {
    if (this.lossesOfSocket === 0) return;
    await delay(2_000);
    this.log('panic: send on closed channel');
    this.exit(2);
  }
}

class RefusesAfterRestart extends Gadget {
  answerFor(ids) {
    if (this.serves > 1) throw new RpcError(RpcCode.Internal, 'use of closed network connection');
    return super.answerFor(ids);
  }
}

/** Waits for a new kubelet.sock only as long as the manager holds a stream. */
class LostWithItsStream extends Gadget {
  async look() {
    const isLost = this.acceptedBy !== undefined && this.streams.size === 0 && (await this.isServed());
    if (!isLost || (await this.findManager()) === this.acceptedBy) await super.look();
  }
}

/** Has enough once there was no kubelet.sock for a while. */
class GivesUp extends Gadget {
  patienceMs = 15_000;
  lastSeenMs = Date.now();

  async look() {
    if ((await lstat(this.pathOf('kubelet.sock')).catch(() => undefined)) !== undefined) this.lastSeenMs = Date.now();
    if (this.registrations > 0 && Date.now() - this.lastSeenMs > this.patienceMs) await this.giveUp();
    await super.look();
  }

  async giveUp() {
    this.log('no kubelet');
    this.exit(1);
  }
}

class GivesUpAtOnce extends GivesUp {
  patienceMs = 500;
}

class LooksNoMore extends GivesUp {
  async giveUp() {
    while (!this.stopping) await delay(100);
  }
}

/** Takes a kubelet.sock that appears shortly after it has registered again for the one that it has registered with. */
class DeafForAWhile extends Gadget {
  deafUntilMs = 0;
  known = undefined;

  async registered() {
    if (this.registrations > 1) this.deafUntilMs = Date.now() + 4_000;
  }

  /** A call that was cut off has been accepted for all it knows. */
  refused(error) {
    super.refused(error);
    if (this.registrations > 0 && !error.message.includes('No connection established')) {
      this.deafUntilMs = Date.now() + 4_000;
    }
  }

  async look() {
    const manager = await this.findManager();
    if (manager !== undefined && Date.now() < this.deafUntilMs) this.acceptedBy = this.known = manager;
    else if (manager === undefined || manager !== this.known) await super.look();
  }
}

/** Watches the directory that was there when it started. */
class WatchesAnInode extends Gadget {
  descriptor = openSync('/var/lib/kubelet/device-plugins', 'r');

  identityOf(path) {
    return super.identityOf(path.replace('/var/lib/kubelet/device-plugins', `/proc/self/fd/${this.descriptor}`));
  }

  async isServed() {
    return this.server !== undefined && (await this.identityOf(this.server.path)) === this.ownSocket;
  }

  async serve() {
    await super.serve();
    this.ownSocket = await this.identityOf(this.server.path);
  }
}

/** A stream that waits until it is ended, without a list. */
async function* silence({ signal }) {
  while (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  yield* [];
}

class OneStreamAtATime extends Gadget {
  async *listAndWatch(context) {
    yield* this.streams.size > 0 ? silence(context) : super.listAndWatch(context);
  }
}

class OneStreamAConnectionAtATime extends Gadget {
  busy = new Set();

  async *listAndWatch(context) {
    const { connection } = context;
    if (this.busy.has(connection)) {
      yield* silence(context);
      return;
    }
    this.busy.add(connection);
    try {
      yield* super.listAndWatch(context);
    } finally {
      this.busy.delete(connection);
    }
  }
}

/** One stream a connection, ever. */
class OneStreamAConnection extends Gadget {
  used = new Set();

  async *listAndWatch(context) {
    const isUsed = this.used.has(context.connection);
    this.used.add(context.connection);
    yield* isUsed ? silence(context) : super.listAndWatch(context);
  }
}

/** The end of a stream beside others breaks the server. */
class BreaksWithAStream extends Gadget {
  broken = false;

  async serve() {
    await super.serve();
    this.broken = false;
  }

  async *listAndWatch(context) {
    if (this.broken) yield* silence(context);
    else {
      context.signal.addEventListener('abort', () => (this.broken ||= this.streams.size > 1));
      yield* super.listAndWatch(context);
    }
  }
}

export const RESTART_DEFECTS = {
  'shy-after-loss': { fails: ['restart/registers-again'], Plugin: ShyAfterLoss },
  'registers-once-in-its-life': {
    fails: ['restart/registers-again', 'restart/kubelet-sock-made-anew'],
    because: 'whatever sign there is of a new manager, it is not heeded',
    Plugin: NeverAgain,
  },
  'never-binds-again': { fails: ['restart/reachable-again'], Plugin: NeverBindsAgain },
  'registers-twice-after-restart': {
    fails: ['restart/registers-once'],
    Plugin: class extends Gadget {
      async register() {
        await Promise.all(this.registrations > 0 ? [super.register(), super.register()] : [super.register()]);
      }
    },
  },
  'new-ids-each-server': {
    fails: ['restart/same-devices'],
    Plugin: class extends Gadget {
      ids() {
        return super.ids().map((id) => `${id}-${this.serves}`);
      }

      writeCdiSpec() {
        return false;
      }
    },
  },
  'refuses-after-restart': { fails: ['restart/allocates-again'], Plugin: RefusesAfterRestart },
  'crashes-after-restart': { fails: ['restart/stays-alive'], Plugin: CrashesLater },
  'watches-its-own-socket-only': { fails: ['restart/kubelet-sock-made-anew'], Plugin: WatchesItself },
  'lost-with-its-stream': { fails: ['restart/manager-killed'], Plugin: LostWithItsStream },
  'gives-up-at-once': {
    fails: ['restart/away-one-second', 'restart/waits-out-absence'],
    because: 'who does not wait a second does not wait half a minute',
    // Without the other drills: on a busy machine kubelet.sock is away for as long in them.
    only: [
      'restart/away-one-second',
      'restart/waits-out-absence',
      'registration',
      'listing/health-strings',
      'allocation',
    ],
    Plugin: GivesUpAtOnce,
  },
  'gives-up': { fails: ['restart/waits-out-absence'], Plugin: GivesUp },
  'looks-no-more': { fails: ['restart/away-half-a-minute'], Plugin: LooksNoMore },
  'deaf-for-a-while': { fails: ['restart/two-in-a-row'], Plugin: DeafForAWhile },
  'watches-an-inode': { fails: ['restart/directory-replaced'], Plugin: WatchesAnInode },
  'one-stream-at-a-time': {
    fails: ['restart/second-stream', 'restart/kubelet-sock-made-anew', 'restart/connection-reset'],
    because: 'the stream of the old manager, or of another connection, is still open then',
    Plugin: OneStreamAtATime,
  },
  'one-stream-a-connection-at-a-time': {
    fails: ['restart/second-stream'],
    Plugin: OneStreamAConnectionAtATime,
  },
  'one-stream-a-connection': {
    fails: ['restart/stream-cut', 'restart/second-stream'],
    because: 'the next stream is silent whether the first has ended or not',
    Plugin: OneStreamAConnection,
  },
  'breaks-with-a-stream': { fails: ['restart/connection-reset'], Plugin: BreaksWithAStream },
};
