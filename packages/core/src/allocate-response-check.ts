/**
 * Whether bytes are a protobuf-encoded ContainerAllocateResponse, by structure alone: tags, lengths and wire types of the
 * fields of device plugin API v1beta1; unknown fields pass as long as they are well-formed. Values are not looked at, and
 * nothing is decoded: what a plugin answered is kept as the bytes it sent. (protobuf: encoding, wire types)
 */
export function isAllocateResponse(bytes: Uint8Array): boolean {
  return isMessage(bytes, CONTAINER_ALLOCATE_RESPONSE);
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
const MAX_FIELD_NUMBER = 0x1fffffff;

/** Field number to what must stand there: text, a number, or a message. */
type Shape = ReadonlyMap<number, 'text' | 'varint' | Shape>;

/** Also the shape of a map's entry: key and value. */
const TWO_TEXTS: Shape = new Map([
  [1, 'text'],
  [2, 'text'],
]);
const CONTAINER_ALLOCATE_RESPONSE: Shape = new Map<number, Shape>([
  [1, TWO_TEXTS],
  [2, new Map([...TWO_TEXTS, [3, 'varint']])],
  [3, new Map([...TWO_TEXTS, [3, 'text']])],
  [4, TWO_TEXTS],
  [5, new Map([[1, 'text']])],
]);

function isMessage(bytes: Uint8Array, shape: Shape): boolean {
  const cursor = { at: 0 };
  while (cursor.at < bytes.length) {
    const tag = readVarint(bytes, cursor);
    if (tag === undefined) return false;
    const number = Math.floor(tag / 8);
    const wireType = tag % 8;
    if (number === 0 || number > MAX_FIELD_NUMBER) return false;
    const expected = shape.get(number);
    if (expected !== undefined && wireType !== (expected === 'varint' ? VARINT : LENGTH)) return false;
    const start = skipValue(bytes, cursor, wireType);
    if (start === undefined) return false;
    if (typeof expected === 'object' && !isMessage(bytes.subarray(start, cursor.at), expected)) return false;
  }
  return true;
}

/** Moves past one value; where its content starts, or undefined when it is malformed. Groups (long deprecated) are refused. */
function skipValue(bytes: Uint8Array, cursor: { at: number }, wireType: number): number | undefined {
  let start = cursor.at;
  if (wireType === VARINT) {
    if (readVarint(bytes, cursor) === undefined) return undefined;
  } else if (wireType === FIXED64) {
    cursor.at += 8;
  } else if (wireType === FIXED32) {
    cursor.at += 4;
  } else if (wireType === LENGTH) {
    const length = readVarint(bytes, cursor);
    if (length === undefined) return undefined;
    start = cursor.at;
    cursor.at += length;
  } else {
    return undefined;
  }
  return cursor.at <= bytes.length ? start : undefined;
}

/** At most ten bytes; values beyond 2⁵³ lose their low bits, which no tag or length within an array can have. */
function readVarint(bytes: Uint8Array, cursor: { at: number }): number | undefined {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = bytes[cursor.at];
    if (byte === undefined) return undefined;
    cursor.at++;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return value;
  }
  return undefined;
}
