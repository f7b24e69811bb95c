import { z } from 'zod';
import { duration } from './file-fields.ts';

/** The calls of a simulated plugin that can be made to misbehave. */
export const SIMULATED_CALLS = ['options', 'allocate', 'preferredAllocation', 'preStart'] as const;
export type SimulatedCall = (typeof SIMULATED_CALLS)[number];

/**
 * What a simulated plugin can lie about. `allocate`: answers for no container. `preferredAllocation`: ids that are not
 * available. `health`: a word nobody knows. `ids`: one device twice, and one without an id.
 */
export const LIES = ['allocate', 'preferredAllocation', 'health', 'ids'] as const;
export type Lie = (typeof LIES)[number];

const MAX_NUMA_NODES = 1_024;
const MAX_OVERSIZE_BYTES = 64 * 2 ** 20;

const call = z.enum(SIMULATED_CALLS, { error: `expected one of ${SIMULATED_CALLS.join(', ')}` });
const calls = z.union([call.transform((one) => [one]), z.array(call)], {
  error: `expected one or a list of ${SIMULATED_CALLS.join(', ')}`,
});
const lie = z.enum(LIES, { error: `expected one of ${LIES.join(', ')}` });

export const deviceId = z
  .string({ error: 'expected a device id (a string)' })
  .min(1, { error: 'a device id cannot be empty' });

export const numaNode = z
  .number()
  .int()
  .min(0)
  .max(MAX_NUMA_NODES - 1);

export const deviceField = z.union(
  [
    deviceId.transform((id) => ({ id })),
    z.strictObject({ id: deviceId, health: z.string().optional(), numaNodes: z.array(numaNode).optional() }),
  ],
  { error: 'expected a device id, or an object with id, health, numaNodes' },
);

const period = duration.refine((everyMs) => everyMs >= 10, { error: 'must be at least 10ms' });

/** `300000`, `500K`, `5M`: bytes, kibibytes, mebibytes. */
const size = z.union([z.string(), z.number()], { error: 'expected a size like 5M' }).transform((value, context) => {
  const match = /^(\d+)([KM]?)$/.exec(String(value));
  const bytes = Number(match?.[1]) * { '': 1, K: 2 ** 10, M: 2 ** 20 }[match?.[2] as '' | 'K' | 'M'];
  if (match !== null && bytes <= MAX_OVERSIZE_BYTES) return bytes;
  context.addIssue({ code: 'custom', message: `${JSON.stringify(value)} is not a size like 500K or 5M, at most 64M` });
  return z.NEVER;
});

/** What can be made to happen to a simulated resource, by a timeline or by a command. All of it happens at once. */
export const stepFields = {
  health: z.record(z.string(), z.string()).optional().describe('New health by device id: { gpu-3: Unhealthy }.'),
  remove: z.array(deviceId).optional().describe('Ids of devices that go.'),
  add: z.array(deviceField).optional().describe('Devices that come.'),
  flap: z
    .strictObject({
      devices: z.array(deviceId).min(1, { error: 'names no device' }),
      every: period.describe('How long a device stays as it is.'),
      for: duration.optional().describe('How long it goes on. Default: until calm.'),
    })
    .optional()
    .describe('Health that changes to and fro; healthy in the end.'),
  hang: calls.optional().describe('Calls that are left unanswered until calm.'),
  fail: z
    .partialRecord(call, z.string())
    .optional()
    .describe('Calls that fail, with what they say: { allocate: no power }.'),
  slow: z.partialRecord(call, duration).optional().describe('Calls that are answered late: { preStart: 3s }.'),
  flood: z
    .strictObject({
      perSecond: z.number().int().min(1).max(1_000),
      for: duration.optional().describe('How long it goes on. Default: until calm.'),
    })
    .optional()
    .describe('Sends the same list again and again.'),
  lie: z
    .union(
      [
        z.literal(true).transform(() => [...LIES]),
        lie.transform((one) => [one]),
        z.array(lie).min(1, { error: 'names no lie' }),
      ],
      {
        error: `expected true, or one or a list of ${LIES.join(', ')}`,
      },
    )
    .optional()
    .describe('Answers that contradict the question, or themselves, until calm.'),
  oversize: size
    .optional()
    .describe('Lists of at least so many bytes, e.g. 5M, by devices that are not there. 0 ends it.'),
  calm: z
    .union([z.literal(true), calls], { error: `expected true, or one or a list of ${SIMULATED_CALLS.join(', ')}` })
    .optional()
    .describe('Ends hang, fail and slow for some calls; true ends all trouble.'),
  endStreams: z.literal(true).optional().describe('Ends ListAndWatch.'),
  die: z
    .union([z.literal(true), duration], { error: 'expected true, or a duration like 3s' })
    .optional()
    .describe('Goes as a killed process does, its socket file left behind; with a duration it comes back.'),
  restart: z
    .union(
      [z.literal(true), z.strictObject({ idPrefix: z.string().min(1).describe('New ids are this and a number.') })],
      {
        error: 'expected true, or an object with idPrefix',
      },
    )
    .optional()
    .describe('Ends and comes back on a new socket, with other ids if asked for.'),
};

/** A step without its time, as a command gives it. */
export const simulatedStep = z.strictObject(stepFields).refine((step) => Object.keys(step).length > 0, {
  error: 'says nothing to do',
});

export type SimulatedStepInput = z.input<typeof simulatedStep>;
export type SimulatedStep = z.output<typeof simulatedStep>;
