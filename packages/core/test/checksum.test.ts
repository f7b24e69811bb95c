import { checkpointChecksum, checkpointDump, decodeCheckpoint, encodeUtf8 } from '@devmgr/core';
import { describe, expect, test } from 'vitest';
import { CHECKPOINT_VECTORS } from './checkpoint-vectors.ts';

const file = (data: string, checksum: number): Uint8Array =>
  encodeUtf8(`{"Data":${data},"Checksum":${String(checksum)}}`);

describe('checksum', () => {
  test.each(CHECKPOINT_VECTORS)('scenario 139: vector $name verifies', (vector) => {
    const decoded = decodeCheckpoint(file(vector.data, vector.checksum));
    expect(decoded).toMatchObject({ ok: true, checksum: vector.checksum, version: 2 });
    if (!decoded.ok) return;
    expect(checkpointChecksum(decoded.data)).toBe(vector.checksum);
    if ('dump' in vector) expect(checkpointDump(decoded.data)).toBe(vector.dump);
  });

  test.each(CHECKPOINT_VECTORS)('scenario 139: vector $name with any one byte changed fails', (vector) => {
    const good = file(vector.data, vector.checksum);
    for (let index = 0; index < good.length; index++) {
      const bad = good.slice();
      bad[index] = (bad[index] ?? 0) ^ 1;
      const decoded = decodeCheckpoint(bad);
      // Keys match in any case and unknown ones are ignored, and null in place of a list stays null: what is accepted must hash the same.
      if (decoded.ok) expect(checkpointChecksum(decoded.data), `byte ${String(index)}`).toBe(vector.checksum);
    }
  });
});
