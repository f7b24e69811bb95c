import { getSystemErrorMap } from 'node:util';

/** Name of a system error (`ENOSPC`), or undefined when it is something else. */
export function systemErrorName(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** A system error as Go prints it: `write /run/x/journal.0: no space left on device`; any other by its message. */
export function systemErrorText(error: unknown, path?: string): string {
  if (!(error instanceof Error)) return String(error);
  const { errno, syscall, path: errorPath }: NodeJS.ErrnoException = error;
  const text = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1];
  if (text === undefined) return error.message;
  const where = errorPath ?? path;
  return [syscall, where].filter((part) => part !== undefined).join(' ') + `: ${text}`;
}
