import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import type { PluginLog, PluginTiming } from '@devmgr/plugin-sdk';

/** Short enough for tests that wait for a poll or a retry. */
export const QUICK: Partial<PluginTiming> = { pollMs: 100, retryFirstMs: 20, retryMaxMs: 200 };

/** Things to close and directories to remove after each test, last one first. */
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  while (cleanups.length > 0) await cleanups.pop()?.();
});

/** Closes what was started when the test is over. */
export function closing<T extends { close(): Promise<void> | void }>(thing: T): T {
  cleanups.push(() => thing.close());
  return thing;
}

export function cleanup(run: () => unknown): void {
  cleanups.push(run);
}

/** A fresh directory, gone after the test. */
export async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sdk-'));
  cleanups.push(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A log that can be read. */
export function memoryLog(): PluginLog & { lines: { level: string; fields: object; message: string }[] } {
  const lines: { level: string; fields: object; message: string }[] = [];
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { lines, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}
