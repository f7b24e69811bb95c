/** From the text of a file or of standard input to manifests. */
import { isMap, LineCounter, parseAllDocuments, type Document, type YAMLError } from 'yaml';

/** One object of a manifest file: of lists, the items. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly object: Readonly<Record<string, unknown>>;
  /** Where it begins, for messages: file, and line when the file has several objects. */
  readonly place: string;
}

/** One thing wrong with the text. */
export interface ManifestError {
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1. */
  readonly column: number;
  /** `pod.yaml:3:7: what is wrong`. */
  readonly message: string;
}

export type ParsedManifests =
  | { readonly ok: true; readonly manifests: readonly Manifest[] }
  | { readonly ok: false; readonly errors: readonly ManifestError[] };

/** Aliases (`*name`) of one document: enough for people, too few for a text that expands to gigabytes. */
const MAX_ALIASES = 1000;
const MAX_ERRORS = 20;

/**
 * Reads YAML (several documents) or JSON; a v1 `List` or `PodList` stands for its items. Checks only that each object
 * says what it is; what a Pod must contain is checked where it is used. `source` names the text in messages. Never throws.
 */
export function parseManifests(text: string, source: string): ParsedManifests {
  const lines = new LineCounter();
  const errors: ManifestError[] = [];
  const fail = (offset: number, what: string): void => {
    const { line, col } = lines.linePos(offset);
    const place = { line: Math.max(line, 1), column: Math.max(col, 1) };
    errors.push({ ...place, message: `${source}:${String(place.line)}:${String(place.column)}: ${what}` });
  };
  const manifests: Manifest[] = [];
  for (const document of parseDocuments(text, lines)) {
    for (const error of document.errors) fail(error.pos[0], describe(error));
    if (document.errors.length > 0) continue;
    const offset = document.contents?.range[0] ?? document.range[0];
    const value = toValue(document, (what) => {
      fail(offset, what);
    });
    if (value === undefined || value === null) continue;
    if (!isMap(document.contents) || !isObject(value)) {
      fail(offset, 'this document is not an object with apiVersion and kind');
      continue;
    }
    const line = lines.linePos(offset).line;
    collect(value, `${source}:${String(line)}`, manifests, (what) => {
      fail(offset, what);
    });
  }
  return errors.length === 0 ? { ok: true, manifests } : { ok: false, errors: errors.slice(0, MAX_ERRORS) };
}

function parseDocuments(text: string, lines: LineCounter): readonly Document.Parsed[] {
  // `merge`: Kubernetes' own reader knows `<<`. Keys must be unique: the second would silently win.
  const documents = parseAllDocuments(text, { lineCounter: lines, merge: true, prettyErrors: false, uniqueKeys: true });
  return Array.isArray(documents) ? documents : [];
}

function toValue(document: Document.Parsed, fail: (what: string) => void): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function collect(
  object: Record<string, unknown>,
  place: string,
  manifests: Manifest[],
  fail: (what: string) => void,
): void {
  const { apiVersion, kind } = object;
  if (typeof apiVersion !== 'string' || apiVersion === '' || typeof kind !== 'string' || kind === '') {
    fail(`apiVersion and kind must both be set, for example "apiVersion: v1" and "kind: Pod"`);
    return;
  }
  if (kind !== 'List' && !(kind === 'PodList' && apiVersion === 'v1')) {
    manifests.push({ apiVersion, kind, object, place });
    return;
  }
  const items = object['items'] ?? [];
  if (!Array.isArray(items)) {
    fail(`items of a ${kind} must be a list`);
    return;
  }
  for (const [index, item] of items.entries()) {
    const at = `${place} items[${String(index)}]`;
    if (!isObject(item)) fail(`items[${String(index)}] is not an object`);
    // The items of a PodList need not repeat what they are.
    else if (kind === 'PodList') collect({ apiVersion: 'v1', kind: 'Pod', ...item }, at, manifests, fail);
    else collect(item, at, manifests, fail);
  }
}

/** First line, without the position that is told separately. */
function describe(error: YAMLError): string {
  return (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
