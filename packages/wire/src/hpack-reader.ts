/**
 * A string literal of a header block as it travels, undecoded: length prefix, then plain or Huffman-coded octets.
 */
export interface HpackString {
  readonly raw: Buffer;
  /** The least number of octets it can have once decoded. */
  readonly minSizeBytes: number;
}

/** The longest code of the Huffman table, in bits: what bounds how much a coded string can shrink. (RFC 7541, B) */
const LONGEST_CODE_BITS = 30;

/**
 * Reads the elements of one HPACK header block. Strings stay opaque, so no Huffman table is needed. Every method
 * throws a plain Error or RangeError when the block is cut short or malformed. (RFC 7541, 5 and 6)
 */
export class HpackReader {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  get done(): boolean {
    return this.#at >= this.#block.length;
  }

  /** The next octet, not consumed: its high bits tell what kind of field follows. */
  peek(): number {
    return this.#block.readUInt8(this.#at);
  }

  /** An integer that shares its first octet with `8 - prefixBits` bits of something else. (RFC 7541, 5.1) */
  integer(prefixBits: number): number {
    const max = (1 << prefixBits) - 1;
    let value = this.#octet() & max;
    if (value < max) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const octet = this.#octet();
      value += (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
    throw new Error('HPACK integer too large');
  }

  /** (RFC 7541, 5.2) */
  string(): HpackString {
    const start = this.#at;
    const huffman = this.peek() >= 0x80;
    const length = this.integer(7);
    this.#at += length;
    if (this.#at > this.#block.length) throw new Error('HPACK string cut short');
    return {
      raw: this.#block.subarray(start, this.#at),
      minSizeBytes: huffman ? Math.max(0, Math.floor((length * 8 - 7) / LONGEST_CODE_BITS)) : length,
    };
  }

  #octet(): number {
    const octet = this.#block.readUInt8(this.#at);
    this.#at += 1;
    return octet;
  }
}
