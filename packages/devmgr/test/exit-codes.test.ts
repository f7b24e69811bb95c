import { ERROR_CODES, type ErrorCode } from '@devmgr/core';
import { expect, test } from 'vitest';
import { exitCodeOf } from '../src/exit-codes.ts';

test('every failure has the exit code the documentation gives it', () => {
  const codes = (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => [code, exitCodeOf(code)] as const);
  expect(Object.fromEntries(codes.filter(([, exitCode]) => exitCode !== 1))).toEqual({
    CONFIG_INVALID: 2,
    DEADLINE_EXCEEDED: 124,
    MANAGER_UNREACHABLE: 5,
    NOT_FOUND: 3,
    PATH_TOO_LONG: 2,
    POD_REJECTED: 4,
    USAGE: 2,
  });
});
