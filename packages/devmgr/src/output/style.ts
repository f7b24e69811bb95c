import { styleText } from 'node:util';

/** Emphasis for people: plain text unless the stream is a terminal and nobody asked for no colour. */
export interface Style {
  readonly enabled: boolean;
  readonly bold: (text: string) => string;
  readonly red: (text: string) => string;
  readonly cyan: (text: string) => string;
}

/**
 * Colour only on a terminal, and not with `--no-color`, NO_COLOR (https://no-color.org: any value that is not empty) or
 * TERM=dumb.
 */
export function createStyle(input: {
  isTerminal: boolean;
  env: Readonly<Record<string, string | undefined>>;
  noColor?: boolean;
}): Style {
  const enabled = input.isTerminal && input.noColor !== true && !input.env['NO_COLOR'] && input.env['TERM'] !== 'dumb';
  type Format = Parameters<typeof styleText>[0];
  // `validateStream` (Node 22.13) would look at the environment a second time; whether to colour is decided above.
  const options = { validateStream: false };
  const paint =
    (format: Format) =>
    (text: string): string =>
      enabled ? styleText(format, text, options) : text;
  return { enabled, bold: paint('bold'), red: paint('red'), cyan: paint('cyan') };
}
