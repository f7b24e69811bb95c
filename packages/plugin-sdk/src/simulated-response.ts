import { annotations, cdiDevice, deviceNode, env, mount } from './container-response.ts';
import type { ResponsePiece } from './container-response.ts';
import type { SimulatedResource } from './simulation-schema.ts';

/** The part of a simulated resource that containers get. */
type SimulatedAnswer = Pick<SimulatedResource, 'resource' | 'env' | 'mounts' | 'deviceNodes' | 'annotations' | 'cdi'>;

/** A simulated device by its place. */
export interface Chosen {
  readonly id: string;
  /** Position of the device in the resource's list; a device added later continues the count. */
  readonly index: number;
}

/**
 * What a container gets from a simulated resource. In every text `{ids}`, `{indexes}`, `{count}` and `{resource}` stand
 * for the devices of the container; a mount, node, annotation or CDI name that has `{id}` or `{index}` in it is given
 * once for each device.
 */
export function simulatedResponse(resource: SimulatedAnswer, devices: readonly Chosen[]): ResponsePiece[] {
  const whole = (text: string): string =>
    text
      .replaceAll('{ids}', devices.map(({ id }) => id).join(','))
      .replaceAll('{indexes}', devices.map(({ index }) => String(index)).join(','))
      .replaceAll('{count}', String(devices.length))
      .replaceAll('{resource}', resource.resource);
  const single = (text: string, { id, index }: Chosen): string =>
    whole(text.replaceAll('{id}', id).replaceAll('{index}', String(index)));
  /** The texts of one entry, once for the container or once for each device. */
  const expand = (texts: readonly string[]): string[][] =>
    texts.some((text) => /\{(id|index)\}/.test(text))
      ? devices.map((device) => texts.map((text) => single(text, device)))
      : [texts.map(whole)];

  const pieces: ResponsePiece[] = [];
  for (const [name, value] of Object.entries(resource.env ?? {})) pieces.push(env({ [name]: whole(value) }));
  for (const { hostPath, containerPath = hostPath, readOnly } of resource.mounts ?? []) {
    for (const [from = '', to] of expand([hostPath, containerPath])) {
      pieces.push(mount(from, { containerPath: to, readOnly }));
    }
  }
  for (const { hostPath, containerPath = hostPath, permissions } of resource.deviceNodes ?? []) {
    for (const [from = '', to] of expand([hostPath, containerPath])) {
      pieces.push(deviceNode(from, { containerPath: to, permissions }));
    }
  }
  for (const entry of Object.entries(resource.annotations ?? {})) {
    for (const [name = '', value = ''] of expand(entry)) pieces.push(annotations({ [name]: value }));
  }
  for (const name of resource.cdi ?? []) for (const [full = ''] of expand([name])) pieces.push(cdiDevice(full));
  return pieces;
}
