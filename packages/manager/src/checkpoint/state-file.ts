import { readFile } from 'node:fs/promises';
import { contentHash, keepDurably } from './durable-file.ts';
import { systemErrorName, systemErrorText } from './system-error.ts';

/** Content of a file, or why there is none that can be used. */
export type StateFile<T> =
  | { readonly ok: true; readonly value: T; readonly hash: string }
  | { readonly ok: false; readonly missing: boolean; readonly message: string };

/** Reads and parses a file; `parse` throws when it makes no sense. Never rejects. */
export async function readStateFile<T>(path: string, parse: (bytes: Uint8Array) => T): Promise<StateFile<T>> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    return { ok: false, missing: systemErrorName(error) === 'ENOENT', message: systemErrorText(error, path) };
  }
  try {
    return { ok: true, value: parse(bytes), hash: contentHash(bytes) };
  } catch (error) {
    return { ok: false, missing: false, message: error instanceof Error ? error.message : String(error) };
  }
}

/** Keeps a file that cannot be used, and is about to be overwritten, under another name; `problems` tells of it. */
export async function setAside(path: string, keptAs: string, why: string, problems: string[]): Promise<void> {
  try {
    await keepDurably(path, keptAs);
    problems.push(`${path} cannot be used (${why}); it is kept as ${keptAs}`);
  } catch (error) {
    problems.push(`${path} cannot be used (${why}), nor kept: ${systemErrorText(error, keptAs)}`);
  }
}
