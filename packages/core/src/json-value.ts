/** What JSON can hold. Objects may have any prototype-free or plain shape. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A JSON object: neither null nor an array nor an instance of a class. */
export function isJsonObject(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** An object's own value: inherited names such as `constructor` are not there. */
export function ownValue(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Kubernetes treats a field that is null as one that is not there. */
export function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

export interface JsonLimits {
  readonly maxDepth: number;
  readonly maxValues: number;
}

/**
 * The first place of `root` that JSON could not carry, or that goes beyond the limits; undefined when there is none.
 * Ends for cyclic values too, and never recurses, so nesting cannot exhaust the stack.
 */
export function findNonJson(root: unknown, limits: JsonLimits): { path: string; message: string } | undefined {
  interface Place {
    readonly value: unknown;
    readonly key: string | number;
    readonly parent: Place | undefined;
    readonly depth: number;
  }
  const pending: Place[] = [{ value: root, key: '', parent: undefined, depth: 0 }];
  const problem = (place: Place, message: string): { path: string; message: string } => {
    const keys: (string | number)[] = [];
    for (let at = place; at.parent !== undefined; at = at.parent) keys.push(at.key);
    return { path: pathOf(keys.reverse()), message };
  };
  let values = 0;
  for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
    const { value, depth } = place;
    if (++values > limits.maxValues) return problem(place, `more than ${String(limits.maxValues)} values`);
    if (depth > limits.maxDepth) return problem(place, `nested more than ${String(limits.maxDepth)} levels deep`);
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) return problem(place, `Invalid value: ${String(value)}: must be a finite number`);
    } else if (Array.isArray(value)) {
      const items: readonly unknown[] = value;
      items.forEach((item, index) => pending.push({ value: item, key: index, parent: place, depth: depth + 1 }));
    } else if (isJsonObject(value)) {
      for (const [key, item] of Object.entries(value)) {
        pending.push({ value: item, key, parent: place, depth: depth + 1 });
      }
    } else if (!isAbsent(value) && typeof value !== 'string' && typeof value !== 'boolean') {
      return problem(place, `Invalid value: a ${kindOf(value)}: must be something JSON can hold`);
    }
  }
  return undefined;
}

function kindOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return typeof value;
  const constructor: unknown = (value as { constructor?: unknown }).constructor;
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'object';
}

function pathOf(keys: readonly (string | number)[]): string {
  const shown = keys.length > 8 ? [...keys.slice(0, 8), '…'] : keys;
  return shown.reduce<string>((path, key) => {
    if (typeof key === 'number') return `${path}[${String(key)}]`;
    return path === '' ? key : `${path}.${key}`;
  }, '');
}
