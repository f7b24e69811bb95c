import { DevmgrError } from '@devmgr/core';
import { LineCounter, isMap, isNode, isScalar, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import type { z } from 'zod';

/** Problems beyond these are counted, not told: the first ones are often the cause of the rest. */
const MAX_TOLD = 3;

interface Problem {
  readonly offset: number;
  readonly text: string;
}

/**
 * Reads one YAML (or JSON) document and checks it against a schema.
 *
 * @param source name of the file, for messages
 * @throws DevmgrError CONFIG_INVALID in one line, each problem as `source:line:column: field: what is wrong`.
 */
export function parseYamlFile<T>(text: string, source: string, schema: z.ZodType<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const fail = (problems: readonly Problem[]): never => {
    const told = problems.slice(0, MAX_TOLD).map(({ offset, text: what }) => {
      const { line, col } = lines.linePos(offset);
      return `${source}:${String(Math.max(line, 1))}:${String(Math.max(col, 1))}: ${what}`;
    });
    const rest = problems.length > told.length ? ` (and ${String(problems.length - told.length)} more)` : '';
    throw new DevmgrError('CONFIG_INVALID', told.join('; ') + rest, { remedy: 'Correct the place the message names.' });
  };
  if (document.errors.length > 0) {
    fail(document.errors.map((error) => ({ offset: error.pos[0], text: oneLine(error.message) })));
  }
  const result = schema.safeParse(toPlain(document, fail));
  if (result.success) return result.data;
  return fail(result.error.issues.flatMap(inKindMeant).map((issue) => locate(document, issue)));
}

function toPlain(document: Document, fail: (problems: readonly Problem[]) => never): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // An alias that leads nowhere, or aliases that multiply without bound.
    return fail([{ offset: 0, text: oneLine(error instanceof Error ? error.message : String(error)) }]);
  }
}

/**
 * An entry that may be of several kinds fits none: if it is plainly meant to be of one, what is wrong with that one is
 * told; else what all kinds are.
 */
function inKindMeant(issue: z.core.$ZodIssue): readonly z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const meant = issue.errors.filter((problems) =>
    problems.every((one) => (one.path.length > 0 ? !isMissing(one) : one.code === 'unrecognized_keys')),
  );
  const [only = []] = meant;
  if (meant.length !== 1) return [issue];
  return only.flatMap((one) => inKindMeant({ ...one, path: [...issue.path, ...one.path] }));
}

function isMissing(issue: z.core.$ZodIssue): boolean {
  return issue.code === 'invalid_type' && issue.input === undefined && /received undefined/.test(issue.message);
}

function locate(document: Document, issue: z.core.$ZodIssue): Problem {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map((key) => JSON.stringify(key)).join(', ');
    return { offset: offsetOf(document, path, issue.keys[0]), text: `${fieldName(path)}unknown field ${keys}` };
  }
  const what = isMissing(issue) ? 'is required' : oneLine(issue.message);
  return { offset: offsetOf(document, path), text: `${fieldName(path)}${what}` };
}

/** Where the field is, or the deepest part of the way to it that exists. */
function offsetOf(document: Document, path: readonly (string | number)[], key?: string): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    if (!isNode(node)) continue;
    if (key !== undefined && depth === path.length && isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (isNode(pair?.key) && pair.key.range) return pair.key.range[0];
    }
    if (node.range) return node.range[0];
  }
  return 0;
}

/** `resources[0].timeline[2].at: `, empty for the document itself. */
function fieldName(path: readonly (string | number)[]): string {
  const name = path.map((part) => (typeof part === 'number' ? `[${String(part)}]` : `.${part}`)).join('');
  return name === '' ? '' : `${name.replace(/^\./, '')}: `;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
