import { checkContainer, checkRestartPolicy, DNS_LABEL_MESSAGE } from './container-check.ts';
import { FieldErrors, type FieldError } from './field-errors.ts';
import { findNonJson, isAbsent, isJsonObject, ownValue, type JsonObject } from './json-value.ts';
import type { Pod } from './kubernetes.ts';
import { isDnsLabel, isDnsSubdomain } from './resource-name.ts';

export type PodCheck =
  { readonly ok: true; readonly pod: Pod } | { readonly ok: false; readonly errors: readonly FieldError[] };

const DNS_SUBDOMAIN_MESSAGE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
  "with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/** More than any Pod needs, and little enough to be written as JSON and read back without exhausting the stack. */
const LIMITS = { maxDepth: 100, maxValues: 1_000_000 };

/**
 * Whether a manifest is a v1 Pod devmgr can take: everything devmgr reads has the type and form it must have; everything
 * else is neither looked at nor changed, as long as JSON can carry it. The pod handed back is the manifest itself. All
 * errors are listed, with the API server's texts. Never throws, whatever it is given.
 */
export function checkPod(manifest: unknown): PodCheck {
  const errors = new FieldErrors();
  const unfit = findNonJson(manifest, LIMITS);
  if (unfit !== undefined) return { ok: false, errors: [unfit] };
  if (!isJsonObject(manifest)) {
    errors.wrongType('', manifest, 'an object');
    return { ok: false, errors: errors.list };
  }
  checkConstant(manifest, 'apiVersion', 'v1', errors);
  checkConstant(manifest, 'kind', 'Pod', errors);
  // The fields of another kind would only add noise to the two lines above.
  if (errors.found()) return { ok: false, errors: errors.list };
  checkMetadata(ownValue(manifest, 'metadata'), errors);
  checkSpec(ownValue(manifest, 'spec'), errors);
  const status = ownValue(manifest, 'status');
  if (!isAbsent(status) && !isJsonObject(status)) errors.wrongType('status', status, 'an object');
  if (errors.found()) return { ok: false, errors: errors.list };
  return { ok: true, pod: manifest as unknown as Pod };
}

function checkConstant(manifest: JsonObject, field: string, expected: string, errors: FieldErrors): void {
  const value = ownValue(manifest, field);
  if (isAbsent(value) || value === '') errors.required(field, `must be "${expected}"`);
  else if (typeof value !== 'string') errors.wrongType(field, value, 'a string');
  else if (value !== expected) errors.unsupported(field, value, [expected]);
}

function checkMetadata(metadata: unknown, errors: FieldErrors): void {
  if (isAbsent(metadata)) {
    errors.required('metadata.name');
    return;
  }
  if (!isJsonObject(metadata)) {
    errors.wrongType('metadata', metadata, 'an object');
    return;
  }
  const name = ownValue(metadata, 'name');
  if (isAbsent(name) || name === '') errors.required('metadata.name');
  else if (typeof name !== 'string') errors.wrongType('metadata.name', name, 'a string');
  else if (!isDnsSubdomain(name)) errors.invalid('metadata.name', name, DNS_SUBDOMAIN_MESSAGE);

  const namespace = ownValue(metadata, 'namespace');
  if (isAbsent(namespace)) {
    // The caller knows which namespace a request is for.
  } else if (typeof namespace !== 'string') errors.wrongType('metadata.namespace', namespace, 'a string');
  else if (namespace !== '' && !isDnsLabel(namespace))
    errors.invalid('metadata.namespace', namespace, DNS_LABEL_MESSAGE);

  for (const field of ['uid', 'resourceVersion', 'creationTimestamp', 'deletionTimestamp']) {
    const value = ownValue(metadata, field);
    if (!isAbsent(value) && typeof value !== 'string') errors.wrongType(`metadata.${field}`, value, 'a string');
  }
  checkSeconds(metadata, 'deletionGracePeriodSeconds', 'metadata', errors);
  for (const field of ['labels', 'annotations']) checkStringMap(ownValue(metadata, field), `metadata.${field}`, errors);
}

function checkSpec(spec: unknown, errors: FieldErrors): void {
  if (isAbsent(spec)) {
    errors.required('spec.containers');
    return;
  }
  if (!isJsonObject(spec)) {
    errors.wrongType('spec', spec, 'an object');
    return;
  }
  const names = new Set<string>();
  checkContainers(ownValue(spec, 'initContainers'), 'spec.initContainers', names, errors);
  const containers = ownValue(spec, 'containers');
  if (isAbsent(containers) || (Array.isArray(containers) && containers.length === 0))
    errors.required('spec.containers');
  else checkContainers(containers, 'spec.containers', names, errors);
  checkRestartPolicy(spec, 'spec', errors);
  checkSeconds(spec, 'terminationGracePeriodSeconds', 'spec', errors);
  const nodeName = ownValue(spec, 'nodeName');
  if (!isAbsent(nodeName) && typeof nodeName !== 'string') errors.wrongType('spec.nodeName', nodeName, 'a string');
}

function checkContainers(containers: unknown, path: string, names: Set<string>, errors: FieldErrors): void {
  if (isAbsent(containers)) return;
  if (!Array.isArray(containers)) {
    errors.wrongType(path, containers, 'an array');
    return;
  }
  for (const [index, container] of containers.entries()) {
    checkContainer(container, `${path}[${String(index)}]`, names, errors);
  }
}

function checkSeconds(holder: JsonObject, field: string, path: string, errors: FieldErrors): void {
  const seconds = ownValue(holder, field);
  const at = `${path}.${field}`;
  if (isAbsent(seconds)) return;
  if (typeof seconds !== 'number' || !Number.isSafeInteger(seconds)) errors.wrongType(at, seconds, 'an integer');
  else if (seconds < 0) errors.invalid(at, seconds, 'must be greater than or equal to 0');
}

function checkStringMap(map: unknown, path: string, errors: FieldErrors): void {
  if (isAbsent(map)) return;
  if (!isJsonObject(map)) {
    errors.wrongType(path, map, 'an object');
    return;
  }
  for (const [key, value] of Object.entries(map)) {
    if (typeof value !== 'string') errors.wrongType(`${path}[${key}]`, value, 'a string');
  }
}
