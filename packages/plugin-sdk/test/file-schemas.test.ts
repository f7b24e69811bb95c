import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { expect, test } from 'vitest';
import { z } from 'zod';
import {
  SIMULATION_PRESETS,
  hostDeviceSchema,
  parseSimulation,
  simulationPreset,
  simulationSchema,
} from '@devmgr/plugin-sdk';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const read = (path: string): Promise<string> => readFile(`${root}${path}`, 'utf8');

test.each([
  ['simulation', simulationSchema],
  ['host-devices', hostDeviceSchema],
])(
  'docs/schemas/%s.schema.json is what the parser takes; `npm run generate:schemas` writes it',
  async (name, schema) => {
    expect(JSON.parse(await read(`docs/schemas/${name}.schema.json`))).toEqual(schema());
  },
);

test('the schemas take the examples and the presets, and refuse what the parsers refuse', async () => {
  const simulation = z.fromJSONSchema(simulationSchema());
  const host = z.fromJSONSchema(hostDeviceSchema());
  for (const path of [
    'simulations/gpus',
    'simulations/fpga',
    'simulations/flaky-gpus',
    'simulations/trouble',
    'plugins/gpus',
  ]) {
    const checked = simulation.safeParse(parse(await read(`examples/${path}.yaml`)));
    expect(checked.error, path).toBeUndefined();
    expect(parseSimulation(await read(`examples/${path}.yaml`), path).resources.length, path).toBeGreaterThan(0);
  }
  expect(host.safeParse(parse(await read('examples/plugins/host-devices.yaml'))).error).toBeUndefined();
  for (const { name } of SIMULATION_PRESETS) {
    expect(simulation.safeParse(parse(simulationPreset(name))).error, name).toBeUndefined();
  }
  expect(simulation.safeParse({ resource: 'example.com/gpu', cuont: 2 }).success).toBe(false);
  expect(
    simulation.safeParse({ resource: 'example.com/gpu', count: 2, timeline: [{ at: 0, hang: 'x' }] }).success,
  ).toBe(false);
  expect(
    host.safeParse({ resources: [{ resource: 'example.com/gpu', devices: [{ ubs: '0403:6001' }] }] }).success,
  ).toBe(false);
});

test.each(SIMULATION_PRESETS)('the preset $name can be simulated', ({ name, purpose }) => {
  const { resources } = parseSimulation(simulationPreset(name), name);
  expect(resources.length).toBeGreaterThan(0);
  expect(purpose).not.toBe('');
});

test('a preset that is not there is refused with those that are', () => {
  expect(() => simulationPreset('mainframe')).toThrow(
    expect.objectContaining({ code: 'NOT_FOUND', remedy: 'There are gpu-server-8, mig, sriov, fpga.' }) as Error,
  );
});
