import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export type FoundCommand = { found: true } | { found: false; problem: 'missing' | 'not-executable' };

/** Looks for a command as a shell would: a path as it is, a bare name in PATH. */
export function findCommand(command: string, path: string | undefined): FoundCommand {
  if (command.includes('/')) return judge([command]);
  return judge((path ?? '').split(delimiter).map((directory) => join(directory === '' ? '.' : directory, command)));
}

function judge(candidates: readonly string[]): FoundCommand {
  let someFile = false;
  for (const candidate of candidates) {
    try {
      if (!statSync(candidate).isFile()) continue;
      someFile = true;
      accessSync(candidate, constants.X_OK);
      return { found: true };
    } catch {
      // Missing, or not to be executed: the next directory may have it.
    }
  }
  return { found: false, problem: someFile ? 'not-executable' : 'missing' };
}
