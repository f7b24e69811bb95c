/** One column of a table: header and how a row's cell is made. */
export interface Column<T> {
  readonly header: string;
  readonly cell: (row: T, nowMs: number) => string;
  /** Only with `-o wide`. */
  readonly wide?: boolean;
}

const PADDING = 3;
const MIN_WIDTH = 6;
/** What an absent value looks like in a table. */
export const NONE = '<none>';

/**
 * Rows as kubectl prints them: upper-case headers, columns padded with three spaces (six characters at least), the last
 * one not padded. Cells are made one line and harmless to a terminal first. Returns '' for no rows when headers are off.
 */
export function formatTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  options: { nowMs: number; headers?: boolean; wide?: boolean; minWidths?: readonly number[] },
): string {
  const shown = columns.filter((column) => options.wide === true || column.wide !== true);
  const lines = rows.map((row) => shown.map((column) => oneLine(column.cell(row, options.nowMs))));
  if (options.headers !== false) lines.unshift(shown.map((column) => column.header));
  return alignRows(lines, options.minWidths);
}

/** Pads cells so that columns line up; each line ends with a newline and has no trailing blanks. */
export function alignRows(lines: readonly (readonly string[])[], minWidths: readonly number[] = []): string {
  const widths = columnWidths(lines, minWidths);
  let text = '';
  for (const cells of lines) {
    const padded = cells.map((cell, index) =>
      index === cells.length - 1 ? cell : cell + ' '.repeat(Math.max(0, (widths[index] ?? 0) - displayWidth(cell))),
    );
    text += `${padded.join('').trimEnd()}\n`;
  }
  return text;
}

/** Width of each column, padding included; a watch passes the last ones on so that its lines stay under one another. */
export function columnWidths(lines: readonly (readonly string[])[], minWidths: readonly number[] = []): number[] {
  const widths: number[] = [...minWidths];
  for (const cells of lines) {
    cells.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? MIN_WIDTH, displayWidth(cell) + PADDING);
    });
  }
  return widths;
}

/** Number of characters, close enough to columns for what tables hold: names, numbers, times and one-line messages. */
function displayWidth(text: string): number {
  let width = 0;
  for (const _ of text) width += 1;
  return width;
}

/** Control characters (a plugin's message may contain any) become blanks: no line breaks, no terminal escapes in a table. */
export function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/gu, ' ').trim();
}
