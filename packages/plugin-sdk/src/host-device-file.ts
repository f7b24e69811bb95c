import { z } from 'zod';
import { annotations, env, mount } from './container-response.ts';
import {
  absolutePath,
  duration,
  mountField,
  permissions,
  resourceName,
  textValue,
  variableName,
} from './file-fields.ts';
import { hasWildcard } from './file-glob.ts';
import type { HostDeviceOptions } from './host-device-plugin.ts';
import { parseYamlFile } from './yaml-file.ts';

const device = z.union(
  [
    absolutePath,
    z
      .strictObject({
        paths: z.array(absolutePath).min(1, { error: 'names no path' }),
        id: z.string().min(1, { error: 'is empty' }).optional(),
        permissions: permissions.optional(),
      })
      .refine(({ paths, id }) => !paths.some(hasWildcard) || (paths.length === 1 && id === undefined), {
        error: 'a pattern can neither be part of a group nor have an id',
        path: ['paths'],
      }),
  ],
  { error: 'expected an absolute path or pattern, or an object with paths, id, permissions' },
);

const hostResource = z.strictObject({
  resource: resourceName,
  devices: z.array(device).min(1, { error: 'names no device' }),
  count: z.number().int().min(1).max(100_000).optional(),
  permissions: permissions.optional(),
  mounts: z.array(mountField).optional(),
  env: z.record(variableName, textValue).optional(),
  annotations: z.record(z.string(), textValue).optional(),
  allowNonDevices: z.boolean().optional(),
  scanEvery: duration.refine((everyMs) => everyMs >= 100, { error: 'must be at least 100ms' }).optional(),
});

const hostFile = z
  .strictObject({ resources: z.array(hostResource).min(1, { error: 'names no resource' }) })
  .superRefine(({ resources }, context) => {
    for (const [index, { resource }] of resources.entries()) {
      if (resources.findIndex((other) => other.resource === resource) < index) {
        context.addIssue({
          code: 'custom',
          message: `${resource} is there twice`,
          path: ['resources', index, 'resource'],
        });
      }
    }
  });

/**
 * Reads a file that describes host device plugins: YAML or JSON with a list `resources`.
 *
 * @param source name of the file, for messages
 * @throws DevmgrError CONFIG_INVALID with line and column of what cannot be used.
 */
export function parseHostDeviceFile(text: string, source: string): HostDeviceOptions[] {
  return parseYamlFile(text, source, hostFile).resources.map(
    ({ mounts = [], env: variables = {}, annotations: notes = {}, scanEvery, ...options }) => ({
      ...options,
      scanEveryMs: scanEvery,
      extras: [
        ...mounts.map(({ hostPath, containerPath, readOnly }) => mount(hostPath, { containerPath, readOnly })),
        env(variables),
        annotations(notes),
      ],
    }),
  );
}
