import {
  containerRequests,
  NumaMachine,
  parseTopologyOptions,
  TOPOLOGY_POLICIES,
  TOPOLOGY_SCOPES,
  type Ledger,
  type NumaNode,
  type Pod,
  type ResourceHints,
} from '@devmgr/core';
import { checkedMachine } from '../../../packages/manager/src/topology/numa-machine.ts';
import { TopologyManager } from '../../../packages/manager/src/topology/topology-manager.ts';
import type { Command, ProtocolHint } from '../protocol.ts';

type HintsAnswer = Record<string, ProtocolHint[] | null>;

/** devmgr's topology manager as a `start` command asks for it. */
export class TopologyDriver {
  /** What admission goes by; undefined with the policy `none`. */
  readonly manager: TopologyManager | undefined;
  /** Answers questions about hints whatever the policy. */
  readonly #hints: TopologyManager;

  /** Throws with the kubelet's texts. (kubelet: topology manager, NewManager) */
  constructor(command: Command, ledger: Ledger) {
    const numa = command.numa === undefined || command.numa.length === 0 ? [0] : command.numa;
    const nodes: NumaNode[] = numa.map((id, index) => {
      const distances = command.distances?.[index];
      return distances === undefined ? { id } : { id, distances };
    });
    const wanted = command.policy ?? 'none';
    if (wanted === 'none') {
      const options = { preferClosestNumaNodes: false };
      const machine = new NumaMachine(nodes);
      this.#hints = new TopologyManager({ policy: 'best-effort', scope: 'container', options, machine }, ledger);
      return;
    }
    const parsed = parseTopologyOptions(new Map(Object.entries(command.options ?? {})));
    if (!parsed.ok) throw new Error(parsed.message);
    const machine = checkedMachine(nodes, parsed.options);
    const policy = TOPOLOGY_POLICIES.find((name) => name === wanted);
    if (policy === undefined || policy === 'none') throw new Error(`unknown policy: "${wanted}"`);
    const scope = TOPOLOGY_SCOPES.find((name) => name === (command.scope ?? 'container'));
    if (scope === undefined) throw new Error(`unknown scope: "${command.scope ?? ''}"`);
    this.manager = new TopologyManager({ policy, scope, options: parsed.options, machine }, ledger);
    this.#hints = this.manager;
  }

  /** Whether the policy admits a pod whose containers have their devices already. */
  admits(pod: Pod): boolean {
    const { manager } = this;
    if (manager === undefined) return true;
    if (manager.alignPod(pod)?.decision.admit === false) return false;
    return containerRequests(pod).every(
      ({ container }) => manager.alignContainer(pod, container)?.decision.admit !== false,
    );
  }

  /** Of each app container. */
  containerHints(pod: Pod): Record<string, HintsAnswer> {
    return Object.fromEntries(
      pod.spec.containers.map(({ name }) => [name, toAnswer(this.#hints.containerHints(pod, name))]),
    );
  }

  podHints(pod: Pod): HintsAnswer {
    return toAnswer(this.#hints.podHints(pod));
  }
}

function toAnswer(hints: ResourceHints): HintsAnswer {
  return Object.fromEntries(
    [...hints].map(([resource, list]) => [
      resource,
      list?.map(({ mask, preferred }) => ({
        NUMANodeAffinity: mask === null ? null : Number(mask),
        Preferred: preferred,
      })) ?? null,
    ]),
  );
}
