import { z } from 'zod';
import { annotations, env, mount } from './container-response.ts';
import {
  absolutePath,
  accepts,
  duration,
  mountField,
  oneOfEach,
  permissions,
  resourceName,
  textValue,
  variableName,
} from './file-fields.ts';
import { hasWildcard } from './file-glob.ts';
import type { HostDeviceOptions } from './host-device-plugin.ts';
import { parsePciSelector } from './pci-devices.ts';
import { parseUsbSelector } from './usb-devices.ts';
import { parseYamlFile } from './yaml-file.ts';

const nodes = z
  .array(z.string().min(1))
  .min(1, { error: 'names no node' })
  .optional()
  .describe('Give only the nodes whose names below /dev match, e.g. tty* or dri/render*. Default: all the device has.');

const device = z.union(
  [
    absolutePath.describe('A device node, or a pattern like /dev/ttyUSB*.'),
    z
      .strictObject({
        paths: z
          .array(absolutePath)
          .min(1, { error: 'names no path' })
          .describe('Nodes that are handed out together. One path alone may be a pattern.'),
        id: z.string().min(1, { error: 'is empty' }).optional(),
        permissions: permissions.optional(),
      })
      .refine(({ paths, id }) => !paths.some(hasWildcard) || (paths.length === 1 && id === undefined), {
        error: 'a pattern can neither be part of a group nor have an id',
        path: ['paths'],
      })
      .describe('One device made of several nodes.'),
    z
      .strictObject({
        usb: z.string().superRefine(accepts(parseUsbSelector)).describe('VENDOR:PRODUCT[:SERIAL], e.g. 0403:6001.'),
        nodes,
        permissions: permissions.optional(),
      })
      .describe('USB devices, wherever they are plugged in.'),
    z
      .strictObject({
        pci: z
          .string()
          .superRefine(accepts(parsePciSelector))
          .describe('VENDOR:DEVICE, class=…, driver=…, or several joined by commas, e.g. 10de:*,class=0302.'),
        nodes,
        permissions: permissions.optional(),
      })
      .describe('PCI functions; those bound to vfio-pci by IOMMU group.'),
  ],
  { error: 'expected an absolute path or pattern, or an object with paths, usb or pci' },
);

const hostResource = z.strictObject({
  resource: resourceName,
  devices: z.array(device).min(1, { error: 'names no device' }),
  count: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .optional()
    .describe('How many containers may share a device. Default: 1.'),
  permissions: permissions.optional(),
  mounts: z.array(mountField).optional().describe('Further mounts for each container that gets a device.'),
  env: z.record(variableName, textValue).optional().describe('Further variables for each of them.'),
  annotations: z.record(z.string(), textValue).optional(),
  allowNonDevices: z
    .boolean()
    .optional()
    .describe('Take files, FIFOs, sockets and directories too; they are mounted. Default: false.'),
  scanEvery: duration
    .refine((everyMs) => everyMs >= 100, { error: 'must be at least 100ms' })
    .optional()
    .describe('Pause between two looks at the host; most changes are noticed earlier. Default: 5s.'),
});

/** What a host-device file holds. */
export const hostDeviceFile = z
  .strictObject({ resources: z.array(hostResource).min(1, { error: 'names no resource' }) })
  .superRefine(oneOfEach);

/**
 * Reads a file that describes host device plugins: YAML or JSON with a list `resources`.
 *
 * @param source name of the file, for messages
 * @throws DevmgrError CONFIG_INVALID with line and column of what cannot be used.
 */
export function parseHostDeviceFile(text: string, source: string): HostDeviceOptions[] {
  return parseYamlFile(text, source, hostDeviceFile).resources.map(
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
