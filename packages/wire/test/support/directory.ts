import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';

/** Paths in a fresh, short directory for each test; it is removed afterwards, and closers run before, newest first. */
export function useDirectory(): { path(name: string): string; atEnd(close: () => unknown): void } {
  let directory: string | undefined;
  let closers: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closers.reverse()) await close();
    closers = [];
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
    directory = undefined;
  });
  return {
    path: (name) => join((directory ??= mkdtempSync(join(tmpdir(), 'wire-'))), name),
    atEnd: (close) => closers.push(close),
  };
}

/** Waits for a condition, checking it often; throws when it does not come true in time. */
export async function until(what: string, condition: () => boolean, timeoutMs = 15_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited ${String(timeoutMs)} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
