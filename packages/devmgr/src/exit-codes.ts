import type { ErrorCode } from '@devmgr/core';

/** What a process of the command line ends with. `devmgr run` and `devmgr plugin run` end with their command's own code instead. */
export const EXIT_CODES = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  unreachable: 5,
  timedOut: 124,
  /** As shells do: the command was found and cannot be executed. */
  notExecutable: 126,
  /** As shells do: there is no such command. */
  commandNotFound: 127,
} as const;

/** The one table from a failure to an exit code; what is not in it is `failed`. */
const EXIT_CODE_OF: Partial<Readonly<Record<ErrorCode, number>>> = {
  CONFIG_INVALID: EXIT_CODES.usage,
  DEADLINE_EXCEEDED: EXIT_CODES.timedOut,
  MANAGER_UNREACHABLE: EXIT_CODES.unreachable,
  NOT_FOUND: EXIT_CODES.notFound,
  PATH_TOO_LONG: EXIT_CODES.usage,
  POD_REJECTED: EXIT_CODES.refused,
  USAGE: EXIT_CODES.usage,
};

/** The exit code of a failure. */
export function exitCodeOf(code: ErrorCode): number {
  return EXIT_CODE_OF[code] ?? EXIT_CODES.failed;
}
