import { DevmgrError, NumaMachine, type NumaNode, type TopologyOptions } from '@devmgr/core';

/** The machine as topology policies see it. Throws CONFIG_INVALID, in the kubelet's words, when they cannot work on it. (kubelet: topology manager, NewManager) */
export function checkedMachine(nodes: readonly NumaNode[], options: TopologyOptions): NumaMachine {
  let machine: NumaMachine;
  try {
    machine = new NumaMachine(nodes);
  } catch (error) {
    throw refused(error instanceof Error ? error.message : String(error), 'NUMA nodes are numbered from 0 to 63.');
  }
  if (options.preferClosestNumaNodes && !machine.hasDistances) {
    throw refused(
      'cannot discover NUMA topology: error getting NUMA distances from cadvisor',
      'Give the distances of each node, or leave out prefer-closest-numa-nodes.',
    );
  }
  if (machine.nodes.length > options.maxAllowableNumaNodes) {
    throw refused(
      `unsupported on machines with more than ${String(options.maxAllowableNumaNodes)} NUMA Nodes`,
      'Raise max-allowable-numa-nodes, or use the topology policy none.',
    );
  }
  return machine;
}

function refused(message: string, remedy: string): DevmgrError {
  return new DevmgrError('CONFIG_INVALID', message, { remedy });
}
