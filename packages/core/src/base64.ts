/** Standard base64 with padding (RFC 4648 §4), as Go writes `[]byte` in JSON. */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const NOT_IN_ALPHABET = 255;
const VALUES = new Uint8Array(128).fill(NOT_IN_ALPHABET);
for (let value = 0; value < ALPHABET.length; value++) VALUES[ALPHABET.charCodeAt(value)] = value;

/** Both letters of every 12 bits, so that three bytes cost two additions of text. */
const PAIRS: readonly string[] = Array.from(
  { length: 4096 },
  (_, bits) => ALPHABET.charAt(bits >> 6) + ALPHABET.charAt(bits & 63),
);

export function encodeBase64(bytes: Uint8Array): string {
  let text = '';
  const whole = bytes.length - (bytes.length % 3);
  for (let at = 0; at < whole; at += 3) {
    const bits = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text += (PAIRS[bits >> 12] ?? '') + (PAIRS[bits & 4095] ?? '');
  }
  const first = bytes[whole];
  if (first === undefined) return text;
  const second = bytes[whole + 1];
  if (second === undefined) return `${text}${PAIRS[first << 4] ?? ''}==`;
  const bits = (first << 8) | second;
  return `${text}${PAIRS[bits >> 4] ?? ''}${ALPHABET.charAt((bits & 15) << 2)}=`;
}

/** The bytes, or undefined when the text is not base64. Line breaks are skipped, as Go does. */
export function decodeBase64(text: string): Uint8Array | undefined {
  const clean = text.replaceAll(/[\r\n]/g, '');
  if (clean.length % 4 !== 0) return undefined;
  const padding = clean.endsWith('==') ? 2 : clean.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((clean.length / 4) * 3 - padding);
  let length = 0;
  for (let at = 0; at < clean.length; at += 4) {
    let bits = 0;
    for (let offset = 0; offset < 4; offset++) {
      const inPadding = at + offset >= clean.length - padding;
      const value = inPadding ? 0 : (VALUES[clean.charCodeAt(at + offset)] ?? NOT_IN_ALPHABET);
      if (value === NOT_IN_ALPHABET) return undefined;
      bits = (bits << 6) | value;
    }
    // Beyond the end of the array (the padding) nothing is stored.
    bytes[length++] = bits >> 16;
    bytes[length++] = (bits >> 8) & 255;
    bytes[length++] = bits & 255;
  }
  return bytes;
}
