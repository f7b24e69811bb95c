import { stringify } from 'yaml';

export const OUTPUT_FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** An object as JSON (4 blanks, as kubectl) or YAML that readers of version 1.1 (Go's) and 1.2 understand alike, with a newline at the end. */
export function formatObject(object: unknown, format: 'json' | 'yaml'): string {
  return format === 'json'
    ? `${JSON.stringify(object, undefined, 4)}\n`
    : stringify(object, { lineWidth: 0, version: '1.1' });
}
