import { checkResourceName } from '@devmgr/core';
import { z } from 'zod';
import { cdiDevice, checkPermissions } from './container-response.ts';
import { parseDuration } from './duration.ts';
import { messageOf } from './plugin-log.ts';

/** Fields that several files have in common. */

export const resourceName = z
  .string()
  .superRefine((name, context) => {
    const check = checkResourceName(name);
    if (!check.ok)
      context.addIssue({ code: 'custom', message: `${check.message} (expected something like example.com/gpu)` });
  })
  .describe('Extended resource, like example.com/gpu.');

export const duration = z
  .union([z.string(), z.number()], { error: 'expected a duration like 250ms, 3s or 1.5m' })
  .transform((value, context) => {
    const durationMs = parseDuration(value);
    if (durationMs === undefined) {
      context.addIssue({
        code: 'custom',
        message: `${JSON.stringify(value)} is not a duration like 250ms, 3s or 1.5m`,
      });
      return z.NEVER;
    }
    return durationMs;
  });

export const absolutePath = z.string().startsWith('/', { error: 'expected an absolute path' });

export const permissions = z
  .string()
  .superRefine(
    accepts((value) => {
      checkPermissions('permissions', value);
    }),
  )
  .describe('Combination of r, w and m (mknod). Default: rw.');

export const cdiName = z.string().superRefine(accepts((value) => cdiDevice(value.replaceAll(/\{(id|index)\}/g, '0'))));

/** Text for a variable: numbers and booleans are taken as they are written in YAML's plain form. */
export const textValue = z
  .union([z.string(), z.number(), z.boolean()], { error: 'expected a string' })
  .transform((value) => String(value));

export const variableName = z.string().regex(/^[^=\0]+$/, { error: 'cannot be the name of an environment variable' });

export const mountField = z.strictObject({
  hostPath: absolutePath,
  containerPath: absolutePath.optional(),
  readOnly: z.boolean().optional(),
});

export const deviceNodeField = z.strictObject({
  hostPath: absolutePath,
  containerPath: absolutePath.optional(),
  permissions: permissions.optional(),
});

/** No resource twice. */
export function oneOfEach(
  { resources }: { resources: readonly { resource: string }[] },
  context: z.RefinementCtx,
): void {
  const known = new Set<string>();
  for (const [index, { resource }] of resources.entries()) {
    if (known.has(resource)) {
      const path = ['resources', index, 'resource'];
      context.addIssue({ code: 'custom', message: `${resource} is there twice`, path });
    }
    known.add(resource);
  }
}

/** A refinement from a check that throws. */
export function accepts(check: (value: string) => unknown): (value: string, context: z.RefinementCtx) => void {
  return (value, context) => {
    try {
      check(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: messageOf(error) });
    }
  };
}
