import { alignRows, NONE, oneLine } from './table.ts';

/**
 * Text of `devmgr describe`: labelled values in one aligned column, sections indented below their title, as kubectl's.
 * Values may have several lines; further ones go under the first.
 */
export class Description {
  readonly #lines: { indent: number; label: string; values: readonly string[] }[] = [];
  readonly #tables: { afterLine: number; text: string }[] = [];

  /** A label and its value; nothing given shows as `<none>`. */
  field(label: string, value: string | number | undefined | null, indent = 0): this {
    const text = value === undefined || value === null || value === '' ? NONE : String(value);
    this.#lines.push({ indent, label: `${label}:`, values: [oneLine(text)] });
    return this;
  }

  /** A label whose value is a list, an item a line; an empty one shows as `<none>`. */
  list(label: string, values: readonly string[], indent = 0): this {
    this.#lines.push({ indent, label: `${label}:`, values: values.length === 0 ? [NONE] : values.map(oneLine) });
    return this;
  }

  /** A title on a line of its own. */
  section(title: string, indent = 0): this {
    this.#lines.push({ indent, label: `${title}:`, values: [] });
    return this;
  }

  /** A table below the last line; the first row is its header, underlined as kubectl does in descriptions. */
  table(rows: readonly (readonly string[])[], indent = 1): this {
    const [header = [], ...rest] = rows;
    const ruled = [header, header.map((cell) => '-'.repeat(cell.length)), ...rest.map((row) => row.map(oneLine))];
    const pad = '  '.repeat(indent);
    const text = alignRows(ruled)
      .split('\n')
      .map((line) => (line === '' ? '' : pad + line))
      .join('\n');
    this.#tables.push({ afterLine: this.#lines.length, text });
    return this;
  }

  toString(): string {
    const indentOf = (line: { indent: number }): string => '  '.repeat(line.indent);
    const width = Math.max(
      0,
      ...this.#lines.filter((line) => line.values.length > 0).map((line) => indentOf(line).length + line.label.length),
    );
    let text = '';
    this.#lines.forEach((line, index) => {
      const label = (indentOf(line) + line.label).padEnd(width + 2);
      if (line.values.length === 0) text += `${label.trimEnd()}\n`;
      line.values.forEach((value, row) => {
        text += `${row === 0 ? label : ' '.repeat(width + 2)}${value}\n`;
      });
      for (const table of this.#tables) if (table.afterLine === index + 1) text += table.text;
    });
    return text;
  }
}
