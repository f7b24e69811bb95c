import { z } from 'zod';
import { oneOfEach } from './file-fields.ts';
import { simulatedResource } from './simulation-schema.ts';
import type { SimulatedResource } from './simulation-schema.ts';
import { parseYamlFile } from './yaml-file.ts';

/** Hardware that does not exist: one resource or several. */
export interface Simulation {
  readonly resources: readonly SimulatedResource[];
}

/** What a simulation file holds when it has several resources. */
export const severalResources = z
  .strictObject({ resources: z.array(simulatedResource).min(1, { error: 'names no resource' }) })
  .superRefine(oneOfEach);

/**
 * Reads a simulation file: YAML or JSON with a list `resources`, or the fields of a single resource.
 *
 * @param source name of the file, for messages
 * @throws DevmgrError CONFIG_INVALID with line and column of what cannot be used.
 */
export function parseSimulation(text: string, source: string): Simulation {
  // Without the decision here a mistake would be reported against the wrong one of the two forms.
  const single = /^\s*(\{\s*)?["']?resource["']?\s*:/m.test(text) && !/^\s*(\{\s*)?["']?resources["']?\s*:/m.test(text);
  if (single) return { resources: [parseYamlFile(text, source, simulatedResource)] };
  return parseYamlFile(text, source, severalResources);
}
