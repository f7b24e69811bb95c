import { goQuote } from '../go-text.ts';

/** (kubelet: topologyManagerPolicy) */
export const TOPOLOGY_POLICIES = ['none', 'best-effort', 'restricted', 'single-numa-node'] as const;
export type TopologyPolicy = (typeof TOPOLOGY_POLICIES)[number];

/** (kubelet: topologyManagerScope) */
export const TOPOLOGY_SCOPES = ['container', 'pod'] as const;
export type TopologyScope = (typeof TOPOLOGY_SCOPES)[number];

/** More NUMA nodes than this need `max-allowable-numa-nodes`. (kubelet: topology manager) */
export const DEFAULT_MAX_NUMA_NODES = 8;

/** (kubelet: topologyManagerPolicyOptions) */
export interface TopologyOptions {
  /** Of equally wide sets of nodes the one with the shorter average distance. */
  readonly preferClosestNumaNodes: boolean;
  /** A machine with more nodes is refused. */
  readonly maxAllowableNumaNodes: number;
}

/** Reads the options by the kubelet's names and in Go's notation; what is wrong, in the kubelet's words. */
export function parseTopologyOptions(
  given: ReadonlyMap<string, string>,
): { readonly ok: true; readonly options: TopologyOptions } | { readonly ok: false; readonly message: string } {
  let preferClosestNumaNodes = false;
  let maxAllowableNumaNodes = DEFAULT_MAX_NUMA_NODES;
  for (const [name, value] of given) {
    switch (name) {
      case 'prefer-closest-numa-nodes': {
        const parsed = GO_BOOLEANS.get(value);
        if (parsed === undefined) {
          const why = `strconv.ParseBool: parsing ${goQuote(value)}: invalid syntax`;
          return { ok: false, message: `bad value for option ${goQuote(name)}: ${why}` };
        }
        preferClosestNumaNodes = parsed;
        break;
      }
      case 'max-allowable-numa-nodes': {
        const valid = /^[+-]?\d+$/.test(value);
        const parsed = Number(value);
        if (!valid || Math.abs(parsed) > 2 ** 63) {
          const why = `strconv.Atoi: parsing ${goQuote(value)}: ${valid ? 'value out of range' : 'invalid syntax'}`;
          return { ok: false, message: `unable to convert policy option to integer ${goQuote(name)}: ${why}` };
        }
        if (parsed < DEFAULT_MAX_NUMA_NODES) {
          const least = String(DEFAULT_MAX_NUMA_NODES);
          return { ok: false, message: `the minimum value of ${goQuote(name)} should not be less than ${least}` };
        }
        maxAllowableNumaNodes = parsed;
        break;
      }
      default:
        return { ok: false, message: `unknown Topology Manager Policy option: ${goQuote(name)}` };
    }
  }
  return { ok: true, options: { preferClosestNumaNodes, maxAllowableNumaNodes } };
}

/** What Go's strconv.ParseBool takes. */
const GO_BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
]);
