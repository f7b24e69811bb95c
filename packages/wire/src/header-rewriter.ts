import { HpackReader } from './hpack-reader.ts';
import type { HpackString } from './hpack-reader.ts';

/** Entries of the HPACK static table. (RFC 7541, A) */
const STATIC_ENTRIES = 61;
/** Index of `:authority` in it. */
const AUTHORITY_INDEX = 1;
/** The table size a server grants unless it says otherwise, which Node's HTTP/2 does not. (RFC 9113, 6.5.2) */
const TABLE_SIZE_BYTES = 4096;
/** What every entry costs besides its name and value. (RFC 7541, 4.1) */
const ENTRY_OVERHEAD_BYTES = 32;
/** Fields may refer to large table entries with one octet each: the expanded block is bounded as nghttp2 bounds it. */
const MAX_EXPANDED_BYTES = 64 * 1024;

/** The name `:authority` spelt out, plain and Huffman-coded, for peers that do not use the static table. */
const AUTHORITY_NAMES = [
  Buffer.concat([Buffer.of(10), Buffer.from(':authority', 'latin1')]),
  Buffer.from('88b83b5339ec327d7f', 'hex'),
];

/** The field that carries the peer's own `:authority` to the server; HPACK, a literal name. */
export const SENT_AUTHORITY = 'x-sent-authority';
const SENT_AUTHORITY_NAME = Buffer.concat([Buffer.of(0, SENT_AUTHORITY.length), Buffer.from(SENT_AUTHORITY, 'latin1')]);

/** A field name: an index of the static table, or a string of its own. */
type Name = number | HpackString;

interface Field {
  readonly name: Name;
  readonly value: HpackString;
}

/**
 * Rewrites the header blocks of one connection so that each request has one and the same `:authority`.
 *
 * References to the dynamic table are resolved here and every field is emitted as a literal without indexing; the
 * reader of the result never needs a table.
 *
 * Invariant: `#table` holds the newest entries the peer sent, at least all that are in the peer's own table: sizes are
 * counted too small, never too large (Huffman-coded strings are not decoded), so entries stay too long, never too short.
 */
export class HeaderRewriter {
  readonly #authority: Buffer;
  readonly #keepSent: boolean;
  readonly #table: Field[] = [];
  #tableSizeBytes = 0;
  /** Value of the last `:authority` of the block being read. */
  #sent: Buffer | undefined;

  /**
   * @param authority what every request is to carry: ASCII letters and digits, at most 126.
   * @param keepSent whether what the peer had sent instead is to reach the server too, as {@link SENT_AUTHORITY}.
   */
  constructor(authority = 'localhost', keepSent = false) {
    this.#keepSent = keepSent;
    // A literal without indexing whose name is in the static table.
    this.#authority = Buffer.concat([Buffer.of(AUTHORITY_INDEX, authority.length), Buffer.from(authority, 'latin1')]);
  }

  /**
   * @param isRequest whether the block opens a stream; trailers have no authority.
   * @throws Error when the block is malformed or expands beyond 64 KiB: the connection cannot go on.
   */
  rewrite(block: Buffer, isRequest: boolean): Buffer {
    const reader = new HpackReader(block);
    const out: Buffer[] = isRequest ? [this.#authority] : [];
    let sizeBytes = 0;
    while (!reader.done) {
      const field = this.#read(reader);
      if (field === undefined) continue;
      out.push(field);
      sizeBytes += field.length;
      if (sizeBytes > MAX_EXPANDED_BYTES) throw new Error('header block expands too far');
    }
    // At the end: nothing that is no pseudo-header may come before one. (RFC 9113, 8.3)
    if (isRequest && this.#keepSent && this.#sent !== undefined) out.push(SENT_AUTHORITY_NAME, this.#sent);
    this.#sent = undefined;
    return Buffer.concat(out);
  }

  /** The next field as it is to be sent on; undefined for what is left out. (RFC 7541, 6) */
  #read(reader: HpackReader): Buffer | undefined {
    const first = reader.peek();
    if (first >= 0x80) {
      const index = reader.integer(7);
      if (index === 0) throw new Error('HPACK index 0');
      if (index > STATIC_ENTRIES) return this.#emit(this.#entry(index), false);
      return index === AUTHORITY_INDEX ? undefined : Buffer.of(0x80 | index);
    }
    if ((first & 0xe0) === 0x20) {
      reader.integer(5); // the peer resizes its table: the result uses none
      return undefined;
    }
    const indexed = first >= 0x40;
    const index = reader.integer(indexed ? 6 : 4);
    const name = index === 0 ? reader.string() : index <= STATIC_ENTRIES ? index : this.#entry(index).name;
    const field = { name, value: reader.string() };
    if (indexed) this.#add(field);
    const neverIndexed = !indexed && (first & 0x10) !== 0;
    return this.#emit(field, neverIndexed);
  }

  /** What the server is to read of a field in its place. The value of an authority is kept as it came, undecoded. */
  #emit(field: Field, neverIndexed: boolean): Buffer | undefined {
    if (!isAuthority(field.name)) return literal(field, neverIndexed);
    this.#sent = field.value.raw;
    return undefined;
  }

  #add({ name, value }: Field): void {
    const entry = { name: typeof name === 'number' ? name : copy(name), value: copy(value) };
    this.#table.unshift(entry);
    this.#tableSizeBytes += minSizeBytes(entry);
    while (this.#tableSizeBytes > TABLE_SIZE_BYTES) {
      const oldest = this.#table.pop();
      this.#tableSizeBytes -= oldest === undefined ? 0 : minSizeBytes(oldest);
    }
  }

  #entry(index: number): Field {
    const entry = this.#table[index - STATIC_ENTRIES - 1];
    if (entry === undefined) throw new Error('HPACK index out of range');
    return entry;
  }
}

function isAuthority(name: Name): boolean {
  return (
    name === AUTHORITY_INDEX || (typeof name !== 'number' && AUTHORITY_NAMES.some((known) => known.equals(name.raw)))
  );
}

/** A field as a literal without indexing. (RFC 7541, 6.2.2 and 6.2.3) */
function literal({ name, value }: Field, neverIndexed: boolean): Buffer {
  const kind = neverIndexed ? 0x10 : 0x00;
  if (typeof name !== 'number') return Buffer.concat([Buffer.of(kind), name.raw, value.raw]);
  return Buffer.concat([name < 15 ? Buffer.of(kind | name) : Buffer.of(kind | 15, name - 15), value.raw]);
}

function minSizeBytes({ name, value }: Field): number {
  return ENTRY_OVERHEAD_BYTES + (typeof name === 'number' ? 0 : name.minSizeBytes) + value.minSizeBytes;
}

/** The string apart from its block, which could not be freed otherwise. */
function copy({ raw, minSizeBytes: size }: HpackString): HpackString {
  return { raw: Buffer.from(raw), minSizeBytes: size };
}
