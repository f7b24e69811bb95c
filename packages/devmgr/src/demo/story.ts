import type { Node } from '@devmgr/core';
import type { SimulatedPlugin } from '@devmgr/plugin-sdk';
import { podStatusWord } from '../output/pod-status.ts';
import { withProgress } from '../progress.ts';
import { until } from '../until.ts';
import { waitForPod, type PodCondition } from '../wait-for-pod.ts';
import { exampleFile } from './example-files.ts';
import type { Narrator } from './narrator.ts';
import { FPGA_RESOURCE, GPU_RESOURCE, HOST_DEVICES, HOST_RESOURCE, type Stage } from './stage.ts';

/** How long anything in the story may take on a slow machine. */
const STEP_TIMEOUT_MS = 30_000;
const SICK_GPU = 'gpu-5';

/** Tells the whole story once. Rejects when a step does not come out as it should: the demo is a test too. */
export async function tellStory(narrator: Narrator, stage: Stage): Promise<void> {
  const gpus = await plugins(narrator, stage);
  await devicesForAPod(narrator, stage);
  await tooMany(narrator, stage);
  await latePlugin(narrator, stage);
  await illHealth(narrator, stage, gpus);
}

async function plugins(narrator: Narrator, stage: Stage): Promise<SimulatedPlugin> {
  await narrator.chapter('A device manager, and two device plugins that register with it');
  narrator.show('devmgr start --expect example.com/fpga &');
  narrator.show(`devmgr plugin host ${HOST_DEVICES.map((path) => `--device ${path}`).join(' ')} &`);
  stage.hostDevices();
  narrator.show(`devmgr simulate -f ${exampleFile('simulations/gpus.yaml')} &`);
  const [gpus] = await stage.simulate('simulations/gpus.yaml');
  if (gpus === undefined) throw new Error('examples/simulations/gpus.yaml names no resource');
  await until('both plugins list their devices', STEP_TIMEOUT_MS, async () => {
    const resources = await stage.api.resources();
    return [GPU_RESOURCE, HOST_RESOURCE].every((name) =>
      resources.some((resource) => resource.name === name && resource.healthy > 0),
    );
  });
  await succeed(narrator, 'get', 'resources');
  await narrator.pause();
  await succeed(narrator, 'get', 'devices', GPU_RESOURCE);
  return gpus;
}

async function devicesForAPod(narrator: Narrator, stage: Stage): Promise<void> {
  await narrator.chapter('A pod asks for two GPUs and a device node, and gets them, the GPUs on one NUMA node');
  await succeed(narrator, 'apply', '-f', exampleFile('pods/gpu-pair.yaml'));
  await comesTo(stage, 'gpu-pair', { type: 'running' });
  await until('the pod has said what it got', STEP_TIMEOUT_MS, () => hasWritten(stage, 'gpu-pair', 2));
  await succeed(narrator, 'get', 'pods', '-o', 'wide');
  narrator.say('Its environment, as it printed it:');
  await succeed(narrator, 'logs', 'gpu-pair');
}

async function tooMany(narrator: Narrator, stage: Stage): Promise<void> {
  await narrator.chapter('A pod asks for twenty GPUs: refused, and told why');
  await succeed(narrator, 'apply', '-f', exampleFile('pods/too-many-gpus.yaml'));
  await comesTo(stage, 'too-many-gpus', { type: 'failed' });
  await succeed(narrator, 'get', 'pod', 'too-many-gpus');
  const pod = await stage.api.getPod('default', 'too-many-gpus');
  narrator.show(`devmgr describe pod too-many-gpus | grep Message`);
  narrator.say(`Message: ${pod.status?.message ?? ''}`);
}

async function latePlugin(narrator: Narrator, stage: Stage): Promise<void> {
  await narrator.chapter('A pod asks for a device whose plugin is not there yet: it waits');
  await succeed(narrator, 'apply', '-f', exampleFile('pods/waits-for-fpga.yaml'));
  await until('the pod waits', STEP_TIMEOUT_MS, async () =>
    podStatusWord(await stage.api.getPod('default', 'waits-for-fpga')).startsWith('Waiting'),
  );
  await succeed(narrator, 'get', 'pod', 'waits-for-fpga');
  await narrator.pause();
  narrator.say(`The plugin for ${FPGA_RESOURCE} comes:`);
  narrator.show(`devmgr simulate -f ${exampleFile('simulations/fpga.yaml')} &`);
  await stage.simulate('simulations/fpga.yaml');
  await comesTo(stage, 'waits-for-fpga', { type: 'succeeded' });
  await succeed(narrator, 'logs', 'waits-for-fpga');
  await succeed(narrator, 'get', 'pods');
}

async function illHealth(narrator: Narrator, stage: Stage, gpus: SimulatedPlugin): Promise<void> {
  await narrator.chapter(`${SICK_GPU} falls ill, and recovers: the node says so each time`);
  await succeed(narrator, 'get', 'node', '-o', 'wide');
  await narrator.pause();
  narrator.say(`${SICK_GPU} becomes unhealthy:`);
  gpus.setHealth(SICK_GPU, 'Unhealthy');
  await allocatable(stage, 7);
  await succeed(narrator, 'get', 'node', '-o', 'wide', '--no-headers');
  await succeed(narrator, 'get', 'devices', SICK_GPU);
  await narrator.pause();
  narrator.say(`${SICK_GPU} is well again:`);
  gpus.setHealth(SICK_GPU, 'Healthy');
  await allocatable(stage, 8);
  await succeed(narrator, 'get', 'node', '-o', 'wide', '--no-headers');
  await narrator.pause();
}

async function succeed(narrator: Narrator, ...words: string[]): Promise<void> {
  const exitCode = await narrator.run(words);
  if (exitCode !== 0) throw new Error(`"devmgr ${words.join(' ')}" ended with ${String(exitCode)}`);
}

async function comesTo(stage: Stage, name: string, condition: PodCondition): Promise<void> {
  await withProgress(`waiting until pod "${name}" is ${condition.type}`, () =>
    waitForPod(stage.api, 'default', name, { condition, timeoutMs: STEP_TIMEOUT_MS }),
  );
}

async function allocatable(stage: Stage, count: number): Promise<void> {
  await until(`the node has ${String(count)} allocatable GPUs`, STEP_TIMEOUT_MS, async () => {
    const nodes = await stage.api.listNodes();
    return nodes.items.some((node: Node) => node.status.allocatable[GPU_RESOURCE] === String(count));
  });
}

async function hasWritten(stage: Stage, name: string, lines: number): Promise<boolean> {
  const options = { follow: false, previous: false, signal: AbortSignal.timeout(STEP_TIMEOUT_MS) };
  let text = '';
  for await (const chunk of stage.api.podLogs('default', name, options)) text += Buffer.from(chunk).toString('utf8');
  return text.split('\n').length > lines;
}
