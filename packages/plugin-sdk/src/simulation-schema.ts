import { z } from 'zod';
import {
  cdiName,
  deviceNodeField,
  duration,
  mountField,
  resourceName,
  textValue,
  variableName,
} from './file-fields.ts';

/** The calls of a simulated plugin that can be made to misbehave. */
export const SIMULATED_CALLS = ['options', 'allocate', 'preferredAllocation', 'preStart'] as const;
export type SimulatedCall = (typeof SIMULATED_CALLS)[number];

const MAX_DEVICES = 1_000_000;
const MAX_NUMA_NODES = 1_024;

const call = z.enum(SIMULATED_CALLS, { error: `expected one of ${SIMULATED_CALLS.join(', ')}` });
const calls = z.union([call.transform((one) => [one]), z.array(call)], {
  error: `expected one or a list of ${SIMULATED_CALLS.join(', ')}`,
});
const deviceId = z
  .string({ error: 'expected a device id (a string)' })
  .min(1, { error: 'a device id cannot be empty' });
const numaNode = z
  .number()
  .int()
  .min(0)
  .max(MAX_NUMA_NODES - 1);

const deviceField = z.union(
  [
    deviceId.transform((id) => ({ id })),
    z.strictObject({ id: deviceId, health: z.string().optional(), numaNodes: z.array(numaNode).optional() }),
  ],
  { error: 'expected a device id, or an object with id, health, numaNodes' },
);

const step = z.strictObject({
  /** Since the plugin's first registration. */
  at: duration,
  /** Repeats the step. */
  every: duration.refine((everyMs) => everyMs >= 10, { error: 'must be at least 10ms' }).optional(),
  health: z.record(z.string(), z.string()).optional(),
  remove: z.array(deviceId).optional(),
  add: z.array(deviceField).optional(),
  hang: calls.optional(),
  fail: z.partialRecord(call, z.string()).optional(),
  slow: z.partialRecord(call, duration).optional(),
  /** Ends hang, fail and slow. */
  calm: z.union([z.literal(true).transform(() => [...SIMULATED_CALLS]), calls]).optional(),
  endStreams: z.literal(true).optional(),
  restart: z.literal(true).optional(),
});

const shape = {
  resource: resourceName,
  // `abort`, or else the checks of the whole would go on with a number of any size.
  count: z.number().int().min(0).max(MAX_DEVICES, { abort: true }).optional(),
  /** Ids of counted devices are this and a number from 0. Default: the name part of the resource and a hyphen. */
  idPrefix: z.string().min(1).optional(),
  ids: z.array(deviceId).optional(),
  devices: z.array(deviceField).optional(),
  /** Over which NUMA nodes counted or named devices are spread, in equal blocks: a list, or how many. */
  numaNodes: z
    .union([z.array(numaNode), numaNode.transform((nodes) => Array.from({ length: nodes }, (_, node) => node))], {
      error: 'expected a list of NUMA nodes, or how many',
    })
    .optional(),
  env: z.record(variableName, textValue).optional(),
  mounts: z.array(mountField).optional(),
  deviceNodes: z.array(deviceNodeField).optional(),
  annotations: z.record(z.string(), textValue).optional(),
  cdi: z.array(cdiName).optional(),
  /** Offer GetPreferredAllocation: as few NUMA nodes as possible. */
  preferredAllocation: z.boolean().optional(),
  preStart: z.boolean().optional(),
  timeline: z.array(step).optional(),
};

type Fields = z.output<z.ZodObject<typeof shape>>;

/** One simulated resource as it is written; see `docs` for the fields. */
export const simulatedResource = z.strictObject(shape).superRefine((fields, context) => {
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
  for (const { add = [] } of fields.timeline ?? []) for (const { id } of add) known.add(id);
  const mustBeKnown = (id: string, path: (string | number)[]): void => {
    if (!known.has(id)) context.addIssue({ code: 'custom', message: `there is no device ${JSON.stringify(id)}`, path });
  };
  for (const [index, { health = {}, remove = [] }] of (fields.timeline ?? []).entries()) {
    for (const id of Object.keys(health)) mustBeKnown(id, ['timeline', index, 'health', id]);
    for (const [at, id] of remove.entries()) mustBeKnown(id, ['timeline', index, 'remove', at]);
  }
});

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
