/** The environment of a container that runs as a plain process. */
import type { Container, EnvVar, Pod } from '@devmgr/core';
import type { ContainerOptions } from '../ports.ts';
import { expandVariables } from './variable-expansion.ts';

/** Variables a container takes over from the manager; everything else would leak the manager's own settings into it. */
export const INHERITED_VARIABLES = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'TMPDIR',
  'LANG',
  'LC_ALL',
  'TZ',
  'XDG_RUNTIME_DIR',
] as const;

/** Host paths of the container's devices, joined by colons: a plain process sees the host's paths, not the container's. */
export const DEVICE_PATHS_VARIABLE = 'DEVMGR_DEVICE_PATHS';

/** Names the container a process belongs to (`<pod uid>/<container>/<attempt>`): how its descendants are found again. */
export const CONTAINER_VARIABLE = 'DEVMGR_CONTAINER';

export interface ProcessEnvironment {
  /** Everything the process gets. */
  readonly variables: ReadonlyMap<string, string>;
  /** `$(NAME)` in command and args may refer to these: what the pod and the plugins set. (kubelet: opts.Envs) */
  readonly expandable: ReadonlyMap<string, string>;
  /** What of the manifest was left out, one line each. */
  readonly skipped: readonly string[];
}

/**
 * Later ones win: what is inherited, what the device plugins gave, what the pod says itself (kubelet: plugin variables
 * come first, so the pod's own value wins). Never throws.
 */
export function buildProcessEnvironment(input: {
  readonly pod: Pod;
  readonly container: Container;
  readonly options: ContainerOptions;
  /** Value of {@link CONTAINER_VARIABLE}. */
  readonly containerMark: string;
  readonly inherited: NodeJS.ProcessEnv;
}): ProcessEnvironment {
  const { pod, container, options } = input;
  const skipped: string[] = [];
  const expandable = new Map(options.envs);
  if ((container.envFrom ?? []).length > 0) skipped.push('envFrom is not supported');
  for (const entry of container.env ?? []) {
    const value = valueOfEntry(entry, pod, expandable);
    if (value === undefined) skipped.push(`env ${entry.name}: this kind of valueFrom is not supported`);
    else expandable.set(entry.name, value);
  }

  const variables = new Map<string, string>();
  for (const name of INHERITED_VARIABLES) {
    const value = input.inherited[name];
    if (value !== undefined) variables.set(name, value);
  }
  variables.set('HOSTNAME', pod.metadata.name);
  const devicePaths = options.devices.map((device) => device.hostPath);
  if (devicePaths.length > 0) variables.set(DEVICE_PATHS_VARIABLE, devicePaths.join(':'));
  for (const [name, value] of expandable) variables.set(name, value);
  variables.set(CONTAINER_VARIABLE, input.containerMark);
  return { variables, expandable, skipped };
}

function valueOfEntry(entry: EnvVar, pod: Pod, known: ReadonlyMap<string, string>): string | undefined {
  if (entry.valueFrom === undefined) return expandVariables(entry.value ?? '', (name) => known.get(name));
  const path = entry.valueFrom.fieldRef?.fieldPath;
  return path === undefined ? undefined : valueOfField(pod, path);
}

/** Downward API, the fields that do not depend on a network. A label or annotation that is not set is empty, as in Kubernetes. */
function valueOfField(pod: Pod, path: string): string | undefined {
  switch (path) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace ?? 'default';
    case 'metadata.uid':
      return pod.metadata.uid ?? '';
    case 'spec.nodeName':
      return pod.spec.nodeName ?? '';
  }
  const subscript = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  const [, field, key] = subscript ?? [];
  if (field === undefined || key === undefined) return undefined;
  const values = field === 'labels' ? pod.metadata.labels : pod.metadata.annotations;
  return values?.[key] ?? '';
}
