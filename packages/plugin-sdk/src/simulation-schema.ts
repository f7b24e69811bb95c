import { z } from 'zod';
import {
  absolutePath,
  cdiName,
  deviceNodeField,
  duration,
  mountField,
  resourceName,
  textValue,
  variableName,
} from './file-fields.ts';
import { deviceField, deviceId, numaNode, stepFields } from './simulation-step.ts';

const MAX_DEVICES = 1_000_000;

const timelineStep = z
  .strictObject({
    at: duration.describe("Since the plugin's first registration."),
    every: duration
      .refine((everyMs) => everyMs >= 10, { error: 'must be at least 10ms' })
      .optional()
      .describe('Repeats the step.'),
    ...stepFields,
  })
  .meta({ id: 'Step' });

const shape = {
  resource: resourceName,
  // `abort`, or else the checks of the whole would go on with a number of any size.
  count: z.number().int().min(0).max(MAX_DEVICES, { abort: true }).optional().describe('How many devices, all alike.'),
  idPrefix: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Ids of counted devices are this and a number from 0. Default: the name part of the resource and a hyphen.',
    ),
  ids: z.array(deviceId).optional().describe('Ids of the devices, instead of count.'),
  devices: z.array(deviceField).optional().describe('The devices one by one, instead of count.'),
  numaNodes: z
    .union([z.array(numaNode), numaNode.transform((nodes) => Array.from({ length: nodes }, (_, node) => node))], {
      error: 'expected a list of NUMA nodes, or how many',
    })
    .optional()
    .describe('Over which NUMA nodes counted or named devices are spread, in equal blocks: a list, or how many.'),
  env: z
    .record(variableName, textValue)
    .optional()
    .describe('Variables of containers. {ids}, {indexes}, {count} and {resource} stand for what they got.'),
  mounts: z.array(mountField).optional().describe('Mounts; with {id} or {index} in it one for each device.'),
  deviceNodes: z.array(deviceNodeField).optional().describe('Nodes; with {id} or {index} in it one for each device.'),
  annotations: z.record(z.string(), textValue).optional(),
  cdi: z.array(cdiName).optional().describe('CDI names, like vendor.com/class={id}.'),
  cdiDir: absolutePath
    .optional()
    .describe('Where to write CDI spec files for these names, like /var/run/cdi. Default: none are written.'),
  preferredAllocation: z.boolean().optional().describe('Offer GetPreferredAllocation: as few NUMA nodes as possible.'),
  preStart: z.boolean().optional().describe('Ask for PreStartContainer.'),
  timeline: z.array(timelineStep).optional().describe('What happens, and when.'),
};

type Fields = z.output<z.ZodObject<typeof shape>>;

/** One simulated resource as it is written; see `docs` for the fields. */
export const simulatedResource = z
  .strictObject(shape)
  .superRefine((fields, context) => {
    const given = (['count', 'ids', 'devices'] as const).filter((name) => fields[name] !== undefined);
    if (given.length !== 1) {
      const message = `needs exactly one of count, ids and devices, and has ${given.join(' and ') || 'none'}`;
      context.addIssue({ code: 'custom', message, path: given.length > 1 ? [given[1] ?? ''] : [] });
      return;
    }
    const known = new Set<string>();
    for (const [index, { id }] of listedDevices(fields).entries()) {
      if (known.has(id)) {
        const path = [fields.ids === undefined ? 'devices' : 'ids', index];
        context.addIssue({ code: 'custom', message: `device id ${JSON.stringify(id)} is there twice`, path });
      }
      known.add(id);
    }
    for (const { add = [], restart } of fields.timeline ?? []) {
      for (const { id } of add) known.add(id);
      if (typeof restart !== 'object') continue;
      for (let index = known.size - 1; index >= 0; index--) known.add(restart.idPrefix + String(index));
    }
    const mustBeKnown = (id: string, path: (string | number)[]): void => {
      if (!known.has(id))
        context.addIssue({ code: 'custom', message: `there is no device ${JSON.stringify(id)}`, path });
    };
    for (const [index, { health = {}, remove = [], flap }] of (fields.timeline ?? []).entries()) {
      for (const id of Object.keys(health)) mustBeKnown(id, ['timeline', index, 'health', id]);
      for (const [at, id] of remove.entries()) mustBeKnown(id, ['timeline', index, 'remove', at]);
      for (const [at, id] of (flap?.devices ?? []).entries()) {
        mustBeKnown(id, ['timeline', index, 'flap', 'devices', at]);
      }
    }
  })
  .meta({ id: 'Resource' });

/** What `simulatedPlugin` takes: the fields of a simulation file, in JavaScript. */
export type SimulatedResourceInput = z.input<typeof simulatedResource>;
/** The same, checked, with durations in milliseconds. */
export type SimulatedResource = z.output<typeof simulatedResource>;
export type TimelineStep = NonNullable<SimulatedResource['timeline']>[number];

export interface SimulatedDevice {
  readonly id: string;
  readonly health: string;
  readonly numaNodes: readonly number[];
}

/** The devices a resource starts with. */
export function listedDevices(fields: Omit<Fields, 'timeline'>): SimulatedDevice[] {
  const { devices, ids, count = 0, numaNodes = [], resource } = fields;
  if (devices !== undefined) return devices.map(completed);
  const prefix = fields.idPrefix ?? `${resource.slice(resource.indexOf('/') + 1)}-`;
  const names = ids ?? Array.from({ length: count }, (_, index) => prefix + String(index));
  return names.map((id, index) => {
    const node = numaNodes[Math.floor((index * numaNodes.length) / names.length)];
    return { id, health: 'Healthy', numaNodes: node === undefined ? [] : [node] };
  });
}

/** A device with its defaults. */
export function completed(device: {
  readonly id: string;
  readonly health?: string | undefined;
  readonly numaNodes?: readonly number[] | undefined;
}): SimulatedDevice {
  return { id: device.id, health: device.health ?? 'Healthy', numaNodes: device.numaNodes ?? [] };
}
