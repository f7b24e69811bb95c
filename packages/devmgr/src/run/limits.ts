import { DevmgrError, parseResourceLimits } from '@devmgr/core';

/** `--limits example.com/gpu=2`, repeated or separated by commas. Throws USAGE naming the one that is wrong. */
export function parseLimits(values: readonly string[]): Readonly<Record<string, number>> {
  const parsed = parseResourceLimits(values);
  if (parsed.ok) return parsed.limits;
  throw new DevmgrError('USAGE', `--limits: ${parsed.message}`, {
    remedy: 'Write it like --limits example.com/gpu=2.',
  });
}
