import { z } from 'zod';
import { hostDeviceFile } from './host-device-file.ts';
import { severalResources } from './simulation-file.ts';
import { simulatedResource } from './simulation-schema.ts';

/**
 * JSON Schemas for editors, made from what the parsers use. They say less than the parsers check: that an id is known
 * or a duration is one is not in them.
 */
export function simulationSchema(): Record<string, unknown> {
  // Two forms: a list of resources, or the fields of one.
  return toSchema(
    z.union([severalResources, simulatedResource]),
    'simulation',
    'Simulated hardware, for devmgr simulate.',
  );
}

export function hostDeviceSchema(): Record<string, unknown> {
  return toSchema(hostDeviceFile, 'host-devices', 'Devices of this machine, for devmgr plugin host.');
}

function toSchema(schema: z.ZodType, name: string, description: string): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return { $schema, title: name, description, ...rest };
}
