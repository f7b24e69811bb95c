import { checkResourceName } from './resource-name.ts';

export type ParsedLimits =
  | { readonly ok: true; readonly limits: Readonly<Record<string, number>> }
  /** `message` names the one that is wrong. */
  | { readonly ok: false; readonly message: string };

/**
 * `example.com/gpu=2`, several of them or separated by commas. Refused: no `=`, not an extended resource name, not a whole
 * number above zero, or a resource that is given twice.
 */
export function parseResourceLimits(texts: readonly string[]): ParsedLimits {
  const limits = new Map<string, number>();
  for (const text of texts.flatMap((value) => value.split(','))) {
    const equals = text.lastIndexOf('=');
    const resource = text.slice(0, equals).trim();
    const count = text.slice(equals + 1).trim();
    if (equals <= 0) return { ok: false, message: `"${text}" is not RESOURCE=NUMBER` };
    const name = checkResourceName(resource);
    if (!name.ok) return name;
    if (!/^[1-9]\d{0,8}$/.test(count)) {
      return { ok: false, message: `"${count}" of ${resource} is not a whole number above zero` };
    }
    if (limits.has(resource)) return { ok: false, message: `${resource} is given twice` };
    limits.set(resource, Number(count));
  }
  return { ok: true, limits: Object.fromEntries(limits) };
}
