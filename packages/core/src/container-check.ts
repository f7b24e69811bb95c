import type { FieldErrors } from './field-errors.ts';
import { isAbsent, isJsonObject, ownValue, type JsonObject } from './json-value.ts';
import { compareQuantities, parseQuantity, QUANTITY_FORMAT_MESSAGE, wholeNumber, type Quantity } from './quantity.ts';
import { isDnsLabel, isExtendedResourceName, isNativeResourceName } from './resource-name.ts';

export const DNS_LABEL_MESSAGE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an " +
  "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const RESTART_POLICIES = ['Always', 'Never', 'OnFailure'];
const STANDARD_RESOURCES = new Set(['cpu', 'memory', 'ephemeral-storage']);
const HUGE_PAGES_PREFIX = 'hugepages-';

/** Checks one container of a Pod as far as devmgr reads it; `names` are those of the pod's containers so far and grows. */
export function checkContainer(value: unknown, path: string, names: Set<string>, errors: FieldErrors): void {
  if (!isJsonObject(value)) {
    errors.wrongType(path, value, 'an object');
    return;
  }
  checkName(ownValue(value, 'name'), `${path}.name`, names, errors);
  for (const field of ['image', 'workingDir']) checkText(value, field, path, errors);
  for (const field of ['command', 'args']) checkTexts(value, field, path, errors);
  checkEnv(value, path, errors);
  checkArray(value, 'envFrom', path, errors);
  checkRestartPolicy(value, path, errors);
  checkResources(ownValue(value, 'resources'), `${path}.resources`, errors);
}

/** `restartPolicy` of a pod or a container: absent, or one of the three values. */
export function checkRestartPolicy(holder: JsonObject, path: string, errors: FieldErrors): void {
  const policy = ownValue(holder, 'restartPolicy');
  if (isAbsent(policy)) return;
  const at = `${path}.restartPolicy`;
  if (typeof policy !== 'string') errors.wrongType(at, policy, 'a string');
  else if (!RESTART_POLICIES.includes(policy)) errors.unsupported(at, policy, RESTART_POLICIES);
}

function checkName(name: unknown, path: string, names: Set<string>, errors: FieldErrors): void {
  if (isAbsent(name) || name === '') errors.required(path);
  else if (typeof name !== 'string') errors.wrongType(path, name, 'a string');
  else if (!isDnsLabel(name)) errors.invalid(path, name, DNS_LABEL_MESSAGE);
  else if (names.has(name)) errors.duplicate(path, name);
  else names.add(name);
}

function checkText(holder: JsonObject, field: string, path: string, errors: FieldErrors): void {
  const text = ownValue(holder, field);
  if (!isAbsent(text)) checkProcessText(text, `${path}.${field}`, errors);
}

function checkTexts(holder: JsonObject, field: string, path: string, errors: FieldErrors): void {
  const texts = checkArray(holder, field, path, errors);
  for (const [index, text] of texts.entries()) checkProcessText(text, `${path}.${field}[${String(index)}]`, errors);
}

/** A string a process can be given: the system ends strings at a NUL. */
function checkProcessText(text: unknown, path: string, errors: FieldErrors): void {
  if (typeof text !== 'string') errors.wrongType(path, text, 'a string');
  else if (text.includes('\0')) errors.invalid(path, text, 'must not contain a NUL character');
}

function checkEnv(container: JsonObject, path: string, errors: FieldErrors): void {
  for (const [index, variable] of checkArray(container, 'env', path, errors).entries()) {
    const at = `${path}.env[${String(index)}]`;
    if (!isJsonObject(variable)) {
      errors.wrongType(at, variable, 'an object');
      continue;
    }
    const name = ownValue(variable, 'name');
    if (isAbsent(name) || name === '') errors.required(`${at}.name`);
    else if (typeof name === 'string' && name.includes('=')) {
      errors.invalid(
        `${at}.name`,
        name,
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      );
    } else checkProcessText(name, `${at}.name`, errors);
    checkText(variable, 'value', at, errors);
    checkValueFrom(ownValue(variable, 'valueFrom'), `${at}.valueFrom`, errors);
  }
}

