import { Buffer } from 'node:buffer';
import { openSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Gadget } from '../gadget.js';

/** Longer than the test looks. */
const TIME_MS = 8_000;

/** Keeps threads busy for a while: several, so that it shows on a busy machine. */
function spin(ms) {
  const code = 'const end = Date.now() + require("node:worker_threads").workerData; while (Date.now() < end);';
  for (let thread = 0; thread < 3; thread += 1) new Worker(code, { eval: true, workerData: ms }).unref();
}

/** Does something while it has nothing to do, after the second registration: in the quiet time of the test. */
function afterRestart(act) {
  return class extends Gadget {
    async registered() {
      if (this.registrations === 2) act(this);
    }
  };
}

/** Does something when there is no manager. */
function withoutManager(act) {
  return class extends Gadget {
    async look() {
      const wasThere = this.isThere;
      this.isThere = (await this.findManager()) !== undefined;
      if (this.registrations > 0 && wasThere && !this.isThere) act(this);
      await super.look();
    }
  };
}

async function flood(plugin, until) {
  while (!plugin.stopping && !until()) {
    for (let line = 0; line < 20; line += 1) plugin.log('still here');
    await delay(100);
  }
}

class KeepsAFileOpen extends Gadget {
  async registered() {
    openSync('/dev/null', 'r');
  }
}

class KeepsMemory extends Gadget {
  kept = [];

  async registered() {
    this.kept.push(Buffer.alloc(3 * 1024 * 1024, 1));
  }
}

/** Some seconds after its first stream was opened. */
class EndsByItself extends Gadget {
  async *listAndWatch(context) {
    setTimeout(() => this.exit(0), 4_000);
    yield* super.listAndWatch(context);
  }
}

export const MANNERS_DEFECTS = {
  'leaves-a-file': {
    fails: ['manners/no-other-files'],
    Plugin: class extends Gadget {
      async start() {
        writeFileSync(this.pathOf('gadget.lock'), '');
      }
    },
  },
  'busy-when-idle': { fails: ['manners/idle-processor'], Plugin: afterRestart(() => spin(TIME_MS)) },
  'chatty-when-idle': {
    fails: ['manners/idle-log'],
    Plugin: afterRestart((plugin) => {
      const end = Date.now() + TIME_MS;
      void flood(plugin, () => Date.now() > end);
    }),
  },
  'busy-without-manager': {
    fails: ['manners/waiting-processor'],
    only: ['manners/waiting-processor', 'restart/away-half-a-minute', 'registration/registers'],
    Plugin: withoutManager(() => spin(31_000)),
  },
  'chatty-without-manager': {
    fails: ['manners/waiting-log'],
    Plugin: withoutManager((plugin) => void flood(plugin, () => plugin.isThere)),
  },
  'keeps-a-file-open': { fails: ['manners/descriptors'], Plugin: KeepsAFileOpen },
  'keeps-memory': { fails: ['manners/memory'], Plugin: KeepsMemory },
  'ends-by-itself': {
    fails: ['manners/stays-up'],
    only: ['registration/registers', 'manners/stays-up', 'manners/sigterm'],
    untilEnd: true,
    Plugin: EndsByItself,
  },
  'ignores-sigterm': {
    fails: ['manners/sigterm', 'manners/sigterm-while-waiting'],
    because: 'it ignores the signal in every state',
    Plugin: class extends Gadget {
      async terminate() {}
    },
  },
  'ends-slowly': {
    fails: ['manners/ends-promptly'],
    Plugin: class extends Gadget {
      async terminate() {
        await delay(11_000);
        await super.terminate();
      }
    },
  },
  'ends-with-an-error': {
    fails: ['manners/exit-code'],
    Plugin: class extends Gadget {
      exit() {
        super.exit(1);
      }
    },
  },
  'leaves-its-socket': {
    fails: ['manners/removes-its-socket'],
    Plugin: class extends Gadget {
      async terminate() {
        this.exit(0);
      }
    },
  },
  'floods-at-its-end': {
    fails: ['manners/last-words'],
    Plugin: class extends Gadget {
      async terminate() {
        for (let line = 0; line < 2_000; line += 1) this.log('event channel closed');
        await super.terminate();
      }
    },
  },
  'ignores-sigterm-while-waiting': {
    fails: ['manners/sigterm-while-waiting'],
    Plugin: class extends Gadget {
      async terminate() {
        if ((await this.findManager()) !== undefined) await super.terminate();
      }
    },
  },
};
