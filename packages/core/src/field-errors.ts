import { goQuote } from './go-text.ts';

/** One thing wrong with a manifest: where, and what, in the API server's words. */
export interface FieldError {
  /** `spec.containers[0].resources.limits[example.com/gpu]`. */
  readonly path: string;
  /** `Invalid value: "1.5": must be an integer`. */
  readonly message: string;
}

/** More are counted and not listed: nobody reads the hundredth, and a hostile manifest could have a million. */
const MAX_ERRORS = 50;

/** Gathers what is wrong with one object. (Kubernetes: validation/field) */
export class FieldErrors {
  readonly #errors: FieldError[] = [];
  #unlisted = 0;

  /** What was found so far; the last entry says how many more there were. */
  get list(): readonly FieldError[] {
    if (this.#unlisted === 0) return this.#errors;
    return [...this.#errors, { path: '', message: `and ${String(this.#unlisted)} more` }];
  }

  found(): boolean {
    return this.#errors.length > 0;
  }

  invalid(path: string, value: string | number, why: string): void {
    this.#add(path, `Invalid value: ${typeof value === 'string' ? goQuote(shortened(value)) : String(value)}: ${why}`);
  }

  required(path: string, why = ''): void {
    this.#add(path, why === '' ? 'Required value' : `Required value: ${why}`);
  }

  duplicate(path: string, value: string): void {
    this.#add(path, `Duplicate value: ${goQuote(shortened(value))}`);
  }

  unsupported(path: string, value: string, supported: readonly string[]): void {
    const choice = supported.map(goQuote).join(', ');
    this.#add(path, `Unsupported value: ${goQuote(shortened(value))}: supported values: ${choice}`);
  }

  /** The value has another type than the field. */
  wrongType(path: string, value: unknown, expected: string): void {
    this.#add(path, `Invalid value: ${describe(value)}: must be ${expected}`);
  }

  #add(path: string, message: string): void {
    if (this.#errors.length < MAX_ERRORS) this.#errors.push({ path, message });
    else this.#unlisted++;
  }
}

/** The errors in one line, as the API server reports them: `Pod "gpu" is invalid: spec.containers: Required value`. */
export function invalidObjectMessage(kind: string, name: string, errors: readonly FieldError[]): string {
  const lines = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`));
  const [only] = lines;
  const text = lines.length === 1 && only !== undefined ? only : `[${lines.join(', ')}]`;
  return `${kind} ${goQuote(name)} is invalid: ${text}`;
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return goQuote(shortened(value));
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function shortened(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
