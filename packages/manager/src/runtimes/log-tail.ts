import { open } from 'node:fs/promises';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/**
 * Where the last `lines` lines of several files, read as one text, begin. A newline at the very end ends the last line
 * and begins none. Reads backwards, no more than it needs.
 */
export async function findTail(
  files: readonly { readonly path: string; readonly sizeBytes: number }[],
  lines: number,
): Promise<{ index: number; offset: number }> {
  const last = files.length - 1;
  let missing = lines;
  let atVeryEnd = true;
  if (lines <= 0) return { index: Math.max(0, last), offset: files[last]?.sizeBytes ?? 0 };
  for (let index = last; index >= 0; index -= 1) {
    const { path, sizeBytes } = files[index] ?? { path: '', sizeBytes: 0 };
    for (let end = sizeBytes; end > 0; end -= Math.min(end, BLOCK_BYTES)) {
      const begin = Math.max(0, end - BLOCK_BYTES);
      const block = await readBlock(path, begin, end);
      for (let position = block.length - 1; position >= 0; position -= 1) {
        const isNewline = block[position] === NEWLINE;
        if (isNewline && !atVeryEnd) {
          missing -= 1;
          if (missing === 0) return { index, offset: begin + position + 1 };
        }
        atVeryEnd = false;
      }
    }
  }
  return { index: 0, offset: 0 };
}

async function readBlock(path: string, begin: number, end: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(end - begin), 0, end - begin, begin);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
