/** A small HPACK encoder with every kind of representation, and a decoder for what the rewriter emits. (RFC 7541) */
import { HEADER_TABLE } from './hpack-static-table.ts';
import type { HeaderList } from './http2-bytes.ts';
import { hpackInteger, plainString } from './http2-bytes.ts';

const TABLE_SIZE = 4096;

/** How one field is written. `index`: as an entry of a table where there is one; `name`: only its name so. */
export type Choice = 'index' | 'name' | 'spelt';
/** Whether a literal enters the table. */
export type Keeping = 'add' | 'plain' | 'never';

export interface FieldPlan {
  readonly name: string;
  readonly value: string;
  readonly choice: Choice;
  readonly keeping: Keeping;
}

/** Encodes as a peer may, keeping a dynamic table with the eviction rule of RFC 7541, 4.4. */
export class HpackEncoder {
  #table: (readonly [string, string])[] = [];
  #maxSize = TABLE_SIZE;

  encode(fields: readonly FieldPlan[]): Buffer {
    return Buffer.concat(fields.map((field) => this.#field(field)));
  }

  /** A dynamic table size update; only allowed at the start of a block. */
  resize(maxSize: number): Buffer {
    this.#maxSize = maxSize;
    this.#evict();
    return hpackInteger(maxSize, 5, 0x20);
  }

  #field({ name, value, choice, keeping }: FieldPlan): Buffer {
    const entries = [...HEADER_TABLE, ...this.#table];
    const whole = choice === 'index' ? entries.findIndex(([n, v]) => n === name && v === value) + 1 : 0;
    if (whole > 0) return hpackInteger(whole, 7, 0x80);
    const known = choice === 'spelt' ? 0 : entries.findIndex(([n]) => n === name) + 1;
    const head =
      keeping === 'add' ? hpackInteger(known, 6, 0x40) : hpackInteger(known, 4, keeping === 'never' ? 0x10 : 0x00);
    if (keeping === 'add') {
      this.#table.unshift([name, value]);
      this.#evict();
    }
    return Buffer.concat([head, ...(known === 0 ? [plainString(name)] : []), plainString(value)]);
  }

  #evict(): void {
    const size = (): number => this.#table.reduce((sum, [n, v]) => sum + 32 + n.length + v.length, 0);
    while (size() > this.#maxSize) this.#table.pop();
  }
}

/** Decodes a block that uses neither dynamic table nor Huffman codes; throws when it does. */
export function decodeWithoutTable(block: Buffer): HeaderList {
  const fields: [string, string][] = [];
  let at = 0;
  const integer = (prefixBits: number): number => {
    const max = (1 << prefixBits) - 1;
    let value = block.readUInt8(at++) & max;
    if (value < max) return value;
    for (let shift = 0; ; shift += 7) {
      const octet = block.readUInt8(at++);
      value += (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
  };
  const text = (): string => {
    if (block.readUInt8(at) >= 0x80) throw new Error('Huffman code');
    const length = integer(7);
    at += length;
    return block.toString('latin1', at - length, at);
  };
  const entry = (index: number): readonly [string, string] => {
    const found = HEADER_TABLE[index - 1];
    if (found === undefined) throw new Error(`index ${String(index)} is not in the static table`);
    return found;
  };
  while (at < block.length) {
    const first = block.readUInt8(at);
    if (first >= 0x80) {
      fields.push([...entry(integer(7))]);
      continue;
    }
    if (first >= 0x20) throw new Error('a literal with indexing or a table size update');
    const index = integer(4);
    const name = index === 0 ? text() : entry(index)[0];
    fields.push([name, text()]);
  }
  return fields;
}
