import { setTimeout as delay } from 'node:timers/promises';
import { DevmgrError } from '@devmgr/core';
import { withProgress } from './progress.ts';

const POLL_MS = 20;

/** Resolves once `condition` holds. Throws DEADLINE_EXCEEDED, naming `what` was waited for, when it never does. */
export async function until(what: string, timeoutMs: number, condition: () => Promise<boolean>): Promise<void> {
  await withProgress(`waiting until ${what}`, () => poll(what, timeoutMs, condition));
}

async function poll(what: string, timeoutMs: number, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new DevmgrError('DEADLINE_EXCEEDED', `waited in vain until ${what}`);
    await delay(POLL_MS);
  }
}