function checkValueFrom(valueFrom: unknown, path: string, errors: FieldErrors): void {
  if (isAbsent(valueFrom)) return;
  if (!isJsonObject(valueFrom)) {
    errors.wrongType(path, valueFrom, 'an object');
    return;
  }
  const fieldRef = ownValue(valueFrom, 'fieldRef');
  if (isAbsent(fieldRef)) return;
  if (!isJsonObject(fieldRef)) errors.wrongType(`${path}.fieldRef`, fieldRef, 'an object');
  else if (typeof ownValue(fieldRef, 'fieldPath') !== 'string') errors.required(`${path}.fieldRef.fieldPath`);
}

function checkArray(holder: JsonObject, field: string, path: string, errors: FieldErrors): readonly unknown[] {
  const value = ownValue(holder, field);
  if (isAbsent(value)) return [];
  if (Array.isArray(value)) return value;
  errors.wrongType(`${path}.${field}`, value, 'an array');
  return [];
}

/** Limits and requests. (API server: ValidateContainerResourceRequirements) */
function checkResources(resources: unknown, path: string, errors: FieldErrors): void {
  if (isAbsent(resources)) return;
  if (!isJsonObject(resources)) {
    errors.wrongType(path, resources, 'an object');
    return;
  }
  const limits = checkQuantities(ownValue(resources, 'limits'), `${path}.limits`, errors);
  const requests = checkQuantities(ownValue(resources, 'requests'), `${path}.requests`, errors);
  for (const [resource, request] of requests) {
    const limit = limits.get(resource);
    const overcommits = isNativeResourceName(resource) && !resource.startsWith(HUGE_PAGES_PREFIX);
    if (limit === undefined) {
      if (!overcommits && !isNamed(resources, 'limits', resource)) {
        errors.required(`${path}.limits`, 'Limit must be set for non overcommitable resources');
      }
    } else if (!overcommits && compareQuantities(request, limit) !== 0) {
      errors.invalid(`${path}.requests`, request.text, `must be equal to ${resource} limit of ${limit.text}`);
    } else if (compareQuantities(request, limit) > 0) {
      errors.invalid(
        `${path}.requests`,
        request.text,
        `must be less than or equal to ${resource} limit of ${limit.text}`,
      );
    }
  }
}

/** The well-formed ones of a resource list. */
function checkQuantities(list: unknown, path: string, errors: FieldErrors): ReadonlyMap<string, Quantity> {
  const quantities = new Map<string, Quantity>();
  if (isAbsent(list)) return quantities;
  if (!isJsonObject(list)) {
    errors.wrongType(path, list, 'an object');
    return quantities;
  }
  for (const [resource, value] of Object.entries(list)) {
    const at = `${path}[${resource}]`;
    checkContainerResource(resource, at, errors);
    const quantity = parseQuantity(value);
    if (quantity === undefined) {
      if (typeof value === 'string') errors.invalid(at, value, QUANTITY_FORMAT_MESSAGE);
      else errors.wrongType(at, value, 'a quantity');
    } else if (quantity.nano < 0n) {
      errors.invalid(at, quantity.text, 'must be greater than or equal to 0');
    } else if (isExtendedResourceName(resource) && wholeNumber(quantity) === undefined) {
      errors.invalid(at, quantity.text, 'must be an integer');
    } else {
      quantities.set(resource, quantity);
    }
  }
  return quantities;
}

function checkContainerResource(resource: string, path: string, errors: FieldErrors): void {
  if (!resource.includes('/')) {
    if (!STANDARD_RESOURCES.has(resource) && !resource.startsWith(HUGE_PAGES_PREFIX)) {
      errors.invalid(path, resource, 'must be a standard resource for containers');
    }
  } else if (!isNativeResourceName(resource) && !isExtendedResourceName(resource)) {
    errors.invalid(path, resource, "doesn't follow extended resource name standard");
  }
}

/** Whether the manifest has the entry at all, if only with a value that was already found wrong. */
function isNamed(resources: JsonObject, field: string, resource: string): boolean {
  const list = ownValue(resources, field);
  return isJsonObject(list) && Object.hasOwn(list, resource);
}
