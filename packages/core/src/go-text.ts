/** How Go prints strings, for texts and files that must look as if the kubelet had written them. */

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '"': '\\"',
  '\\': '\\\\',
};
/** What Go does not count as printable: everything but letters, marks, numbers, punctuation, symbols and the plain space. */
const NEEDS_ESCAPE = /["\\]|[^ \p{L}\p{M}\p{N}\p{P}\p{S}]/gu;
const LONE_SURROGATE = /\p{Surrogate}/gu;
/** Where JSON.stringify may differ from Go: it escapes halves of surrogate pairs and leaves these characters alone. */
const NEEDS_GO_ESCAPE = /[<>&\u2028\u2029]|\\ud/;
const HTML_ESCAPED = /[<>&\u2028\u2029]/g;

/** A string as Go's `%q` prints it. (Go: strconv.Quote) */
export function goQuote(text: string): string {
  return `"${wellFormed(text).replaceAll(NEEDS_ESCAPE, escape)}"`;
}

/** Strings as Go's `%q` prints a slice of them: `["a" "b"]`. */
export function goQuoteList(texts: readonly string[]): string {
  return `[${texts.map(goQuote).join(' ')}]`;
}

/** JSON text of a value as Go's encoder writes it: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped. Only for strings and arrays of strings. */
export function goJson(value: string | readonly string[]): string {
  const json = JSON.stringify(value);
  if (!NEEDS_GO_ESCAPE.test(json)) return json;
  const clean = typeof value === 'string' ? wellFormed(value) : value.map(wellFormed);
  return JSON.stringify(clean).replaceAll(HTML_ESCAPED, (char) => unicodeEscape(char.charCodeAt(0), 4, 'u'));
}

/** Replaces halves of surrogate pairs, which UTF-8 cannot hold, by U+FFFD, as Go does when it decodes them. */
export function wellFormed(text: string): string {
  return text.replaceAll(LONE_SURROGATE, '\ufffd');
}

function escape(char: string): string {
  const short = SHORT_ESCAPES[char];
  if (short !== undefined) return short;
  const code = char.codePointAt(0) ?? 0;
  if (code < 0x20 || code === 0x7f) return unicodeEscape(code, 2, 'x');
  return code > 0xffff ? unicodeEscape(code, 8, 'U') : unicodeEscape(code, 4, 'u');
}

function unicodeEscape(code: number, digits: number, letter: string): string {
  return `\\${letter}${code.toString(16).padStart(digits, '0')}`;
}
