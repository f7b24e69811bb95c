import { note } from './context.ts';

/** Work that takes longer than this says what it is waiting for. */
const SLOW_AFTER_MS = 1_000;

/** Does `work`; says `what` on stderr when it takes more than a second and somebody sits at the terminal. */
export async function withProgress<T>(what: string, work: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work();
  const timer = setTimeout(() => {
    note(`${what} …`);
  }, SLOW_AFTER_MS);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}
