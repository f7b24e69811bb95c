import { DevmgrError } from '@devmgr/core';

/** Machines people ask for, as simulation files with comments: to be used as they are or to start from. */
const PRESETS: Readonly<Record<string, { readonly purpose: string; readonly text: string }>> = {
  'gpu-server-8': {
    purpose: 'eight GPUs on two NUMA nodes',
    text: `# A server with eight GPUs on two NUMA nodes.
resource: example.com/gpu
count: 8 # gpu-0 to gpu-7
numaNodes: 2 # four each
preferredAllocation: true # as few NUMA nodes as possible
env:
  VISIBLE_DEVICES: '{indexes}' # 0,1 for a container that got gpu-0 and gpu-1
  GPU_IDS: '{ids}'
deviceNodes:
  - { hostPath: /dev/null, containerPath: '/dev/gpu{index}' }
`,
  },
  mig: {
    purpose: 'two GPUs cut into slices of three sizes, a resource each',
    text: `# Two GPUs cut into slices, as MIG does it: the first into seven small ones, the second into two of middle size and
# one large. Each size is a resource; the slices of a GPU are on its NUMA node.
resources:
  - resource: example.com/mig-1g.10gb
    idPrefix: gpu-0-1g.10gb-
    count: 7
    numaNodes: [0]
    env: { VISIBLE_DEVICES: '{ids}' }
    deviceNodes: [{ hostPath: /dev/null, containerPath: '/dev/mig/{id}' }]

  - resource: example.com/mig-2g.20gb
    idPrefix: gpu-1-2g.20gb-
    count: 2
    numaNodes: [1]
    env: { VISIBLE_DEVICES: '{ids}' }
    deviceNodes: [{ hostPath: /dev/null, containerPath: '/dev/mig/{id}' }]

  - resource: example.com/mig-3g.40gb
    idPrefix: gpu-1-3g.40gb-
    count: 1
    numaNodes: [1]
    env: { VISIBLE_DEVICES: '{ids}' }
    deviceNodes: [{ hostPath: /dev/null, containerPath: '/dev/mig/{id}' }]
`,
  },
  sriov: {
    purpose: 'virtual functions of two network cards, one set for the kernel, one for VFIO',
    text: `# Virtual functions of two network cards, one on each NUMA node. A function is known by its PCI address, and
# containers are told theirs as the SR-IOV network device plugin tells them.
resources:
  - resource: example.com/sriov_net # bound to a network driver
    ids: ['0000:3b:02.0', '0000:3b:02.1', '0000:3b:02.2', '0000:3b:02.3', '0000:86:02.0', '0000:86:02.1', '0000:86:02.2', '0000:86:02.3']
    numaNodes: [0, 1]
    env: { PCIDEVICE_EXAMPLE_COM_SRIOV_NET: '{ids}' }

  - resource: example.com/sriov_vfio # bound to vfio-pci
    ids: ['0000:3b:0a.0', '0000:3b:0a.1', '0000:86:0a.0', '0000:86:0a.1']
    numaNodes: [0, 1]
    env: { PCIDEVICE_EXAMPLE_COM_SRIOV_VFIO: '{ids}' }
    deviceNodes:
      - { hostPath: /dev/null, containerPath: /dev/vfio/vfio }
      - { hostPath: /dev/null, containerPath: '/dev/vfio/{index}' }
`,
  },
  fpga: {
    purpose: 'four FPGA regions that take their time to become ready',
    text: `# A card with four FPGA regions. They are programmed one after the other, so they become healthy late, and each is
# made ready again before a container starts.
resource: example.com/fpga-region
devices:
  - { id: region-0, health: Unhealthy, numaNodes: [0] }
  - { id: region-1, health: Unhealthy, numaNodes: [0] }
  - { id: region-2, health: Unhealthy, numaNodes: [0] }
  - { id: region-3, health: Unhealthy, numaNodes: [0] }
preStart: true
env: { FPGA_REGIONS: '{indexes}' }
deviceNodes: [{ hostPath: /dev/null, containerPath: '/dev/fpga/{id}' }]
timeline: # counted from the first registration
  - { at: 0, slow: { preStart: 3s } } # a partial bitstream is written
  - { at: 3s, health: { region-0: Healthy } }
  - { at: 6s, health: { region-1: Healthy } }
  - { at: 9s, health: { region-2: Healthy } }
  - { at: 12s, health: { region-3: Healthy } }
`,
  },
};

/** Names of the presets, each with what it is, for help and completion. */
export const SIMULATION_PRESETS: readonly { readonly name: string; readonly purpose: string }[] = Object.entries(
  PRESETS,
).map(([name, { purpose }]) => ({ name, purpose }));

/** The text of a preset: a simulation file. Throws NOT_FOUND naming those there are. */
export function simulationPreset(name: string): string {
  const preset = PRESETS[name];
  if (preset !== undefined) return preset.text;
  throw new DevmgrError('NOT_FOUND', `there is no preset ${JSON.stringify(name)}`, {
    remedy: `There are ${Object.keys(PRESETS).join(', ')}.`,
  });
}
