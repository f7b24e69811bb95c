import { deviceplugin } from '@devmgr/wire';
import { callsOf, type RecordedCall, type Recording } from './recording.ts';
import type { Difference } from './difference.ts';

const { listAndWatch } = deviceplugin.DevicePluginService;
type Device = deviceplugin.Device;

/** All lists of a recording: what devices there ever were, and in which states. */
export class RecordedLists {
  readonly #byResource = new Map<string, { readonly sets: Set<string>; readonly states: Map<string, Set<string>> }>();

  constructor(recording: Recording) {
    for (const call of callsOf(recording)) {
      if (call.method !== listAndWatch.path || call.resource === undefined) continue;
      const known = this.#byResource.get(call.resource) ?? {
        sets: new Set<string>(),
        states: new Map<string, Set<string>>(),
      };
      this.#byResource.set(call.resource, known);
      for (const devices of listsOf(call)) {
        known.sets.add(idsOf(devices));
        for (const device of devices) {
          known.states.set(device.ID, (known.states.get(device.ID) ?? new Set<string>()).add(stateOf(device)));
        }
      }
    }
  }

  /**
   * What is new about a list. Its ids have to be those of some recorded list, and each device in a state it was recorded in: when
   * hardware fails and recovers is chance, what it can be is not.
   */
  compare(resource: string, devices: readonly Device[]): readonly Difference[] {
    const known = this.#byResource.get(resource);
    if (known === undefined || known.sets.size === 0) return [];
    const differences: Difference[] = [];
    if (!known.sets.has(idsOf(devices))) {
      const [first = ''] = known.sets;
      differences.push({ what: `${resource}: devices listed`, recorded: shorten(first), now: shorten(idsOf(devices)) });
    }
    for (const device of devices) {
      const states = known.states.get(device.ID);
      if (states === undefined || states.has(stateOf(device))) continue;
      differences.push({
        what: `${resource}: device ${device.ID}`,
        recorded: [...states].join(' or '),
        now: stateOf(device),
      });
    }
    return differences.slice(0, 5);
  }
}

/** The lists of one recorded stream. */
export function listsOf(call: RecordedCall): readonly (readonly Device[])[] {
  return call.messages
    .filter(({ from }) => from === 'plugin')
    .map(({ bytes }) => listAndWatch.responseDeserialize(bytes).devices);
}

function idsOf(devices: readonly Device[]): string {
  return [...new Set(devices.map(({ ID }) => ID))].sort().join(' ');
}

function stateOf({ health, topology }: Device): string {
  const nodes = topology?.nodes.map(({ ID }) => String(ID)).join(' ') ?? '';
  return nodes === '' ? health : `${health} on NUMA node ${nodes}`;
}

function shorten(text: string): string {
  if (text === '') return 'none';
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
