import { Gadget } from '../gadget.js';

class Blind extends Gadget {
  async lookAtHardware() {}
}

class TellsOnlyTheLost extends Gadget {
  changedDevices() {
    const lost = this.devices().filter(({ ID }) => this.missing.has(ID));
    return lost.length > 0 ? lost : this.devices();
  }
}

class ForgetsTheLost extends Gadget {
  lost = new Set();

  device(ID) {
    if (this.missing.has(ID)) this.lost.add(ID);
    return this.lost.has(ID) ? { ...super.device(ID), health: 'Unhealthy' } : super.device(ID);
  }
}

/** Counts what comes instead of knowing it. */
class CountsUp extends Gadget {
  names = new Map();

  ids() {
    return super.ids().map((id) => this.names.get(id) ?? id);
  }

  devices() {
    for (const id of this.missing) this.names.set(id, `${id}-again`);
    return super.ids().flatMap((id) => (this.missing.has(id) ? [] : [super.device(this.names.get(id) ?? id)]));
  }
}

export const HARDWARE_DEFECTS = {
  'does-not-see-removals': { fails: ['hardware/removal-is-told'], Plugin: Blind },
  'tells-only-the-lost': { fails: ['hardware/others-stay'], Plugin: TellsOnlyTheLost },
  'forgets-the-lost': { fails: ['hardware/return-is-told'], Plugin: ForgetsTheLost },
  'counts-up': { fails: ['hardware/same-id'], Plugin: CountsUp },
};
