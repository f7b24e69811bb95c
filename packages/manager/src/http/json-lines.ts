import { DevmgrError } from '@devmgr/core';

const NEWLINE = 0x0a;

/** Splits a stream of bytes into JSON values, one a line. INTERNAL for a line that is not JSON. */
export async function* parseJsonLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<unknown, void, undefined> {
  // Parts of a line are joined only once it is complete: a list of 100,000 devices comes in hundreds of parts.
  let parts: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end));
      const line = joinText(parts);
      parts = [];
      start = end + 1;
      if (line !== '') yield parseLine(line);
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  const rest = joinText(parts);
  if (rest !== '') yield parseLine(rest);
}

function joinText(parts: readonly Uint8Array[]): string {
  return Buffer.concat(parts).toString('utf8').trim();
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch (error) {
    throw new DevmgrError('INTERNAL', `the manager sent a line that is not JSON: ${line.slice(0, 200)}`, {
      cause: error,
    });
  }
}
